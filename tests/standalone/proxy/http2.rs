//! Requests that come by HTTP/2, and go on by HTTP/1.1.

use rustix::process::Signal;

use super::{OK, Place, played};

use crate::support::{
    Http2,
    http2::{
        ALL_STREAMS, CANCEL, END_HEADERS, END_STREAM, GOAWAY, HEADERS, NO_ERROR, RST_STREAM, field,
        head,
    },
};

#[test]
fn a_request_of_http2_is_one_of_http1_to_the_application() {
    let (_place, played, daemon, public) = played(&["--proxy-via", "true"]);
    let mut client = Http2::connect(&public);
    let fields = [
        ("cookie", "a=1"),
        ("x-kept", "1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("x-kept", "2"),
        ("forwarded", "for=6.6.6.6"),
        ("proxy-authorization", "Basic YQ=="),
    ];
    let block = head("GET", "/a?b=%20c", Some("shop.example"), &fields);
    let stream = client.headers(&block, true);
    let mut application = played.accept();
    let head = application.head();
    assert_eq!(head.first(), "GET /a?b=%20c HTTP/1.1");
    assert_eq!(head.all("host"), ["shop.example"]);
    assert_eq!(head.all("cookie"), ["a=1; b=2"]);
    assert_eq!(head.all("x-kept"), ["1", "2"]);
    assert_eq!(head.all("te"), ["trailers"]);
    assert_eq!(head.all("via"), ["2.0 lockstepd"]);
    let ip = client.address();
    let ip = ip.rsplit_once(':').unwrap().0;
    assert_eq!(head.all("forwarded"), [format!("for={ip};proto=http;host=\"shop.example\"")]);
    let told =
        ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "cookie", "te"];
    let known = [&told[..], &["via", "host", "x-kept", "connection"]].concat();
    assert_eq!(head.names_but(&known), [""; 0], "{}", head.text);
    application.send(
        "HTTP/1.1 299 Odd\r\nConnection: x-secret\r\nX-Secret: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\n\r\n",
    );
    let answer = client.answer(stream);
    assert_eq!((answer.status, answer.text()), (Some(299), "ok".to_owned()));
    drop(client);
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_body_without_a_length_is_chunked_with_its_trailers() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = Http2::connect(&public);
    let stream = client.request("POST", "/", &[], false);
    client.data(stream, b"body", false);
    let mut application = played.accept();
    let head = application.head();
    assert_eq!(head.all("transfer-encoding"), ["chunked"]);
    client.send(HEADERS, END_HEADERS | END_STREAM, stream, &field("x-sum", "4"));
    let (body, trailers) = application.chunked();
    assert_eq!(body, "body");
    assert!(trailers.is_empty() || trailers.contains("x-sum"), "{trailers}");
    application.send(OK);
    assert_eq!(client.answer(stream).text(), "ok");
}

#[test]
fn the_asterisk_and_a_path_of_options_stay_apart() {
    for path in ["*", "/"] {
        let (_place, played, _daemon, public) = played(&[]);
        let mut client = Http2::connect(&public);
        let stream = client.request("OPTIONS", path, &[], true);
        let mut application = played.accept();
        assert_eq!(application.head().first(), format!("OPTIONS {path} HTTP/1.1"));
        application.send(OK);
        assert_eq!(client.answer(stream).text(), "ok");
    }
}

#[test]
fn many_streams_are_many_requests_and_a_reset_takes_one_back() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = Http2::connect(&public);
    let mut asked = |path: &str| {
        let stream = client.get(path);
        let mut application = played.accept();
        assert_eq!(application.head().first(), format!("GET {path} HTTP/1.1"));
        (stream, application)
    };
    let (first, mut for_first) = asked("/first");
    let (second, mut for_second) = asked("/second");
    let (third, mut for_third) = asked("/third");
    client.send(RST_STREAM, 0, second, &CANCEL.to_be_bytes());
    assert_eq!(for_second.rest(), "");
    for_third.send(OK);
    assert_eq!(client.answer(third).text(), "ok");
    for_first.send(OK);
    assert_eq!(client.answer(first).text(), "ok");
}

#[test]
fn a_request_that_waits_for_the_application_is_answered_within_the_drain() {
    let place = Place::new();
    let mut daemon = place.launch().start();
    let mut client = Http2::connect(&daemon.public());
    let stream = client.request("POST", "/", &[("content-length", "0")], true);
    daemon.event("the application is away; requests wait for it");
    daemon.signal(Signal::TERM);
    let goaway = client.wait_for(GOAWAY);
    assert_eq!((goaway.number(0), goaway.number(4)), (ALL_STREAMS, NO_ERROR));
    let there = place.application(&[]);
    let answer = client.answer(stream);
    assert_eq!((answer.status, answer.text()), (Some(200), "Hello -\n".to_owned()));
    assert_eq!(client.rest().last(), Some(&(stream, NO_ERROR)));
    daemon.end().assert(0, &[]);
    assert_eq!(there.executed().len(), 1);
}
