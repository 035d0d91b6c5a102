//! Applications that answer nonsense, too much, too late or not at all.

use super::{OK, Place, answer, application, hears_ok, played, request};

use crate::support::{End, executed};

#[test]
fn what_is_no_answer_is_502() {
    let (_place, played, mut daemon, public) = played(&[]);
    let heads = [
        "\x16\x03\x01 this is no HTTP\r\n\r\n".to_owned(),
        "HTTP/1.1 abc\r\n\r\n".to_owned(),
        "HTTP/3.0 200 OK\r\n\r\n".to_owned(),
        "220 smtp.example ESMTP\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
        "HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\n".to_owned() + &"X: y\r\n".repeat(300) + "\r\n",
    ];
    for head in &heads {
        let mut client = End::asking(&public, request("GET /", ""));
        let mut application = played.accept();
        application.head();
        application.send(head);
        let answered = client.head();
        assert_eq!(answered.status(), 502, "{head:?}: {}", answered.text);
        client.hears("the application gave no proper answer\n");
        // The client's connection goes on; the application's does not.
        client.send(request("GET /next", ""));
        assert_eq!(application.rest(), "", "{head:?}");
        let mut application = played.accept();
        application.head();
        application.send(OK);
        hears_ok(&mut client);
        drop(client);
        drop(application);
    }
    assert_eq!(application(&mut daemon)["failures"]["malformed"], heads.len());
}

#[test]
fn a_head_without_an_end_is_502() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("GET /", ""));
    let mut application = played.accept();
    application.head();
    application.send("HTTP/1.1 200 OK\r\nX: ");
    while application.try_send([b'x'; 4096]).is_ok() {}
    assert_eq!(client.head().status(), 502);
}

#[test]
fn interim_answers_without_an_end_are_504() {
    let place = Place::new();
    let _there = place.application(&[]);
    let mut daemon = place.launch().args(["--proxy-response-timeout", "300ms"]).start();
    let mut client = End::asking(&daemon.public(), request("GET /endless-100", ""));
    assert_eq!(client.head().status(), 504);
}

#[test]
fn an_application_that_ends_without_an_answer_is_502_for_what_may_not_be_repeated() {
    let place = Place::new();
    let _there = place.application(&[]);
    let mut daemon = place.launch().start();
    let fields = "Content-Length: 5\r\n";
    for path in ["/close-read", "/half-head", "/close-unread-body"] {
        let asked = request(&format!("POST {path}?id={path}"), fields) + "hello";
        let mut client = End::asking(&daemon.public(), asked);
        let head = client.head();
        assert_eq!(head.status(), 502, "{path}: {}", head.text);
    }
    let ids: Vec<_> = executed(&place.executed()).into_iter().map(|request| request.id).collect();
    assert_eq!(ids, ["/close-read", "/half-head"]);
}

#[test]
fn what_may_be_repeated_is_asked_three_times_at_most() {
    let place = Place::new();
    let _there = place.application(&[]);
    let mut daemon = place.launch().start();
    let asked = request("PUT /close-read?id=1", "Content-Length: 5\r\n") + "hello";
    let mut client = End::asking(&daemon.public(), asked);
    assert_eq!(client.head().status(), 502);
    let executed = executed(&place.executed());
    assert_eq!(executed.len(), 3);
    assert!(executed.iter().all(|request| request.length == 5), "{executed:?}");
}

#[test]
fn a_request_that_is_hanging_is_answered_with_504() {
    let place = Place::new();
    let mut there = place.application(&[]);
    let mut daemon = place.launch().args(["--proxy-response-timeout", "300ms"]).start();
    let asked = request("POST /hang?id=1", "Content-Length: 5\r\n") + "hello";
    let mut client = End::asking(&daemon.public(), asked);
    assert_eq!(client.head().status(), 504);
    client.hears("the application did not answer in time\n");
    assert_eq!(there.gone(), "/hang 1");
    assert_eq!(there.executed().len(), 1);
    assert_eq!(application(&mut daemon)["failures"]["timeout"], 1);
}

#[test]
fn an_answer_that_stands_still_is_cut_off() {
    let (_place, played, mut daemon, public) = played(&["--proxy-idle-timeout", "300ms"]);
    for fields in ["Content-Length: 8\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = End::asking(&public, request("GET /", ""));
        let mut there = played.accept();
        there.head();
        there.send(
            answer("200 OK", fields)
                + if fields.contains(": 8") { "half" } else { "4\r\nhalf\r\n" },
        );
        assert_eq!(client.head().status(), 200);
        let rest = client.rest();
        assert!(rest.contains("half") && !rest.contains("\r\n0\r\n"), "{rest:?}");
        assert_eq!(there.rest(), "");
    }
    assert_eq!(application(&mut daemon)["failures"]["cut_short"], 2);
}

#[test]
fn a_clients_broken_body_is_its_own_fault() {
    let (_place, played, mut daemon, public) = played(&[]);
    let chunked = request("PUT /", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n";
    let counted = request("PUT /", "Content-Length: 10\r\n") + "hello";
    for (asked, rest) in [(chunked, "zz\r\n"), (counted, "")] {
        let mut client = End::asking(&public, asked);
        let mut there = played.accept();
        there.head();
        there.has_more();
        client.send(rest);
        client.end_writing();
        let said = client.rest();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "{said}");
        assert_eq!(there.rest().matches("hello").count(), 1);
        drop(there);
        // Nobody tries it again.
        assert!(played.is_alone());
    }
    let failures = &application(&mut daemon)["failures"];
    assert_eq!(failures["closed"], 0, "{failures}");
}
