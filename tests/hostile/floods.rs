//! Clients of HTTP/2 that ask for more than their share, or give nothing in return.

use std::{fs, time::Duration};

use crate::{
    program::{Program, Samples},
    support::{
        Http2, PATIENCE,
        http2::{
            ACK, ALL_STREAMS, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM,
            ENHANCE_YOUR_CALM, HEADERS, INTERNAL_ERROR, NO_ERROR, PING, REFUSED_STREAM, RST_STREAM,
            SETTINGS, WINDOW_UPDATE, field, frame, head,
        },
        wait_until,
    },
};

/// The time that clients have in these tests.
const TIME: &str = "500ms";

/// Time enough for whatever is sent here.
const AMPLE: &str = "30s";

const TIMEOUTS: &str = "lockstepd_timeouts_total{server=\"public\",waiting_for=";
const GIVEN_UP: &str = "lockstepd_streams_given_up_total{server=\"public\"}";
const IN_FLIGHT: &str = "lockstepd_requests_in_flight{server=\"public\"}";

fn timeouts(waiting_for: &str) -> String {
    format!("{TIMEOUTS}\"{waiting_for}\"}}")
}

/// How much memory the program has had at most, in MiB.
fn peak(program: &Program) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap() >> 10
}

#[track_caller]
fn wait_until_all_have_ended(program: &Program) {
    wait_until("no request is in flight", PATIENCE, || {
        Samples::of(&program.admin).value(IN_FLIGHT) == 0.0
    });
}

/// The client's connection is over with this error, others are served, and the memory was bounded.
#[track_caller]
fn calmed(program: Program, mut client: Http2, error: u32) {
    let last = client.rest().pop().expect("the client is told why");
    assert_eq!(last.1, error);
    let mut other = Http2::connect(&program.public);
    let stream = other.get("/");
    assert_eq!(other.answer(stream).text(), "Hello\n");
    let peak = peak(&program);
    assert!(peak < 100, "{peak} MiB");
    drop(other);
    let ended = program.daemon.stop();
    ended.assert(0, &[]);
    // What a peer does wrong is no warning.
    assert!(!ended.text().contains("WARN"), "{}", ended.text());
}

#[test]
fn a_client_that_resets_what_it_asks_for_at_once_is_calmed() {
    let program = Program::with_limits(AMPLE);
    let mut client = Http2::connect(&program.public);
    let block = head("GET", "/never", Some("test"), &[]);
    let both = |stream| {
        let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
        [request, frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())].concat()
    };
    let flood: Vec<_> = (0..1000).flat_map(|stream| both(2 * stream + 1)).collect();
    let _ = client.send_bytes(&flood);
    calmed(program, client, ENHANCE_YOUR_CALM);
}

#[test]
fn a_field_block_without_an_end_is_calmed() {
    let program = Program::with_limits(AMPLE);
    let mut client = Http2::connect(&program.public);
    client.send(HEADERS, END_STREAM, 1, &head("GET", "/", Some("test"), &[]));
    let more = field("x", &"y".repeat(1000)).repeat(16);
    for _ in 0..10_000 {
        if client.try_send(CONTINUATION, 0, 1, &more).is_err() {
            break;
        }
    }
    calmed(program, client, ENHANCE_YOUR_CALM);
}

#[test]
fn a_field_block_of_nothing_is_calmed() {
    let program = Program::with_limits(AMPLE);
    let mut client = Http2::connect(&program.public);
    client.send(HEADERS, END_STREAM, 1, &head("GET", "/", Some("test"), &[]));
    let nothing = frame(CONTINUATION, 0, 1, &[]).repeat(1000);
    for _ in 0..1000 {
        if client.send_bytes(&nothing).is_err() {
            break;
        }
    }
    calmed(program, client, ENHANCE_YOUR_CALM);
}

/// A request of `times` times four thousand bytes, most of which stands for what came before.
fn packed(times: usize) -> Vec<u8> {
    let mut block = head("GET", "/", Some("test"), &[]);
    // This goes into the table, where its number is 62.
    block.push(0x40);
    block.extend(&field("x", &"y".repeat(3900))[1..]);
    block.extend([0xbe].repeat(times - 1));
    block
}

#[test]
fn heads_that_are_large_only_when_they_are_unpacked_are_refused() {
    let program = Program::with_limits(AMPLE);
    let mut client = Http2::connect(&program.public);
    for _ in 0..50 {
        let stream = client.headers(&packed(20), true);
        assert_eq!(client.answer(stream).status, Some(431));
    }
    let many: Vec<_> = (0..101).map(|_| ("x", "y")).collect();
    let stream = client.request("GET", "/", &many, true);
    assert_eq!(client.answer(stream).status, Some(431));
    client.headers(&packed(8000), true);
    calmed(program, client, ENHANCE_YOUR_CALM);
}

#[test]
fn bodies_in_pieces_of_nothing_are_calmed() {
    let program = Program::with_limits(AMPLE);
    let mut client = Http2::connect(&program.public);
    let stream = client.request("POST", "/length", &[], false);
    let nothing = frame(DATA, 0, stream, &[]).repeat(1000);
    for _ in 0..1000 {
        if client.send_bytes(&nothing).is_err() {
            break;
        }
    }
    calmed(program, client, ENHANCE_YOUR_CALM);
}

#[test]
fn bodies_in_pieces_of_a_byte_that_nobody_reads_are_calmed() {
    let program = Program::with_limits(AMPLE);
    let mut client = Http2::connect(&program.public);
    for _ in 0..50 {
        let stream = client.request("POST", "/never", &[], false);
        let bytes = frame(DATA, 0, stream, b"x").repeat(20_000);
        if client.send_bytes(&bytes).is_err() {
            break;
        }
    }
    calmed(program, client, ENHANCE_YOUR_CALM);
}

#[test]
fn who_asks_for_more_at_once_than_there_may_be_is_refused_that() {
    let program = Program::with_limits(AMPLE);
    let mut client = Http2::connect(&program.public);
    let streams: Vec<_> = (0..100).map(|_| client.get("/never")).collect();
    // The limit holds from when the client has acknowledged it.
    client.wait_for(SETTINGS);
    Samples::wait_for(&program.admin, IN_FLIGHT, 100.0);
    let more = client.get("/");
    assert_eq!(client.answer(more).reset, Some(REFUSED_STREAM));
    for stream in streams {
        client.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    }
    Samples::wait_for(&program.admin, GIVEN_UP, 100.0);
    wait_until_all_have_ended(&program);
    let asked = client.get("/");
    assert_eq!(client.answer(asked).text(), "Hello\n");
    drop(client);
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn pings_and_settings_whose_answers_nobody_reads_end_with_the_time_for_writing() {
    for kind in [PING, SETTINGS] {
        let program = Program::with_limits(TIME);
        let mut client = Http2::connect(&program.public);
        let payload: &[u8] = if kind == PING { b"12345678" } else { &[] };
        let flood = frame(kind, 0, 0, payload).repeat(1000);
        // It is not read any more, at some time, and closed later.
        while client.send_bytes(&flood).is_ok() {}
        Samples::wait_for(&program.admin, &timeouts("write"), 1.0);
        let peak = peak(&program);
        assert!(peak < 100, "{peak} MiB");
        program.daemon.stop().assert(0, &[]);
    }
}

#[test]
fn an_answer_that_no_window_is_given_for_costs_its_stream_and_no_other() {
    let program = Program::with_limits(TIME);
    // Of the initial window nothing.
    let mut client = Http2::with_settings(&program.public, &[(4, 0)]);
    let large = client.get("/large");
    assert_eq!(client.answer(large).reset, Some(CANCEL));
    Samples::wait_for(&program.admin, &timeouts("write"), 1.0);
    let asked = client.get("/");
    client.send(WINDOW_UPDATE, 0, asked, &100_u32.to_be_bytes());
    assert_eq!(client.answer(asked).text(), "Hello\n");
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn the_rest_of_an_answer_that_no_window_is_given_for_costs_the_connection() {
    let program = Program::with_limits(TIME);
    let mut client = Http2::with_settings(&program.public, &[(4, 0)]);
    // The service is done with these.
    for _ in 0..50 {
        client.get("/");
    }
    client.rest();
    assert!(Samples::of(&program.admin).value(&timeouts("write")) > 0.0);
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn a_body_that_does_not_come_costs_its_stream_408_and_no_other() {
    let program = Program::with_limits(TIME);
    let mut client = Http2::connect(&program.public);
    let slow = client.request("POST", "/length", &[], false);
    client.data(slow, b"half", false);
    let ticks = client.get("/ticks");
    assert_eq!(client.answer(slow).status, Some(408));
    Samples::wait_for(&program.admin, &timeouts("body"), 1.0);
    let asked = client.request("POST", "/length", &[], false);
    client.data(asked, b"whole", true);
    assert_eq!(client.answer(asked).text(), "5\n");
    client.send(RST_STREAM, 0, ticks, &CANCEL.to_be_bytes());
    wait_until_all_have_ended(&program);
    drop(client);
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn a_conversation_may_pause_for_longer_than_a_body() {
    let program = Program::with_limits(TIME);
    let mut client = Http2::connect(&program.public);
    let talk = client.request("POST", "/talk", &[], false);
    for word in [&b"one"[..], b"two"] {
        client.data(talk, word, false);
        assert_eq!(client.wait_for(DATA).payload, word);
        std::thread::sleep(Duration::from_millis(1500));
    }
    client.data(talk, b"", true);
    assert_eq!(client.answer(talk).text(), "onetwo");
    drop(client);
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn a_body_that_trickles_has_its_time() {
    let program = Program::with_limits(TIME);
    let mut client = Http2::connect(&program.public);
    let slow = client.request("POST", "/length", &[], false);
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(150));
        client.data(slow, b"x", false);
    }
    client.data(slow, b"", true);
    assert_eq!(client.answer(slow).text(), "8\n");
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn half_a_preface_has_the_time_of_a_head_and_an_idle_connection_that_of_one() {
    let program = Program::with_limits(TIME);
    let stream = std::net::TcpStream::connect(&program.public).unwrap();
    let mut half = Http2::new(stream, &crate::support::http2::PREFACE[..20]);
    half.is_polite = false;
    half.rest();
    Samples::wait_for(&program.admin, &timeouts("head"), 1.0);
    let mut idle = Http2::connect(&program.public);
    let asked = idle.get("/");
    idle.answer(asked);
    assert_eq!(idle.rest(), [(ALL_STREAMS, NO_ERROR), (asked, NO_ERROR)]);
    Samples::wait_for(&program.admin, &timeouts("idle"), 1.0);
    // One that does not answer is closed, too.
    let mut silent = Http2::connect(&program.public);
    silent.is_polite = false;
    silent.send(SETTINGS, ACK, 0, &[]);
    assert_eq!(silent.rest(), [(ALL_STREAMS, NO_ERROR)]);
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn a_handler_that_panics_costs_its_stream_only() {
    let program = Program::with_limits(AMPLE);
    let mut client = Http2::connect(&program.public);
    let other = client.request("POST", "/length", &[], false);
    for path in ["/panic", "/panic/later"] {
        let stream = client.get(path);
        assert_eq!(client.answer(stream).status, Some(500));
    }
    let stream = client.get("/panic/body");
    let answer = client.answer(stream);
    assert_eq!(answer.reset, Some(INTERNAL_ERROR), "{answer:?}");
    client.data(other, b"whole", true);
    assert_eq!(client.answer(other).text(), "5\n");
    drop(client);
    program.daemon.stop().assert(0, &[]);
}
