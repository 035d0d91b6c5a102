//! Requests that come together, of which one ends the connection.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    pin::Pin,
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http_body::Frame;
use lockstepd::{Daemon, Exit};
use socket2::SockRef;

use crate::{Running, support::PATIENCE};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn answers_are_not_lost_by_what_comes_behind_their_requests() {
    let router = Router::new()
        .route("/", get(|| async { "Hello\n" }))
        .route("/failing", get(|| async { Body::new(Broken { panics: false }) }))
        .route("/panicking", get(|| async { Body::new(Broken { panics: true }) }));
    let running = Running::start(Daemon::new("test").server("public", "127.0.0.1:0", router));
    for (behind, hang_up) in [
        // Half a request, and no more.
        ("GET / HT", true),
        // HTTP/2, which is answered in its own words.
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
        ("GET /failing HTTP/1.1\r\nHost: x\r\n\r\n", false),
        ("GET /panicking HTTP/1.1\r\nHost: x\r\n\r\n", false),
    ] {
        let mut client = TcpStream::connect(running.address("public")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(format!("{}{behind}", REQUEST.repeat(3)).as_bytes()).unwrap();
        if hang_up {
            client.shutdown(Shutdown::Write).unwrap();
        }
        let mut heard = String::new();
        client.read_to_string(&mut heard).unwrap();
        assert_eq!(heard.matches("Hello\n").count(), 3, "before {behind:?}: {heard:?}");
    }
    running.stop().unwrap();
}

#[test]
fn a_client_that_hangs_up_behind_its_request_hears_the_answer() {
    let router = Router::new().route("/", get(|| async { "Hello\n" }));
    let running = Running::start(Daemon::new("test").server("public", "127.0.0.1:0", router));
    for before in 0..3 {
        let mut client = TcpStream::connect(running.address("public")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        for _ in 0..before {
            client.write_all(REQUEST.as_bytes()).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"Hello\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                answer.extend(byte);
            }
        }
        // Both come in one segment.
        SockRef::from(&client).set_tcp_cork(true).unwrap();
        client.write_all(REQUEST.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).unwrap();
        assert!(heard.ends_with("Hello\n"), "after {before}: {heard:?}");
    }
    running.stop().unwrap();
}

#[test]
fn a_client_that_never_stops_asking_does_not_hold_up_the_stop() {
    let router = Router::new().route("/", get(|| async { "Hello\n" }));
    let daemon = Daemon::new("test").server("public", "127.0.0.1:0", router);
    let timeout = Duration::from_secs(10);
    let running = Running::start(daemon.drain_timeout(timeout));
    let client = TcpStream::connect(running.address("public")).unwrap();
    let (exit, took) = thread::scope(|scope| {
        let (mut asking, mut hearing) = (&client, &client);
        scope.spawn(move || {
            let requests = REQUEST.repeat(1000);
            while asking.write_all(requests.as_bytes()).is_ok() {}
        });
        let mut answers = vec![0; 1 << 20];
        hearing.read_exact(&mut answers).unwrap();
        scope.spawn(move || while matches!(hearing.read(&mut answers), Ok(1..)) {});
        let begun = Instant::now();
        (running.stop(), begun.elapsed())
    });
    assert_eq!(exit.unwrap(), Exit::Clean);
    assert!(took < timeout / 2, "{took:?}");
}

/// A body that comes to nothing.
struct Broken {
    panics: bool,
}

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        assert!(!self.panics, "in the body");
        Poll::Ready(Some(Err(io::Error::other("in the body"))))
    }
}
