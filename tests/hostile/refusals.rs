//! What the log tells of requests that the service never sees.

use serde_json::Value;

use crate::support::{Ended, Launch, exchange};

/// The access log's events, in order.
fn logged(ended: &Ended) -> Vec<Value> {
    let events = ended.events().into_iter();
    events.filter(|event| event["target"] == "lockstepd::access").collect()
}

#[test]
fn a_refused_request_is_logged_once_and_with_its_reason() {
    let launch = Launch::daemon().args(["--max-headers", "10", "--max-head-size", "8192"]);
    let mut daemon = launch.start();
    let (fields, long) = ("X: y\r\n".repeat(10), "y".repeat(8192));
    let too_many = format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    let too_many_of_many = format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}X: {long}\r\n\r\n");
    let too_large = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {long}\r\n\r\n");
    let host = format!("GET / HTTP/1.1\r\nHost: {} \"\r\n\r\n", "y".repeat(63));
    let cut = format!("the Host \"{} …\" is no host name", "y".repeat(63));
    let fields = "more than 10 fields (max_headers)";
    let request = "request";
    let cases = [
        (request, 400, "no Host", "GET / HTTP/1.1\r\n\r\n"),
        (request, 400, "more than one Host", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (
            request,
            400,
            "the Host \"a \\\"b\" is no host name",
            "GET / HTTP/1.1\r\nHost: a \"b\r\n\r\n",
        ),
        (request, 400, &cut, &host),
        (
            request,
            400,
            "the target's host \"u@a\" is no host name",
            "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            request,
            400,
            "the target of CONNECT is no host name and port",
            "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            request,
            400,
            "the target is *, which only OPTIONS may ask for",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            request,
            400,
            "the target is neither a path nor a URL",
            "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            request,
            501,
            "a transfer coding that is not chunked, or more than one",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            request,
            400,
            "what follows the head is not the body that it announces",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ),
        ("request not understood", 431, fields, &too_many),
        ("request not understood", 431, fields, &too_many_of_many),
        (
            "request not understood",
            431,
            "a head of more than 8192 bytes (max_head_size)",
            &too_large,
        ),
        (
            "request not understood",
            400,
            "a handshake of TLS, where clear text is spoken",
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}",
        ),
    ];
    for (_, status, error, request) in cases {
        let heard = exchange(&daemon.public(), request.as_bytes(), false);
        assert_eq!(heard.statuses(), [status], "{error}: {}", heard.summary());
    }
    let ended = daemon.stop();
    let logged = logged(&ended);
    let logged: Vec<_> = logged
        .iter()
        .map(|event| {
            let status = event["status"].as_u64().unwrap_or_default();
            (event["message"].as_str().unwrap_or_default(), status, event["error"].as_str())
        })
        .collect();
    let expected = cases.map(|(message, status, error, _)| (message, status.into(), Some(error)));
    assert_eq!(logged, expected, "{}", ended.text());
}

#[test]
fn a_request_that_the_service_answers_is_logged_without_a_reason() {
    let mut daemon = Launch::daemon().args(["--access-log", "all"]).start();
    // Some clients escape no letters.
    let request = "GET /ä HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(&daemon.public(), request.as_bytes(), false).statuses(), [200]);
    let ended = daemon.stop();
    let logged = logged(&ended);
    assert_eq!(logged.len(), 1, "{}", ended.text());
    assert_eq!((&logged[0]["path"], logged[0].get("error")), (&"/ä".into(), None));
}

#[test]
fn connect_is_logged_with_its_host_and_port() {
    let mut daemon = Launch::daemon().args(["--access-log", "all"]).start();
    for target in ["a.example:443", "a.example"] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        exchange(&daemon.public(), request.as_bytes(), false);
    }
    let logged = logged(&daemon.stop());
    let paths: Vec<_> = logged.iter().map(|event| event["path"].as_str()).collect();
    assert_eq!(paths, [Some("a.example:443"), Some("a.example")]);
}
