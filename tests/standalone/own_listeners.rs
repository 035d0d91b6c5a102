//! A listener of the program's own that cannot listen, or blocks its thread.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::support::{Launch, Manager, example, get};

fn launch(kind: &str, own: &str) -> Launch {
    let arguments = [kind, own, "127.0.0.1:0", "127.0.0.1:0", "200ms"];
    Launch::program(example("own_listener")).args(arguments)
}

#[test]
fn a_listener_that_blocks_its_thread_is_named_and_others_are_served() {
    let mut daemon = launch("block", "127.0.0.1:0").start();
    let public = daemon.addresses("public").remove(0);
    assert_eq!(get(&public, "/").body, "0\n");
    daemon.signal(Signal::TERM);
    daemon.end().assert(0, &["the listener of \"own\" does not yield"]);
}

#[test]
fn a_listener_that_cannot_listen_fails_the_start_before_it_is_ready() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = Manager::new();
    let own = taken.local_addr().unwrap().to_string();
    let ended = launch("socket", &own).notify(&manager).end();
    ended.assert(1, &["cannot listen for \"own\": Address already in use"]);
    let said = manager.rest().concat();
    assert!(!said.iter().any(|line| line == "READY=1"), "{said:?}");
}
