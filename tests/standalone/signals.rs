//! Signals, however they come and whatever the parent process did with them.

use std::{fs::File, os::fd::OwnedFd};

use rustix::{
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use crate::{
    program::{FOR_EVER, Program},
    support::{BINARY, Client, Launch},
};

/// The daemon, started by a parent that has blocked and ignored what it could.
fn deaf_child() -> Launch {
    let address = format!("{}:0", Launch::address());
    let signals = "TERM,INT,HUP,USR2,ABRT,CHLD";
    let [block, ignore] = ["block", "ignore"].map(|what| format!("--{what}-signal={signals}"));
    let daemon = [BINARY, "--public", &address, "--admin", &address, "--log-format", "json"];
    Launch::program("env").args([&*block, &*ignore]).args(daemon)
}

#[test]
fn a_signal_that_the_parent_has_blocked_and_ignored_stops_the_daemon() {
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = deaf_child().start();
        daemon.signal(signal);
        daemon.end().assert(0, &[]);
    }
}

#[test]
fn a_signal_that_the_parent_has_blocked_and_ignored_reloads() {
    let mut daemon = deaf_child().start();
    daemon.signal(Signal::HUP);
    daemon.event("reloaded");
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_signal_that_the_parent_has_blocked_and_ignored_upgrades_and_is_heard_again_after_that() {
    let mut daemon = deaf_child().start();
    for number in 2..4 {
        daemon.signal(Signal::USR2);
        daemon.lines_with(number, "\"message\":\"ready\"");
    }
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_signal_that_the_parent_has_blocked_and_ignored_aborts() {
    let daemon = deaf_child().start();
    daemon.signal(Signal::ABORT);
    daemon.end().assert(128 + 6, &[]);
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::INT, Signal::TERM)]
    {
        let mut program = Program::ready();
        let mut client = program.half_a_request();
        program.daemon.signal(first);
        program.daemon.signal(second);
        program.daemon.event("stopping");
        client.send("half");
        assert_eq!(client.response("POST").status, 200);
        drop(client);
        program.daemon.end().assert(0, &[]);
    }
}

#[test]
fn at_a_terminal_an_interrupt_waits_for_no_request_that_is_still_to_come() {
    let (_ours, terminal) = terminal();
    let launch = Launch::daemon().args(["--drain-timeout", FOR_EVER, "--linger", FOR_EVER]);
    let mut daemon = launch.stdin(terminal).start();
    let mut client = Client::connect(&daemon.public());
    // Half a head lingers for as long as it may.
    client.send("GET / HTTP/1.1\r\n");
    daemon.signal(Signal::INT);
    daemon.end().assert(0, &[]);
    assert!(client.is_closed());
}

/// Both ends of a terminal.
fn terminal() -> (OwnedFd, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let path = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = File::options().read(true).write(true).open(path).unwrap();
    (ours, theirs)
}
