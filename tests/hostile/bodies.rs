//! Bodies that are made of requests, to servers that do not read them: none of these requests is served.

use std::thread;

use serde_json::Value;

use crate::{
    program::{Program, Samples},
    support::{Daemon, Launch, ask, exchange},
};

/// What stops the daemon if it is taken for a request.
const ORDER: &str = "GET /listener?stop=forged HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The client's last request, behind the body.
const LAST: &str = "GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// The fields of a request whose body is not read, or not asked for.
const FIELDS: [&str; 4] = [
    "",
    "Expect: 100-continue\r\n",
    "Origin: http://evil.example\r\n",
    "Origin: http://evil.example\r\nExpect: 100-continue\r\n",
];

/// A POST to `path` with a body of orders, and one more request behind it.
fn posted(path: &str, fields: &str, orders: usize, is_chunked: bool) -> Vec<u8> {
    let body = ORDER.repeat(orders);
    let (framing, body) = if is_chunked {
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        )
    } else {
        (format!("Content-Length: {}", body.len()), body)
    };
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{fields}{framing}\r\n\r\n");
    [head, body, LAST.to_owned()].concat().into_bytes()
}

/// Sends every kind of it to `address`, several at once, and counts what comes back.
#[track_caller]
fn assert_sound(address: &str, path: &str) {
    let mut faults = Vec::new();
    for fields in FIELDS {
        for orders in [1, 700, 19_000, 36_000] {
            for is_chunked in [false, true] {
                let request = posted(path, fields, orders, is_chunked);
                let at_once = |_| {
                    thread::spawn({
                        let (address, request) = (address.to_owned(), request.clone());
                        move || exchange(&address, &request, false)
                    })
                };
                let clients: Vec<_> = (0..4).map(at_once).collect();
                for client in clients {
                    let heard = client.join().expect("a client");
                    let is_sound = match heard.answers.as_slice() {
                        [answer] => answer.closes(),
                        [answer, last] => !answer.closes() && last.closes(),
                        _ => false,
                    };
                    if !is_sound || !heard.rest.is_empty() {
                        let framing = if is_chunked { "chunked" } else { "counted" };
                        let what = format!("{fields:?}, {orders} orders, {framing}");
                        faults.push(format!("{what}: {}", heard.summary()));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Nobody has obeyed.
#[track_caller]
fn assert_unmoved(daemon: Daemon, admin: &str) {
    let status = ask(admin, "GET", "/status");
    let status: Value = serde_json::from_slice(&status.body).expect("the status is JSON");
    assert_eq!((&status["phase"], &status["stop_cause"]), (&"ready".into(), &Value::Null));
    let ended = daemon.stop();
    ended.assert(0, &[]);
    assert!(!ended.text().contains("forged"), "{}", ended.text());
}

#[test]
fn orders_in_a_body_to_the_admin_server_are_not_obeyed() {
    let mut daemon = Launch::daemon().start();
    let admin = daemon.admin();
    for path in ["/live", "/listener", "/nowhere"] {
        assert_sound(&admin, path);
    }
    let samples = Samples::of(&admin);
    let obeyed =
        samples.value("lockstepd_requests_total{server=\"admin\",method=\"GET\",status=\"403\"}");
    assert!(obeyed.abs() < 0.5, "{obeyed} requests came out of bodies");
    assert_unmoved(daemon, &admin);
}

#[test]
fn requests_in_a_body_to_the_public_server_are_not_answered() {
    let mut daemon = Launch::daemon().start();
    let (public, admin) = (daemon.public(), daemon.admin());
    assert_sound(&public, "/");
    assert_unmoved(daemon, &admin);
}

#[test]
fn requests_in_a_body_that_a_router_does_not_read_are_not_answered() {
    let program = Program::with_limits("60s");
    for path in ["/", "/later", "/panic"] {
        assert_sound(&program.public, path);
    }
    assert_unmoved(program.daemon, &program.admin);
}

#[test]
fn an_answer_that_was_to_be_the_last_is_not_followed_by_forty_thousand() {
    let mut daemon = Launch::daemon().args(["--max-admin-body-size", "10"]).start();
    let admin = daemon.admin();
    for is_chunked in [false, true] {
        let heard = exchange(&admin, &posted("/live", "", 40_000, is_chunked), false);
        assert_eq!(heard.statuses(), [413], "{}", heard.summary());
        assert!(heard.answers[0].closes() && heard.rest.is_empty(), "{}", heard.summary());
    }
    assert_unmoved(daemon, &admin);
}
