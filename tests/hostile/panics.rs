//! A handler that panics costs its own request and nothing else.

use serde_json::Value;

use crate::{
    program::{Program, Samples},
    support::{Client, Ended, PATIENCE, exchange, wait_until},
};

const PANICS: &str = "lockstepd_panics_total{server=\"public\"}";

/// The panics that are in the log, each with the place in the example.
#[track_caller]
fn panics(ended: &Ended) -> Vec<String> {
    let mut panics = Vec::new();
    for event in ended.events() {
        let message = event["message"].as_str().unwrap_or_default();
        if let Some(message) = message.strip_prefix("panic: ") {
            assert_eq!(event["level"], "ERROR");
            let location = event["location"].as_str().unwrap_or_default();
            assert!(location.contains("programs/limits.rs:"), "{event}");
            panics.push(message.to_owned());
        }
    }
    panics
}

#[test]
fn a_panic_in_a_handler_is_answered_500_on_a_connection_that_goes_on() {
    let program = Program::with_limits("60s");
    let mut client = Client::connect(&program.public);
    for path in ["/panic", "/panic/later", "/panic"] {
        assert_eq!(client.request("GET", path).status, 500, "{path}");
        assert_eq!(client.request("GET", "/").status, 200, "after {path}");
    }
    Samples::wait_for(&program.admin, PANICS, 3.0);
    let samples = Samples::of(&program.admin);
    let answered = "lockstepd_requests_total{server=\"public\",method=\"GET\",status=\"500\"}";
    assert!((samples.value(answered) - 3.0).abs() < 0.5, "{samples:?}");
    drop(client);
    let ended = program.daemon.stop();
    ended.assert(0, &[]);
    assert_eq!(panics(&ended), ["at once", "later", "at once"]);
}

#[test]
fn a_panic_in_an_answers_body_cuts_it_off_and_nothing_else() {
    let program = Program::with_limits("60s");
    let mut other = Client::connect(&program.public);
    assert_eq!(other.request("GET", "/").status, 200);
    for _ in 0..3 {
        let request = b"GET /panic/body HTTP/1.1\r\nHost: test\r\n\r\n";
        let heard = exchange(&program.public, request, false);
        // The head may have gone out; the last chunk, which would make it whole, has not.
        let text = String::from_utf8_lossy(&heard.rest).into_owned();
        assert!(!text.ends_with("0\r\n\r\n"), "{heard:?}");
    }
    assert_eq!(other.request("GET", "/").status, 200);
    Samples::wait_for(&program.admin, PANICS, 3.0);
    for (gauge, expected) in [("requests_in_flight", 0.0), ("connections", 1.0)] {
        let gauge = format!("lockstepd_{gauge}{{server=\"public\"}}");
        wait_until(&format!("{gauge} is {expected}"), PATIENCE, || {
            (Samples::of(&program.admin).value(&gauge) - expected).abs() < 0.5
        });
    }
    drop(other);
    let ended = program.daemon.stop();
    ended.assert(0, &[]);
    assert_eq!(panics(&ended).len(), 3);
    let is_error = |event: &&Value| event["level"] == "ERROR";
    assert_eq!(ended.events().iter().filter(is_error).count(), 3, "{}", ended.text());
}

#[test]
fn a_hundred_panics_at_once_leave_the_server_running() {
    let program = Program::with_limits("60s");
    let mut clients: Vec<_> = (0..100).map(|_| Client::connect(&program.public)).collect();
    for client in &mut clients {
        client.send("GET /panic/later HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response("GET").status, 500);
        assert_eq!(client.request("GET", "/").status, 200);
    }
    Samples::wait_for(&program.admin, PANICS, 100.0);
    drop(clients);
    program.daemon.stop().assert(0, &[]);
}
