//! HTTP/2 in clear text, where a client begins with its preface.

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    program::Program,
    support::{
        Client, Http2, Launch, PATIENCE, get,
        http2::{ALL_STREAMS, GOAWAY, NO_ERROR, PING, StreamAnswer, head},
        wait_until,
    },
};

const HELLO: &str = "Hello, Serve is running...\n";

/// A whole answer with this status and body.
fn whole(status: u16, body: &str) -> StreamAnswer {
    StreamAnswer { status: Some(status), body: body.into(), reset: None }
}

#[test]
fn requests_of_http2_are_answered_on_the_port_of_http1() {
    let mut daemon = Launch::daemon().start();
    let mut client = Http2::connect(&daemon.public());
    let streams: Vec<_> = (0..50).map(|_| client.get("/")).collect();
    for stream in streams {
        assert_eq!(client.answer(stream), whole(200, HELLO));
    }
    assert_eq!(daemon.get_public("/").body, HELLO);
    daemon.stop().assert(0, &[]);
}

#[test]
fn an_answer_to_head_is_a_head() {
    let mut daemon = Launch::daemon().start();
    let mut client = Http2::connect(&daemon.public());
    for _ in 0..2 {
        let stream = client.request("HEAD", "/", &[], true);
        assert_eq!(client.answer(stream), whole(200, ""));
    }
    daemon.stop().assert(0, &[]);
}

#[test]
fn each_stream_is_a_request_in_log_and_metrics() {
    let mut daemon = Launch::daemon().args(["--access-log", "all"]).start();
    let mut client = Http2::connect(&daemon.public());
    for path in ["/one", "/two?secret"] {
        let stream = client.request("GET", path, &[("x-request-id", "mine")], true);
        assert_eq!(client.answer(stream).status, Some(200));
    }
    let metrics = daemon.get_admin("/metrics").body;
    for line in [
        "lockstepd_requests_total{server=\"public\",method=\"GET\",status=\"200\"} 2",
        "lockstepd_requests_in_flight{server=\"public\"} 0",
        "lockstepd_connections{server=\"public\"} 1",
        "lockstepd_http2_connections{server=\"public\"} 1",
        "lockstepd_connections_http2_total{server=\"public\"} 1",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line}: {metrics}");
    }
    let peer = client.address();
    drop(client);
    let ended = daemon.stop();
    ended.assert(0, &[]);
    let mut logged: Vec<_> =
        ended.events().into_iter().filter(|event| event["version"] == "HTTP/2").collect();
    assert_eq!(logged.len(), 2, "{}", ended.text());
    // Each is logged by a task of its own, after the client has its answer.
    logged.sort_by_key(|event| event["path"].to_string());
    assert_eq!(logged[1]["path"], "/two");
    assert_eq!(logged[1]["peer"], peer);
    assert_eq!(logged[1]["request_id"], "mine");
    assert_eq!(logged[1]["bytes"], HELLO.len());
}

#[test]
fn the_status_shows_connections_of_http2_and_what_they_have_in_flight() {
    let program = Program::ready();
    let mut other = Client::connect(&program.public);
    assert_eq!(other.request("GET", "/").status, 200);
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let mut client = Http2::connect(&program.public);
            for _ in 0..3 {
                let stream = client.request("POST", "/length", &[], false);
                client.data(stream, b"half", false);
            }
            // Its answer comes when the requests before it have begun.
            let asked = client.get("/");
            assert_eq!(client.answer(asked), whole(200, "Hello\n"));
            client
        })
        .collect();
    let shown = || {
        let status = get(&program.admin, "/status").body;
        let status: Value = serde_json::from_str(&status).unwrap();
        ["connections", "connections_http2", "requests_in_flight"]
            .map(|name| status["servers"][0][name].as_u64().unwrap())
    };
    assert_eq!(shown(), [3, 2, 6]);
    drop(clients);
    wait_until("they are gone", PATIENCE, || shown() == [1, 0, 0]);
    drop(other);
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn a_stop_tells_http2_in_two_steps_and_waits_for_what_is_in_flight() {
    let program = Program::ready();
    let mut client = Http2::connect(&program.public);
    let first = client.request("POST", "/length", &[("content-length", "8")], false);
    client.data(first, b"half", false);
    let asked = client.get("/");
    assert_eq!(client.answer(asked), whole(200, "Hello\n"));
    client.is_polite = false;
    program.daemon.signal(Signal::TERM);
    let goaway = client.wait_for(GOAWAY);
    assert_eq!((goaway.number(0), goaway.number(4)), (ALL_STREAMS, NO_ERROR));
    // On its way already when the client hears of it.
    let late = client.get("/");
    let ping = client.wait_for(PING);
    client.is_polite = true;
    client.send(PING, 1, 0, &ping.payload);
    assert_eq!(client.answer(late), whole(200, "Hello\n"));
    client.data(first, b"half", true);
    assert_eq!(client.answer(first), whole(200, "8\n"));
    assert_eq!(client.rest(), [(ALL_STREAMS, NO_ERROR), (late, NO_ERROR)]);
    let ended = program.daemon.end();
    ended.assert(0, &[]);
    assert!(!ended.text().contains("cut off"), "{}", ended.text());
}

#[test]
fn a_stop_waits_a_moment_only_for_clients_of_http2_that_say_nothing() {
    let program = Program::ready();
    let mut client = Http2::connect(&program.public);
    let asked = client.get("/");
    assert_eq!(client.answer(asked), whole(200, "Hello\n"));
    let mut silent = Http2::connect(&program.public);
    silent.is_polite = false;
    client.is_polite = false;
    program.daemon.signal(Signal::TERM);
    assert_eq!(client.rest()[0], (ALL_STREAMS, NO_ERROR));
    program.daemon.end().assert(0, &[]);
}

#[test]
fn the_drain_timeout_cuts_streams_off_and_says_how_many() {
    let program = Program::with_drain_timeout("50ms");
    let mut client = Http2::connect(&program.public);
    for _ in 0..2 {
        let stream = client.request("POST", "/length", &[], false);
        client.data(stream, b"half", false);
    }
    let asked = client.get("/");
    assert_eq!(client.answer(asked), whole(200, "Hello\n"));
    program.daemon.signal(Signal::TERM);
    let ended = program.daemon.end();
    ended.assert(3, &[]);
    assert_eq!(ended.event("requests were cut off")["requests"], 2);
}

#[test]
fn a_second_signal_cuts_streams_off() {
    let program = Program::ready();
    let mut client = Http2::connect(&program.public);
    let stream = client.request("POST", "/length", &[], false);
    client.data(stream, b"half", false);
    let asked = client.get("/");
    client.answer(asked);
    program.daemon.signal(Signal::TERM);
    client.wait_for(GOAWAY);
    program.daemon.insist(Signal::TERM).assert(3, &["requests were cut off"]);
}

#[test]
fn host_and_authority_name_one_host_or_the_request_is_refused() {
    let mut daemon = Launch::daemon().start();
    let mut client = Http2::connect(&daemon.public());
    for (authority, host, status) in [
        (Some("test"), None, 200),
        (None, Some("test"), 200),
        (Some("test:80"), Some("TEST:80"), 200),
        (Some("test"), Some("other"), 400),
        (Some("a b"), None, 400),
        (Some("user@test"), None, 400),
        (None, None, 400),
    ] {
        let fields: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
        let stream = client.headers(&head("GET", "/", authority, &fields), true);
        let answer = client.answer(stream);
        // What is no authority at all hyper resets.
        let is_reset = status == 400 && answer.reset.is_some();
        assert!(answer.status == Some(status) || is_reset, "{authority:?} {host:?}: {answer:?}");
    }
    let connect = client.headers(&connect_head(), true);
    assert_eq!(client.answer(connect).status, Some(501));
    daemon.stop().assert(0, &[]);
}

fn connect_head() -> Vec<u8> {
    use crate::support::http2::field;
    [field(":method", "CONNECT"), field(":authority", "test:80")].concat()
}
