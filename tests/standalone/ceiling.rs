//! What nobody can hold up: the end of a stop. The example `members` has what tries to.

use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    program::Program,
    support::{Client, Ended, Http2},
};

#[test]
fn a_member_that_never_yields_does_not_keep_a_stop_from_its_end_and_is_named() {
    let mut program = Program::with_drain_timeout("50ms");
    program.order("hog");
    program.daemon.line("the worker's word", |line| line.contains("the worker blocks"));
    program.daemon.signal(Signal::TERM);
    assert_cut_off(&program.daemon.end(), "member \"worker\" does not yield");
}

#[test]
fn a_handler_that_blocks_its_thread_does_not_keep_a_stop_from_its_end_and_is_named() {
    let mut program = Program::with_drain_timeout("50ms");
    let client = program.ask("/block");
    program.daemon.line("the handler's word", |line| line.contains("a handler blocks"));
    program.daemon.signal(Signal::TERM);
    assert_cut_off(&program.daemon.end(), &of_handler(&client));
}

#[test]
fn a_stream_whose_handler_blocks_its_thread_is_named_by_its_client() {
    let mut program = Program::with_drain_timeout("50ms");
    let mut client = Http2::connect(&program.public);
    client.get("/block");
    program.daemon.line("the handler's word", |line| line.contains("a handler blocks"));
    program.daemon.signal(Signal::TERM);
    let named = format!("a handler of \"public\" for {} does not yield", client.address());
    assert_cut_off(&program.daemon.end(), &named);
}

#[test]
fn a_connection_in_an_endless_loop_does_not_keep_a_stop_from_its_end_and_is_named() {
    let mut program = Program::with_drain_timeout("50ms");
    let client = program.ask("/spin");
    program.daemon.line("the answer's word", |line| line.contains("an answer spins"));
    program.daemon.signal(Signal::TERM);
    assert_cut_off(&program.daemon.end(), &of_handler(&client));
}

#[test]
fn a_signal_is_heard_though_every_worker_is_blocked_and_the_stop_ends_with_their_names() {
    for cause in [Signal::TERM, Signal::INT] {
        let mut program = Program::with_drain_timeout("50ms");
        let client = program.block_every_worker();
        program.daemon.signal(cause);
        assert_cut_off(&program.daemon.end(), &of_handler(&client));
        let manager = program.manager.rest();
        let said = |what: &str| manager.iter().flatten().any(|line| line.starts_with(what));
        assert!(said("STOPPING=1") && said("STATUS=Ended by force: a handler of"), "{manager:?}");
    }
}

#[test]
fn a_second_signal_is_heard_though_every_worker_is_blocked() {
    let mut program = Program::ready();
    let client = program.block_every_worker();
    program.daemon.signal(Signal::TERM);
    program.daemon.event("stopping");
    let ended = program.daemon.insist(Signal::TERM);
    assert_cut_off(&ended, &of_handler(&client));
    ended.assert(3, &["a second signal came"]);
}

/// As a log line names the handler that is at the client's request.
fn of_handler(client: &Client) -> String {
    format!("a handler of \"public\" for {} does not yield", client.address())
}

#[track_caller]
fn assert_cut_off(ended: &Ended, culprit: &str) {
    ended.assert(3, &[]);
    let is_cut_off = |event: &Value| {
        let text = format!("{}{}", event["message"], event["culprits"]).replace("\\\"", "\"");
        text.contains(culprit)
    };
    assert!(ended.events().iter().any(is_cut_off), "no {culprit:?} in\n{}", ended.text());
}

impl Program {
    fn ask(&self, path: &str) -> Client {
        let mut client = Client::connect(&self.public);
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        client
    }

    /// A request whose handler has blocked every thread that the runtime has.
    fn block_every_worker(&mut self) -> Client {
        let client = self.ask("/block/all");
        let workers = thread::available_parallelism().expect("it can be found out").get();
        self.daemon.lines_with(workers, "blocks its thread");
        client
    }
}
