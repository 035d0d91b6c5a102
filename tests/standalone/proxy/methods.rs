//! Methods and targets that a proxy treats in its own way.

use super::{OK, hears_ok, played, request};

use crate::support::End;

#[test]
fn trace_and_connect_do_not_reach_the_application() {
    let (_place, played, _daemon, public) = played(&[]);
    for (first, status) in [("TRACE /", 405), ("CONNECT shop.example:80", 405)] {
        let head = End::asking(&public, request(first, "")).head();
        assert_eq!(head.status(), status);
        let allowed = head.all("allow").concat();
        assert!(allowed.contains("GET") && !allowed.contains("TRACE"), "{}", head.text);
    }
    assert!(played.is_alone());
}

#[test]
fn options_of_the_server_keep_their_target() {
    let (_place, played, _daemon, public) = played(&[]);
    for (first, passed_on) in [
        ("OPTIONS *", "OPTIONS * HTTP/1.1"),
        ("OPTIONS http://shop.example", "OPTIONS * HTTP/1.1"),
        ("OPTIONS /a?b", "OPTIONS /a?b HTTP/1.1"),
    ] {
        let mut client = End::asking(&public, request(first, ""));
        let mut application = played.accept();
        assert_eq!(application.head().first(), passed_on);
        application.send(OK);
        hears_ok(&mut client);
    }
}

#[test]
fn max_forwards_are_counted_and_the_last_is_answered_here() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("OPTIONS /", "Max-Forwards: 0\r\n"));
    assert_eq!(client.head().status(), 200);
    assert!(played.is_alone());
    for (method, value, passed_on) in [("OPTIONS", "7", "6"), ("GET", "0", "0")] {
        let fields = format!("Max-Forwards: {value}\r\n");
        let mut client = End::asking(&public, request(&format!("{method} /"), &fields));
        let mut application = played.accept();
        assert_eq!(application.head().all("max-forwards"), [passed_on]);
        application.send(OK);
        hears_ok(&mut client);
    }
}

#[test]
fn a_method_of_the_applications_own_is_passed_on() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("PURGE /a//b/../c", ""));
    let mut application = played.accept();
    assert_eq!(application.head().first(), "PURGE /a//b/../c HTTP/1.1");
    application.send(OK);
    hears_ok(&mut client);
}
