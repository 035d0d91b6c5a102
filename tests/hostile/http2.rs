//! Clients of HTTP/2, from its preface on.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::support::{
    Http2, Launch, PATIENCE, exchange,
    http2::{END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame, head},
};

/// An empty SETTINGS frame, and GOAWAY with `HTTP_1_1_REQUIRED`, RFC 9113 sections 6.5, 6.8 and 7.
const ANSWER: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0d";

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

fn connect(address: &str) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// Sends each byte in a segment of its own.
fn drip(mut client: &TcpStream, bytes: &[u8]) {
    for byte in bytes {
        // The server need not hear all of it.
        let _ = client.write_all(&[*byte]);
    }
}

/// All that comes until the server closes in order.
#[track_caller]
fn rest(mut client: &TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap_or_else(|error| {
        panic!("{error} after {}", heard.escape_ascii());
    });
    heard
}

#[test]
fn http2_is_known_however_its_preface_comes() {
    let mut daemon = Launch::daemon().start();
    let address = daemon.public();
    let settings = frame(SETTINGS, 0, 0, &[]);
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/", Some("test"), &[]));
    let bytes = [PREFACE, &settings, &request].concat();
    let whole = Http2::new(connect(&address), &bytes);
    let bytewise = connect(&address);
    drip(&bytewise, &bytes);
    for mut client in [whole, Http2::new(bytewise, b"")] {
        assert_eq!(client.answer(1).text(), "Hello, Serve is running...\n");
    }
    daemon.stop().assert(0, &[]);
}

#[test]
fn http2_behind_an_answer_is_answered_with_goaway() {
    let mut daemon = Launch::daemon().start();
    let address = daemon.public();
    let together = connect(&address);
    (&together).write_all(&[REQUEST, PREFACE].concat()).unwrap();
    let heard = rest(&together);
    assert!(heard.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", heard.escape_ascii());
    assert!(heard.ends_with(ANSWER), "{}", heard.escape_ascii());

    let later = connect(&address);
    (&later).write_all(REQUEST).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"running...\n") {
        let mut byte = [0];
        (&later).read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    drip(&later, PREFACE);
    assert_eq!(rest(&later), ANSWER);
    daemon.stop().assert(0, &[]);
}

#[test]
fn what_only_begins_like_http2_is_a_request() {
    let mut daemon = Launch::daemon().start();
    let rest_of_head = "Host: test\r\nConnection: close\r\n\r\n";
    for (line, status) in [
        ("PRINT / HTTP/1.1", "200"),
        ("PROPFIND / HTTP/1.1", "200"),
        ("PRI / HTTP/1.1", "200"),
        ("PRI * HTTP/1.1", "400"),
    ] {
        let client = connect(&daemon.public());
        drip(&client, format!("{line}\r\n{rest_of_head}").as_bytes());
        let heard = String::from_utf8(rest(&client)).unwrap();
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {heard}");
    }
    daemon.stop().assert(0, &[]);
}

#[test]
fn an_offer_of_h2c_is_an_ordinary_request() {
    let mut daemon = Launch::daemon().start();
    let offer =
        b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n\
        GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let heard = exchange(&daemon.public(), offer, false);
    assert_eq!(heard.statuses(), [200, 200], "{}", heard.summary());
    daemon.stop().assert(0, &[]);
}
