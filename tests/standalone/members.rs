//! Members of a program's own and latches, seen on the example `members`.

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::Value;

use crate::{program::Program, support::get};

#[test]
fn a_panic_of_a_member_ends_all_and_names_it() {
    let mut program = Program::ready();
    program.order("panic");
    let (code, messages) = program.end("worker panicked: out of paper");
    assert_eq!(code, 1);
    assert_eq!(messages, stop_of("worker panicked: out of paper"));
}

#[test]
fn an_error_of_a_member_ends_all_and_names_it() {
    let mut program = Program::ready();
    program.order("fail");
    let (code, messages) = program.end("worker failed: out of stamps");
    assert_eq!(code, 1);
    assert_eq!(messages, stop_of("worker failed: out of stamps"));
}

#[test]
fn the_end_of_a_member_ends_all_and_names_it() {
    let mut program = Program::ready();
    program.order("end");
    let (code, messages) = program.end("worker ended");
    assert_eq!(code, 0);
    assert_eq!(messages, stop_of("worker ended"));
}

#[test]
fn the_panic_itself_is_in_the_log_with_its_place_and_nowhere_else() {
    let mut program = Program::ready();
    program.order("panic");
    let ended = program.daemon.end();
    let panic = ended.event("panic: out of paper");
    assert_eq!(panic["level"], "ERROR");
    assert!(panic["location"].as_str().unwrap().contains("members.rs:"), "{panic}");
    assert_eq!(ended.events().len(), ended.log.len(), "{}", ended.text());
}

#[test]
fn both_ports_are_free_after_the_panic_of_a_member() {
    let mut program = Program::ready();
    let addresses = [program.public.clone(), program.admin.clone()];
    program.order("panic");
    assert_eq!(program.daemon.end().code, 1);
    for address in addresses {
        TcpListener::bind(address).unwrap();
    }
}

#[test]
fn a_request_in_flight_finishes_after_the_panic_of_a_member() {
    let mut program = Program::ready();
    let mut client = program.half_a_request();
    program.order("panic");
    program.daemon.event("stopping");
    client.send("half");
    let response = client.response("POST");
    assert_eq!((response.status, response.body.as_str()), (200, "8\n"));
    drop(client);
    assert_eq!(program.daemon.end().code, 1);
}

#[test]
fn a_member_hears_of_a_requested_stop() {
    let program = Program::ready();
    get(&program.admin, "/listener?stop=ss");
    let ended = program.daemon.end();
    ended.assert(0, &[]);
    assert_eq!(ended.event("stopped")["cause"], "stop requested: ss");
}

#[test]
fn a_member_that_does_not_end_is_given_up_and_named() {
    let mut program = Program::ready();
    program.order("stubborn");
    program.daemon.line("the worker's word", |line| line.contains("do not listen any more"));
    program.daemon.signal(Signal::TERM);
    program.daemon.event("stopping");
    let ended = program.daemon.insist(Signal::TERM);
    ended.assert(3, &[]);
    let late = |event: &Value| event["message"] == "member did not end in time";
    let is_named = |event: &Value| late(event) && event["member"] == "worker";
    assert!(ended.events().iter().any(is_named), "{}", ended.text());
}

#[test]
fn a_latch_holds_readiness_back_and_is_named() {
    let mut program = Program::cold();
    program.wait_until_it_serves();
    let response = get(&program.admin, "/ready");
    assert_eq!(response.status, 503);
    assert!(response.body.contains("cache"), "{response:?}");
    assert!(get(&program.admin, "/status").body.contains("\"waiting_for\":[\"cache\"]"));
    assert_eq!(get(&program.admin, "/live").status, 200);
    // The servers serve, but the service manager is not told so.
    assert_eq!(get(&program.public, "/").body, "Hello\n");
    assert!(!program.manager.rest().iter().flatten().any(|line| line == "READY=1"));

    program.order("warm");
    let ready = program.manager.next();
    assert_eq!(ready[0], "READY=1");
    assert_eq!(get(&program.admin, "/ready").status, 200);
}

#[test]
fn a_stop_does_not_wait_for_a_latch() {
    let program = Program::cold();
    program.wait_until_it_serves();
    program.daemon.signal(Signal::TERM);
    program.daemon.end().assert(0, &[]);
    let messages = program.manager.rest();
    assert!(messages.iter().flatten().any(|line| line == "STOPPING=1"), "{messages:?}");
}

#[test]
fn a_member_that_fails_before_all_is_ready_ends_the_start() {
    for order in ["panic", "fail"] {
        let mut program = Program::cold();
        program.order(order);
        let ended = program.daemon.end();
        assert_eq!(ended.code, 1, "{}", ended.text());
        let messages = program.manager.rest();
        assert!(!messages.iter().flatten().any(|line| line == "READY=1"), "{messages:?}");
    }
}

/// What the service manager hears of a stop.
fn stop_of(cause: &str) -> Vec<Vec<String>> {
    vec![
        vec!["STOPPING=1".to_owned(), format!("STATUS=Stopping: {cause}")],
        vec![format!("STATUS=Stopped: {cause}")],
    ]
}
