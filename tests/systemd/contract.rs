//! The contract with the service manager: watchdog, idle exit, drain, STATUS.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    restart::{machine, run_example},
    support::{Machine, PATIENCE, message, wait_until},
};

const PUBLIC: ([u8; 4], u16) = ([127, 0, 0, 1], 9090);

fn drop_in(machine: &Machine, lines: &str) {
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/test.conf",
        format!("[Service]\n{lines}\n"),
    );
    machine.run("systemctl", &["daemon-reload"]).ok();
}

fn connect() -> TcpStream {
    let stream = TcpStream::connect(SocketAddr::from(PUBLIC)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn send(mut stream: &TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
}

/// One request on a connection of its own; the whole answer.
fn get(path: &str) -> String {
    let mut stream = connect();
    send(&stream, path);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until the service manager has given up on the service, for want of its watchdog's food.
fn wait_for_watchdog(machine: &Machine) {
    let kills = |entry: &serde_json::Value| message(entry).contains("Watchdog timeout");
    machine.wait_for_journal("the watchdog", &["-u", "lockstepd"], kills);
    wait_until("the restart", PATIENCE, || {
        machine.property("lockstepd", "NRestarts") != "0"
            && machine.property("lockstepd", "ActiveState") == "active"
    });
}

/// What the daemon said was stuck.
fn stuck(machine: &Machine) -> String {
    let id = "MESSAGE_ID=8d5deb852e6b407699d324fa46e7594f";
    let entries = machine.journal(&["-u", "lockstepd", id]);
    entries.iter().map(message).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_stopped_process_is_killed_and_restarted() {
    let Some(machine) = machine() else { return };
    drop_in(&machine, "WatchdogSec=4s\nRestartSec=100ms");
    machine.in_network(|| get("/"));
    let pid = machine.main_pid("lockstepd");
    machine.run("systemctl", &["kill", "--signal=STOP", "lockstepd"]).ok();
    wait_for_watchdog(&machine);
    machine.in_network(|| assert!(get("/").contains("running...")));
    assert_ne!(machine.main_pid("lockstepd"), pid);
}

#[test]
fn handlers_that_block_every_worker_are_named_before_the_kill() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "watchdog");
    drop_in(&machine, "WatchdogSec=4s\nRestartSec=100ms");
    machine.in_network(|| {
        get("/");
        let blocked: Vec<_> = (0..64).map(|_| connect()).collect();
        for stream in &blocked {
            send(stream, "/block");
        }
        wait_for_watchdog(&machine);
        assert!(stuck(&machine).contains("\"public\" does not answer"), "{}", stuck(&machine));
    });
}

#[test]
fn a_member_that_does_not_yield_is_named_before_the_kill() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "watchdog");
    drop_in(&machine, "WatchdogSec=4s\nRestartSec=100ms");
    machine.in_network(|| {
        get("/spin");
        wait_for_watchdog(&machine);
    });
    assert!(stuck(&machine).contains("member \"spinner\" does not yield"), "{}", stuck(&machine));
}

#[test]
fn a_check_that_fails_is_named_before_the_kill() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "watchdog");
    drop_in(&machine, "WatchdogSec=4s\nRestartSec=100ms");
    machine.in_network(|| {
        get("/break");
        wait_for_watchdog(&machine);
    });
    let stuck = stuck(&machine);
    assert!(stuck.contains("the check \"spring\" failed: it is broken"), "{stuck}");
}

#[test]
fn a_service_that_waits_for_something_else_is_asked_what_it_can_answer_or_nothing() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "watchdog");
    drop_in(&machine, "WatchdogSec=4s\nRestartSec=100ms");
    machine.in_network(|| {
        get("/");
        let pid = machine.main_pid("lockstepd");
        let asked = || {
            let answer = get("/asked");
            let (_, count) = answer.rsplit_once("\r\n\r\n").expect("an answer has a head");
            count.parse::<u32>().expect("a number")
        };
        // More often than would fit into the time after which the service manager acts.
        wait_until("it has asked", PATIENCE, || asked() > 4);
        assert_eq!(machine.main_pid("lockstepd"), pid);
    });
    assert_eq!(machine.property("lockstepd", "NRestarts"), "0");
    assert_eq!(stuck(&machine), "");
}

#[test]
fn an_idle_daemon_feeds_its_watchdog() {
    let Some(machine) = machine() else { return };
    drop_in(&machine, "WatchdogSec=4s");
    machine.in_network(|| get("/"));
    let pid = machine.main_pid("lockstepd");
    for _ in 0..3 {
        let fed = || machine.property("lockstepd", "WatchdogTimestampMonotonic");
        let before = fed();
        wait_until("it is fed", PATIENCE, || fed() != before);
    }
    assert_eq!(machine.main_pid("lockstepd"), pid);
    assert_eq!(machine.property("lockstepd", "NRestarts"), "0");
}

#[test]
fn an_idle_daemon_leaves_and_loses_no_client_who_strikes_at_that_moment() {
    let Some(machine) = machine() else { return };
    drop_in(&machine, "Environment=LOCKSTEPD_IDLE_EXIT=40ms LOCKSTEPD_LOG_LEVEL=warn");
    let starts = || {
        let runs = machine.journal(&["-u", "lockstepd", "_PID=1"]);
        runs.iter().filter(|entry| message(entry).starts_with("Started ")).count()
    };
    let mut jitter = 1u64;
    // Some clients find it there, some start it, and some come as it leaves.
    let enough = (0..30).any(|_| {
        machine.in_network(|| {
            for _ in 0..100 {
                assert!(get("/").contains("running..."));
                jitter = jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // The exit begins 40 to 45 ms after the answer, later on a busy machine, and takes a few more.
                thread::sleep(Duration::from_micros(38_000 + (jitter >> 48) * 20_000 / 65_536));
            }
        });
        starts() > 60
    });
    assert!(enough, "the daemon was started {} times only", starts());
    assert_eq!(machine.property("lockstepd.socket", "Result"), "success");
}

#[test]
fn a_request_in_flight_keeps_an_idle_daemon() {
    let Some(machine) = machine() else { return };
    drop_in(&machine, "Environment=LOCKSTEPD_IDLE_EXIT=50ms");
    machine.in_network(|| {
        let mut stream = connect();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1").unwrap();
        let mut answer = String::new();
        machine.wait_for_state("lockstepd", "active");
        // Twenty times what it takes for idle.
        thread::sleep(Duration::from_secs(1));
        assert_eq!(machine.property("lockstepd", "ActiveState"), "active");
        stream.write_all(b"2").unwrap();
        wait_until("the idle exit", PATIENCE, || {
            machine.property("lockstepd", "ActiveState") == "inactive"
        });
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    });
    assert_eq!(machine.property("lockstepd", "Result"), "success");
}

#[test]
fn an_upgraded_connection_keeps_an_idle_daemon() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "upgrade");
    machine.in_network(|| {
        let mut stream = connect();
        let head = "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", answer.escape_ascii());
        // Twenty times what the example takes for idle.
        thread::sleep(Duration::from_secs(1));
        let mut echo = [0; 5];
        stream.write_all(b"still").unwrap();
        stream.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"still");
        assert_eq!(machine.property("lockstepd", "ActiveState"), "active");
        drop(stream);
        wait_until("the idle exit", PATIENCE, || {
            machine.property("lockstepd", "ActiveState") == "inactive"
        });
    });
}

#[test]
fn a_drain_longer_than_the_stop_time_out_is_not_killed() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "download");
    drop_in(&machine, "TimeoutStopSec=2s");
    machine.in_network(|| {
        let mut stream = connect();
        send(&stream, "/download?seconds=6");
        stream.read_exact(&mut [0; 1]).unwrap();
        machine.run("systemctl", &["restart", "lockstepd"]).ok();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("3\r\n60\n\r\n0\r\n\r\n"), "{rest}");
    });
}

#[test]
fn a_lame_duck_time_longer_than_the_stop_time_out_is_not_cut_short() {
    let Some(machine) = machine() else { return };
    machine.write("/etc/lockstepd/lockstepd.toml", "lame_duck = \"5s\"\n");
    drop_in(&machine, "TimeoutStopSec=2s");
    machine.systemctl(&["start", "lockstepd"]).ok();
    machine.systemctl(&["stop", "lockstepd"]).ok();
    assert_eq!(machine.property("lockstepd", "Result"), "success");
    assert_eq!(machine.property("lockstepd", "ExecMainStatus"), "0");
    let log = machine.journal(&["-u", "lockstepd"]);
    let messages: Vec<_> = log.iter().filter_map(|entry| entry["MESSAGE"].as_str()).collect();
    assert!(messages.contains(&"the lame duck time is over: draining"), "{messages:#?}");
}

#[test]
fn a_drain_that_makes_no_progress_ends_at_its_time_out_and_says_so() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "download");
    drop_in(&machine, "TimeoutStopSec=5s");
    machine.in_network(|| {
        let mut stream = connect();
        send(&stream, "/download?seconds=3600");
        stream.read_exact(&mut [0; 1]).unwrap();
        machine.run("systemctl", &["stop", "lockstepd"]).ok();
    });
    assert_eq!(machine.property("lockstepd", "ExecMainStatus"), "3");
    let id = "MESSAGE_ID=c6432bb678b04903affcf0cac7a4694f";
    let cut = machine.journal(&["-u", "lockstepd", id]);
    assert_eq!(cut[0]["REQUESTS"], "1");
}

#[test]
fn status_shows_what_the_daemon_is_doing() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "download");
    machine.in_network(|| {
        let mut stream = connect();
        send(&stream, "/download?seconds=60");
        stream.read_exact(&mut [0; 1]).unwrap();
        let shows = |what: &str| {
            let line = format!("a STATUS with {what:?}");
            wait_until(&line, PATIENCE, || {
                machine.property("lockstepd", "StatusText").contains(what)
            });
        };
        shows("Serving public on 0.0.0.0:9090, admin on 127.0.0.1:9091; 1 connections");
        thread::scope(|scope| {
            scope.spawn(|| machine.run("systemctl", &["stop", "lockstepd"]).ok());
            shows("Stopping: SIGTERM; 1 requests in flight");
            drop(stream);
        });
    });
}

#[test]
fn the_start_is_timed_and_found_by_its_message_id() {
    let Some(machine) = machine() else { return };
    machine.in_network(|| get("/"));
    let id = ["MESSAGE_ID=5e2700f102b9401ba53ee1deced92e49"];
    let ready = machine.wait_for_journal("its start", &id, |_| true);
    let startup: u64 = ready["STARTUP_US"].as_str().unwrap().parse().unwrap();
    assert!(startup > 0);
}
