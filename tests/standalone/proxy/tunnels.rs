//! Other protocols: tunnels to which both ends have agreed.

use super::{OK, answer, hears_ok, played, request};

use crate::support::{Daemon, End, PATIENCE, Played, wait_until};

const OFFER: &str = "Connection: Upgrade\r\nUpgrade: raw\r\n";

const AGREED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";

/// Both ends of a tunnel, behind whose heads each side has said something already.
#[track_caller]
fn tunnel(played: &Played, public: &str) -> (End, End) {
    let mut client = End::asking(public, request("GET /ws", OFFER) + "early");
    let mut application = played.accept();
    let head = application.head();
    assert_eq!((head.all("upgrade"), head.all("connection")), (vec!["raw"], vec!["upgrade"]));
    application.send(AGREED.to_owned() + "welcome");
    let head = client.head();
    assert_eq!(head.status(), 101);
    assert_eq!((head.all("upgrade"), head.all("connection")), (vec!["raw"], vec!["upgrade"]));
    client.hears("welcome");
    application.hears("early");
    (client, application)
}

/// Waits until the admin server shows so many tunnels.
fn assert_tunnels(daemon: &mut Daemon, number: usize) {
    let text = format!("\"tunnels\":{number},");
    wait_until(&text, PATIENCE, || daemon.get_admin("/status").body.contains(&text));
}

#[test]
fn bytes_go_both_ways_and_each_side_ends_on_its_own() {
    let (_place, played, mut daemon, public) = played(&[]);
    let (mut client, mut application) = tunnel(&played, &public);
    assert_tunnels(&mut daemon, 1);
    client.send("one");
    application.hears("one");
    application.send("two");
    client.hears("two");
    client.end_writing();
    assert_eq!(application.rest(), "");
    application.send("still here");
    client.hears("still here");
    drop(application);
    assert_eq!(client.rest(), "");
    assert_tunnels(&mut daemon, 0);
}

#[test]
fn an_application_may_end_its_side_first() {
    let (_place, played, _daemon, public) = played(&[]);
    let (mut client, mut application) = tunnel(&played, &public);
    application.end_writing();
    assert_eq!(client.rest(), "");
    client.send("still here");
    application.hears("still here");
}

#[test]
fn a_client_that_leaves_ends_the_tunnel() {
    let (_place, played, mut daemon, public) = played(&[]);
    let (client, mut application) = tunnel(&played, &public);
    drop(client);
    assert_eq!(application.rest(), "");
    drop(application);
    assert_tunnels(&mut daemon, 0);
}

#[test]
fn an_offer_that_is_declined_is_an_ordinary_request() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("GET /ws", OFFER));
    let mut application = played.accept();
    application.head();
    application.send(OK);
    hears_ok(&mut client);
    client.send(request("GET /next", ""));
    assert_eq!(application.head().first(), "GET /next HTTP/1.1");
    application.send(OK);
    hears_ok(&mut client);
}

#[test]
fn http2_and_tls_are_not_offered_to_the_application() {
    let (_place, played, _daemon, public) = played(&[]);
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nUpgrade: H2C\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Upgrade: websocket\r\n",
    ] {
        let mut client = End::asking(&public, request("GET /", fields));
        let mut application = played.accept();
        let head = application.head();
        let hop = ["upgrade", "connection", "http2-settings"];
        assert!(hop.iter().all(|name| head.all(name).is_empty()), "{fields:?}: {}", head.text);
        application.send(OK);
        hears_ok(&mut client);
    }
}

#[test]
fn an_upgrade_that_nobody_asked_for_is_502() {
    let (_place, played, _daemon, public) = played(&[]);
    for (first, fields) in [
        ("GET /", ""),
        ("GET /", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        ("POST /", "Connection: Upgrade\r\nUpgrade: raw\r\nContent-Length: 0\r\n"),
    ] {
        let mut client = End::asking(&public, request(first, fields));
        let mut application = played.accept();
        if !application.head().all("upgrade").is_empty() {
            // A POST without a body may be upgraded.
            continue;
        }
        application.send(AGREED.to_owned() + "raw");
        let head = client.head();
        assert_eq!(head.status(), 502, "{fields:?}: {}", head.text);
        assert_eq!(application.rest(), "");
    }
    // 101 without a protocol is none, either.
    let mut client = End::asking(&public, request("GET /", OFFER));
    let mut application = played.accept();
    application.head();
    application.send(answer("101 Switching Protocols", ""));
    assert_eq!(client.head().status(), 502);
}
