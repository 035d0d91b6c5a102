//! Restarts of the daemon, of the application, and of both, under clients that never retry.

use super::{
    DAEMON, EXECUTED, PUBLIC, application_pid, is_answered, machine, states, wait_for_states,
};
use crate::{
    restart::{assert_unnoticed, under_load},
    support::{Client, End, Load, Machine, PATIENCE, Report, Server, wait_until},
};

/// Restarts units again and again while clients ask, and returns what those saw.
fn restarted(machine: &Machine, units: &[&str], times: usize) -> Report {
    let body = "b".repeat(3000);
    // They take a moment, so that some are with the application whenever it is stopped.
    let requests = [
        "GET /slow?ms=10 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("POST /slow?ms=10 HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n{body}"),
    ];
    let load = Load {
        requests: requests.map(String::into_bytes).into(),
        ..Load::on(Server::Tcp(PUBLIC.parse().unwrap()))
    };
    let report = under_load(machine, &load, |control| {
        // Of a unit that is still starting, and answers already, systemd leaves ExecStop= out, and with it the hold.
        wait_for_states(machine, "active");
        for _ in 0..times {
            let before = control.answers();
            machine.systemctl(&[&["restart"], units].concat()).ok();
            wait_until("answers after the restart", PATIENCE, || control.answers() > before + 64);
        }
    });
    assert_unnoticed(&report, &load);
    assert_eq!(report.told_to_close, 0, "{report}");
    report
}

/// Every request has one answer: one that was executed twice would be one too many.
#[track_caller]
fn assert_executed_once(machine: &Machine, report: &Report) {
    let executed = machine.read(EXECUTED).lines().count() as u64;
    assert_eq!(executed, report.answers, "{report}");
}

#[test]
fn restarts_of_the_application_fail_no_request_and_repeat_none() {
    let Some(machine) = machine("", "") else { return };
    let report = restarted(&machine, &["shop"], 20);
    assert_executed_once(&machine, &report);
    assert_eq!(states(&machine), ["active"; 2]);
}

#[test]
fn restarts_of_the_daemon_leave_the_application_running() {
    let Some(machine) = machine("", "") else { return };
    is_answered(&machine);
    wait_for_states(&machine, "active");
    let pid = application_pid(&machine);
    restarted(&machine, &[DAEMON], 20);
    assert_eq!(application_pid(&machine), pid);
}

#[test]
fn a_killed_daemon_is_restarted_and_the_application_runs_on() {
    let Some(machine) = machine("", "") else { return };
    is_answered(&machine);
    wait_for_states(&machine, "active");
    let (daemon, application) = (machine.property(DAEMON, "MainPID"), application_pid(&machine));
    machine.systemctl(&["kill", "--kill-whom=main", "--signal=KILL", DAEMON]).ok();
    wait_until("the next daemon", PATIENCE, || {
        !["0", &*daemon].contains(&&*machine.property(DAEMON, "MainPID"))
    });
    is_answered(&machine);
    assert_eq!(application_pid(&machine), application);
}

#[test]
fn a_restart_of_both_at_once_fails_no_request_and_repeats_none() {
    let Some(machine) = machine("", "") else { return };
    let report = restarted(&machine, &["shop", DAEMON], 10);
    assert_executed_once(&machine, &report);
    wait_for_states(&machine, "active");
}

#[test]
fn a_stop_of_everything_at_once_finishes_what_the_application_has() {
    let Some(machine) = machine("", "") else { return };
    is_answered(&machine);
    wait_for_states(&machine, "active");
    let mut client = machine.in_network(|| Client::connect(PUBLIC));
    client
        .send("POST /slow?ms=1000 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nX-Id: last\r\n\r\nx");
    wait_until("it is executed", PATIENCE, || machine.read(EXECUTED).contains(" last 1"));
    // As a shutdown does.
    let sockets = ["lockstepd@shop.socket", "lockstepd-admin@shop.socket"];
    machine.systemctl(&[&["stop", "shop", DAEMON], &sockets[..]].concat()).ok();
    assert_eq!(client.response("POST").body, "Hello last\n");
    assert_eq!(states(&machine), ["inactive"; 2]);
}

#[test]
fn a_hold_and_the_requests_that_wait_for_its_end_outlive_restarts_of_the_daemon() {
    let Some(machine) = machine("", "wait = \"1m\"") else { return };
    is_answered(&machine);
    wait_for_states(&machine, "active");
    let admin = "curl -sS --unix-socket /run/lockstepd-admin@shop.sock http://localhost";
    machine.sh(&format!("{admin}/hold?longest=1h -X POST")).ok();
    let waiting = |number: usize| {
        wait_until("they wait", PATIENCE, || {
            let status = machine.sh(&format!("{admin}/status")).stdout;
            status.contains(&format!("\"waiting_requests\":{number}"))
                && status.contains("\"state\":\"held\"")
        });
    };
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nX-Id: half\r\n\r\nhello";
    let expects = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nX-Id: asked\r\n\
                   Expect: 100-continue\r\n\r\n";
    let get = "GET / HTTP/1.1\r\nHost: x\r\nX-Id: whole\r\n\r\n";
    let (mut clients, mut half, mut asked) = machine.in_network(|| {
        let clients: Vec<_> = (0..64).map(|_| End::asking(PUBLIC, get)).collect();
        (clients, End::asking(PUBLIC, post), End::asking(PUBLIC, expects))
    });
    waiting(66);
    for _ in 0..3 {
        let pid = machine.property(DAEMON, "MainPID");
        machine.systemctl(&["restart", DAEMON]).ok();
        assert_ne!(machine.property(DAEMON, "MainPID"), pid);
        waiting(66);
    }
    // That of the test's own.
    assert_eq!(machine.read(EXECUTED).lines().count(), 1);
    half.send("hello");
    machine.sh(&format!("{admin}/release -X POST")).ok();
    for client in &mut clients {
        assert_eq!(client.head().status(), 200);
        client.hears("Hello whole\n");
    }
    assert_eq!(half.head().status(), 200);
    half.hears("Hello half\n");
    assert_eq!(asked.head().status(), 100);
    asked.send("hellohello");
    assert_eq!(asked.head().status(), 200);
    asked.hears("Hello asked\n");
    let executed = machine.read(EXECUTED);
    let count = |request: &str| executed.lines().filter(|line| line.ends_with(request)).count();
    assert_eq!([count(" whole 0"), count(" half 10"), count(" asked 10")], [64, 1, 1]);
}
