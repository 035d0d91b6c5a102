//! What a stop does to connections, idle and busy, and for how long.
//!
//! The daemon answers everything at once; requests that last are seen on the example `members`.

use rustix::process::Signal;

use crate::{
    program::{FOR_EVER, Program},
    support::{Client, Daemon, Launch, PATIENCE, Response, get, wait_until},
};

#[test]
fn a_request_in_flight_is_answered_before_the_end() {
    let mut program = Program::ready();
    let mut client = program.half_a_request();
    program.daemon.signal(Signal::TERM);
    program.daemon.event("stopping");
    client.send("half");
    let response = client.response("POST");
    assert_eq!((response.status, response.body.as_str()), (200, "8\n"));
    // If it came to its end before the lingering began, it would linger.
    drop(client);
    let ended = program.daemon.end();
    ended.assert(0, &[]);
    assert!(!ended.text().contains("cut off"), "{}", ended.text());
}

#[test]
fn the_drain_timeout_cuts_off_and_exits_3() {
    let program = Program::with_drain_timeout("50ms");
    let mut client = program.half_a_request();
    program.daemon.signal(Signal::TERM);
    let ended = program.daemon.end();
    ended.assert(3, &[]);
    assert_eq!(ended.event("requests were cut off")["requests"], 1);
    assert_eq!(ended.event("stopped")["exit_code"], 3);
    assert!(client.is_closed());
}

#[test]
fn a_cut_off_request_does_not_hide_a_failure() {
    let program = Program::with_drain_timeout("50ms");
    let _client = program.half_a_request();
    // It may be gone before it has answered.
    let mut operator = Client::connect(&program.admin);
    operator.send("GET /listener?fail=x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    program.daemon.end().assert(1, &["requests were cut off", "admin failed: x"]);
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::INT, Signal::TERM)]
    {
        let mut program = Program::ready();
        let _client = program.half_a_request();
        program.daemon.signal(first);
        program.daemon.event("stopping");
        program.daemon.insist(second).assert(3, &["a second signal came", "requests were cut off"]);
    }
}

#[test]
fn a_signal_after_a_requested_stop_ends_at_once() {
    let mut program = Program::ready();
    let _client = program.half_a_request();
    get(&program.admin, "/listener?stop=x");
    program.daemon.event("stopping");
    let ended = program.daemon.insist(Signal::TERM);
    ended.assert(3, &["a second signal came", "requests were cut off"]);
}

#[test]
fn ready_says_503_while_the_drain_goes_on_and_live_200() {
    let mut program = Program::ready();
    let mut client = program.half_a_request();
    program.daemon.signal(Signal::TERM);
    program.daemon.event("stopping");
    assert_eq!(get(&program.admin, "/ready").status, 503);
    assert_eq!(get(&program.admin, "/live").status, 200);
    client.send("half");
    assert_eq!(client.response("POST").status, 200);
    drop(client);
    program.daemon.end().assert(0, &[]);
}

#[test]
fn accepting_stops_while_requests_in_flight_finish() {
    let mut program = Program::ready();
    let mut client = program.half_a_request();
    program.daemon.signal(Signal::TERM);
    program.daemon.event("stopping");
    wait_until("public refuses", PATIENCE, || Client::try_connect(&program.public).is_err());
    client.send("half");
    let response = client.response("POST");
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(client.is_closed());
    program.daemon.end().assert(0, &[]);
}

#[test]
fn a_body_that_nobody_waits_for_holds_nothing_up() {
    let mut daemon = lingering("0s");
    let mut client = Client::connect(&daemon.public());
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nhalf");
    assert_eq!(client.response("POST").status, 200);
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_client_that_sends_its_body_behind_its_answer_is_heard_out_at_a_stop() {
    for (length, connection) in [(400 << 10, None), (2 << 20, Some("close"))] {
        let mut daemon = lingering("0s");
        let mut client = Client::connect(&daemon.public());
        client.send(&format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\nbegun"
        ));
        client.wait_for_answer();
        daemon.signal(Signal::TERM);
        daemon.event("stopping");
        client.send(&"x".repeat(length - 5));
        let response = client.response("POST");
        assert_eq!((response.status, response.header("connection")), (200, connection));
        assert!(client.is_closed());
        drop(client);
        daemon.end().assert(0, &[]);
    }
}

#[test]
fn a_stop_without_connections_waits_for_nothing() {
    lingering(FOR_EVER).stop().assert(0, &[]);
}

#[test]
fn a_lingering_connection_is_answered_once_more_and_told_to_close() {
    let mut daemon = lingering(FOR_EVER);
    let mut client = Client::connect(&daemon.public());
    assert_eq!(client.request("GET", "/").header("connection"), None);
    // Its request is on its way, however long the rest takes.
    client.send("GET / HTTP/1.1\r\n");
    daemon.signal(Signal::TERM);
    daemon.event("stopping");
    client.send("Host: test\r\n\r\n");
    let is_told = |response: &Response| response.header("connection") == Some("close");
    let mut response = client.response("GET");
    // The first may still be answered as before; none is left without an answer.
    while !is_told(&response) {
        response = client.request("GET", "/");
    }
    assert!(client.is_closed());
    daemon.end().assert(0, &[]);
}

#[test]
fn a_silent_connection_is_closed_after_the_linger() {
    let mut daemon = lingering("10ms");
    let mut client = Client::connect(&daemon.public());
    client.request("GET", "/");
    daemon.signal(Signal::TERM);
    daemon.end().assert(0, &[]);
    assert!(client.is_closed());
}

#[test]
fn silent_clients_on_the_same_machine_do_not_hold_a_stop_up_however_long_the_linger() {
    let mut daemon = lingering(FOR_EVER);
    let mut clients = [Client::connect(&daemon.public()), Client::connect(&daemon.public())];
    // The other has never had an answer.
    clients[0].request("GET", "/");
    daemon.signal(Signal::TERM);
    daemon.end().assert(0, &[]);
    for client in &mut clients {
        assert!(client.is_closed());
    }
}

fn lingering(linger: &str) -> Daemon {
    Launch::daemon().args(["--drain-timeout", FOR_EVER, "--linger", linger]).start()
}
