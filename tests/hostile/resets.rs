//! Clients of HTTP/2 that ask, and want no answer.

use crate::{
    program::Program,
    support::{
        Http2,
        http2::{ACK, ALL_STREAMS, CANCEL, NO_ERROR, PING, RST_STREAM},
    },
};

/// Longer than any test waits: what ends earlier does so for another reason.
const AMPLE: &str = "10m";

/// How many requests a client may give up before it is told to end the connection, and before that is closed.
const MAX: usize = 1000;
const CLOSED_AT: usize = 2 * MAX + 1;

/// Asks, and takes it back once the server has heard it; tells whether the connection is still there.
fn asks_and_resets(client: &mut Http2) -> bool {
    let stream = client.get("/never");
    client.send(PING, 0, 0, b"is it so");
    loop {
        match client.frame() {
            Some(frame) if (frame.kind, frame.flags) == (PING, ACK) => break,
            Some(_) => {}
            None => return false,
        }
    }
    client.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    true
}

/// Another client is served, and the program ends in order.
#[track_caller]
fn others_are_served(program: Program) {
    let mut other = Http2::connect(&program.public);
    let asked = other.get("/");
    assert_eq!(other.answer(asked).text(), "Hello\n");
    drop(other);
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn who_takes_back_a_thousand_requests_one_by_one_is_told_to_end_the_connection() {
    let program = Program::with_limits(AMPLE);
    let mut client = Http2::connect(&program.public);
    for _ in 0..=MAX {
        assert!(asks_and_resets(&mut client), "{:?}", client.goaways());
    }
    let last = u32::try_from(2 * MAX + 1).unwrap();
    assert_eq!(client.rest(), [(ALL_STREAMS, NO_ERROR), (last, NO_ERROR)]);
    others_are_served(program);
}

#[test]
fn who_goes_on_after_being_told_loses_the_connection() {
    let program = Program::with_limits(AMPLE);
    let mut client = Http2::connect(&program.public);
    // It never says that it has heard of the end.
    client.is_polite = false;
    // Without a stream it would be closed for saying nothing.
    client.get("/never");
    // How many more than it may depends on when the server runs: a request that was taken back is counted once
    // its own task has ended.
    let times = (0..100 * CLOSED_AT).take_while(|_| asks_and_resets(&mut client)).count();
    assert_eq!(client.goaways(), [(ALL_STREAMS, NO_ERROR)]);
    assert!((CLOSED_AT..100 * CLOSED_AT).contains(&times), "{times}");
    others_are_served(program);
}

#[test]
fn who_wants_most_of_the_answers_may_take_back_as_much_as_it_likes() {
    let program = Program::with_limits(AMPLE);
    let mut client = Http2::connect(&program.public);
    for _ in 0..MAX + 200 {
        assert!(asks_and_resets(&mut client));
        for _ in 0..2 {
            let asked = client.get("/");
            assert_eq!(client.answer(asked).status, Some(200));
        }
        assert_eq!(client.goaways(), []);
        client.seen.clear();
    }
    drop(client);
    others_are_served(program);
}
