//! `Expect: 100-continue`, from end to end, and other interim answers.

use super::{OK, Place, answer, hears_ok, played, request};

use crate::support::End;

const EXPECTS: &str = "Expect: 100-continue\r\nContent-Length: 5\r\n";

#[test]
fn the_client_is_asked_for_its_body_when_the_application_asks() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("POST /", EXPECTS));
    let mut application = played.accept();
    assert_eq!(application.head().all("expect"), ["100-continue"]);
    application.send("HTTP/1.1 100 Continue\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status(), head.names_but(&[])), (100, vec![]));
    client.send("hello");
    application.hears("hello");
    application.send(OK);
    hears_ok(&mut client);
}

#[test]
fn a_refusal_reaches_the_client_that_was_not_asked_for_its_body() {
    let place = Place::new();
    let application = place.application(&[]);
    let mut daemon = place.launch().start();
    let mut client = End::asking(&daemon.public(), request("POST /refuse?id=1", EXPECTS));
    let head = client.head();
    assert_eq!(head.status(), 413, "{}", head.text);
    client.hears("too large\n");
    assert_eq!(application.executed(), []);
}

#[test]
fn a_body_reaches_an_application_that_never_asks_for_it() {
    let place = Place::new();
    let application = place.application(&[]);
    let mut daemon = place.launch().start();
    let mut client = End::asking(&daemon.public(), request("POST /no-continue?id=1", EXPECTS));
    assert_eq!(client.head().status(), 100);
    client.send("hello");
    assert_eq!(client.head().status(), 200);
    client.hears("Hello 1\n");
    assert_eq!(application.executed()[0].length, 5);
}

#[test]
fn a_body_that_came_unasked_is_passed_on() {
    let place = Place::new();
    let application = place.application(&[]);
    let mut daemon = place.launch().start();
    let chunked = "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n";
    for (fields, body) in [(EXPECTS, "hello"), (chunked, "5\r\nhello\r\n0\r\n\r\n")] {
        let asked = request("POST /continue?id=1", fields) + body;
        let mut client = End::asking(&daemon.public(), asked);
        let mut head = client.head();
        if head.status() == 100 {
            head = client.head();
        }
        assert_eq!(head.status(), 200);
        client.hears("Hello 1\n");
    }
    let lengths: Vec<_> = application.executed().iter().map(|request| request.length).collect();
    assert_eq!(lengths, [5, 5]);
}

#[test]
fn an_expectation_without_a_body_is_not_passed_on() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("GET /", "Expect: 100-continue\r\n"));
    let mut application = played.accept();
    assert_eq!(application.head().all("expect"), [""; 0]);
    application.send(OK);
    hears_ok(&mut client);
}

#[test]
fn other_interim_answers_are_swallowed() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("GET /", ""));
    let mut application = played.accept();
    application.head();
    let hints = answer("103 Early Hints", "Link: </style.css>; rel=preload\r\n");
    application.send(answer("102 Processing", "") + &hints + &hints + OK);
    hears_ok(&mut client);
    // 100 to a request that does not wait for it is no answer either.
    client.send(request("POST /", "Content-Length: 5\r\n") + "hello");
    application.head();
    application.hears("hello");
    application.send("HTTP/1.1 100 Continue\r\n\r\n".to_owned() + OK);
    hears_ok(&mut client);
}
