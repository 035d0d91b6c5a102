//! The stream of `/events` as a client without a browser sees it, and what of it stays out of the way.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Client, Launch, PATIENCE};

/// A connection that asks for the stream, again and again, as a browser does.
pub(crate) struct Listener {
    stream: BufReader<TcpStream>,
}

// === impl Listener ===

impl Listener {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn ask(&mut self) {
        let request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        self.stream.get_mut().write_all(request).unwrap();
    }

    /// The next event; `None` at the stream's orderly end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            let length = self.stream.read_line(&mut line).unwrap();
            assert!(length > 0, "the connection ended within the stream");
            if let Some(json) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(json).unwrap());
            }
            // The last chunk has no bytes.
            if line == "0\r\n" {
                self.stream.read_line(&mut line).unwrap();
                return None;
            }
        }
    }
}

#[test]
fn every_event_is_the_status_and_tells_each_log_line_once() {
    let mut daemon = Launch::daemon().start();
    let mut listener = Listener::connect(&daemon.admin());
    listener.ask();
    let first = listener.next().unwrap();
    let status: Value = serde_json::from_str(&daemon.get_admin("/status").body).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&first), names(&status));
    assert_eq!(first["recent_events"], status["recent_events"]);
    assert_eq!(first["recent_events"][0]["message"], "ready");
    assert_eq!(first["hand_over"], Value::Null);
    let second = listener.next().unwrap();
    assert_eq!(second["recent_events"], Value::Array(Vec::new()));
    daemon.stop().assert(0, &[]);
}

#[test]
fn the_stream_ends_when_the_drain_begins() {
    let mut daemon = Launch::daemon().args(["--drain-timeout", "10m", "--linger", "10m"]).start();
    let mut listener = Listener::connect(&daemon.admin());
    let mut busy = Client::connect(&daemon.public());
    busy.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nhalf");
    busy.response("POST");
    listener.ask();
    assert_eq!(listener.next().unwrap()["phase"], "ready");
    daemon.signal(Signal::TERM);
    let last = std::iter::from_fn(|| listener.next()).last().unwrap();
    assert_eq!((&last["phase"], &last["stop_cause"]), (&"draining".into(), &"SIGTERM".into()));
    // Who asks again meanwhile is told how it goes, once.
    listener.ask();
    assert_eq!(listener.next().unwrap()["phase"], "draining");
    assert_eq!(listener.next(), None);
    drop(listener);
    busy.send("half");
    drop(busy);
    let ended = daemon.end();
    ended.assert(0, &[]);
    assert!(!ended.text().contains("cut off"), "{}", ended.text());
}

#[test]
fn an_open_stream_does_not_hold_an_upgrade_back_and_its_connection_goes_along() {
    let address = Launch::address();
    let addresses = [format!("{address}:9090"), format!("{address}:9091")];
    let mut daemon = Launch::on(&addresses[0], &addresses[1]).start();
    let mut listener = Listener::connect(&addresses[1]);
    listener.ask();
    let before = listener.next().unwrap();
    daemon.signal(Signal::USR2);
    let last = std::iter::from_fn(|| listener.next()).last().unwrap();
    assert_eq!(last["phase"], "reloading");
    daemon.event("took connections over");
    listener.ask();
    let after = listener.next().unwrap();
    assert_eq!(after["pid"], before["pid"]);
    assert_ne!(after["started_at"], before["started_at"]);
    assert_eq!(after["hand_over"]["way"], "upgrade");
    assert_eq!(after["hand_over"]["connections"], 1);
    drop(listener);
    let log = daemon.stop().text();
    assert!(!log.contains("serving on until"), "the stream held the upgrade back:\n{log}");
}

#[test]
fn who_does_not_ask_for_html_gets_no_page() {
    let mut daemon = Launch::daemon().start();
    let admin = daemon.admin();
    let mut client = Client::connect(&admin);
    assert_eq!(client.request("GET", "/").status, 404);
    let get = |accept: &str| {
        let mut client = Client::connect(&admin);
        client.send(&format!("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"));
        client.response("GET")
    };
    assert_eq!(get("*/*").status, 404);
    let page = get("text/html,*/*;q=0.8");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'nonce-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    // Nothing is fetched from anywhere else: the one address is the name of SVG's elements.
    let addresses: Vec<_> = page.body.match_indices("://").collect();
    let names = page.body.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(addresses.len(), names);
    daemon.stop().assert(0, &[]);
}
