//! The examples, as their readers would run them: each with units from packaging/make-units.sh.

mod database;
mod sse;
mod static_files;
mod websocket;

use std::{net::SocketAddr, path::Path};

use crate::{
    restart::{assert_unnoticed, under_load},
    support::{Control, Load, Machine, PATIENCE, Server, example, message, wait_until},
};

const PUBLIC: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

/// A machine with an application's units installed, and its sockets open.
pub(crate) fn machine_with(name: &str, binary: &Path, sockets: &[&str]) -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.copy_in(binary, &format!("/usr/local/bin/{name}"));
    machine
        .sh(&format!(
            "units=$(UNITDIR=/etc/systemd/system /usr/src/lockstepd/packaging/make-units.sh \
             {name} /usr/local/bin/{name} {})\n\
             systemd-analyze verify $units\n\
             systemctl daemon-reload\n\
             systemctl start {name}.socket",
            sockets.join(" "),
        ))
        .ok();
    Some(machine)
}

fn machine(name: &str, sockets: &[&str]) -> Option<Machine> {
    machine_with(name, &example(name), sockets)
}

/// A crowd that asks for `path`.
pub(crate) fn load(path: &str) -> Load {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let server = Server::Tcp(SocketAddr::from(PUBLIC));
    Load { clients: 16, requests: vec![request.into_bytes()], ..Load::on(server) }
}

/// What every service promises: the first client starts it, restarts fail nobody, and a stop is clean.
#[track_caller]
pub(crate) fn keeps_its_promises(machine: &Machine, unit: &str, load: &Load, restarts: usize) {
    machine.assert_properties(unit, &[("ActiveState", "inactive"), ("MainPID", "0")]);
    let report = under_load(machine, load, |control| {
        machine.wait_for_state(unit, "active");
        for _ in 0..restarts {
            restart(machine, unit, control);
        }
    });
    assert_unnoticed(&report, load);
    assert_eq!(report.told_to_close, 0, "{report}");
    stop(machine, unit);
}

fn restart(machine: &Machine, unit: &str, control: &Control) {
    let before = control.answers();
    machine.systemctl(&["restart", unit]).ok();
    // Every client has been served by this process before it is replaced.
    wait_until("answers after the restart", PATIENCE, || control.answers() > before + 32);
}

#[track_caller]
fn stop(machine: &Machine, unit: &str) {
    machine.systemctl(&["stop", unit]).ok();
    machine.assert_properties(
        unit,
        &[
            ("ActiveState", "inactive"),
            ("Result", "success"),
            ("ExecMainStatus", "0"),
            ("NRestarts", "0"),
        ],
    );
    let cut = machine.journal(&["MESSAGE_ID=c6432bb678b04903affcf0cac7a4694f"]);
    assert!(cut.is_empty(), "something was cut off: {cut:?}");
}

#[test]
fn minimal_keeps_its_promises() {
    let Some(machine) = machine("minimal", &["public=8080"]) else { return };
    keeps_its_promises(&machine, "minimal", &load("/"), 5);
}

#[test]
fn hyper_only_keeps_its_promises() {
    let Some(machine) = machine("hyper_only", &["public=127.0.0.1:8080"]) else { return };
    keeps_its_promises(&machine, "hyper_only", &load("/"), 5);
}

#[test]
fn two_servers_keeps_its_promises_and_is_ready_when_its_cache_is_warm() {
    let sockets = ["public=8080", "admin=127.0.0.1:8081"];
    let Some(machine) = machine("two_servers", &sockets) else { return };
    let load = load("/anything");
    let report = under_load(&machine, &load, |control| {
        // It serves from the beginning; whoever asks whether it is ready has to wait for the cache.
        machine.wait_for_state("two_servers", "active");
        assert_eq!(machine.get("http://localhost:8081/cache"), "3 things\n");
        restart(&machine, "two_servers", control);
        let metrics = machine.get("http://localhost:8081/metrics");
        assert!(metrics.contains("\nshop_visits_total "), "{metrics}");
        for (text, result) in [("10", "ok"), ("soon", "failed")] {
            machine.write("/etc/two_servers.conf", text);
            machine.systemctl(&["reload", "two_servers"]).ok();
            wait_until("the reload", PATIENCE, || {
                let counted = format!("lockstepd_reloads_total{{result=\"{result}\"}} 1\n");
                machine.get("http://localhost:8081/metrics").contains(&counted)
            });
        }
        let trouble = "not reloaded: invalid digit found in string";
        wait_until("the trouble in STATUS", PATIENCE, || {
            machine.property("two_servers", "StatusText").starts_with(trouble)
        });
    });
    assert_unnoticed(&report, &load);
    stop(&machine, "two_servers");
}

#[test]
fn worker_does_every_order_that_it_has_taken() {
    let Some(machine) = machine("worker", &["public=8080"]) else { return };
    let request = b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\ntea";
    // A worker takes 2 ms: not more clients than it can serve.
    let load = Load { clients: 4, requests: vec![request.to_vec()], ..load("/") };
    let report = under_load(&machine, &load, |control| {
        for _ in 0..5 {
            restart(&machine, "worker", control);
        }
    });
    assert_unnoticed(&report, &load);
    stop(&machine, "worker");
    let log = machine.journal(&["--unit=worker", "ORDER=tea"]);
    let done = log.iter().filter(|entry| message(entry).starts_with("done")).count();
    assert_eq!(done as u64, report.answers, "orders done, and orders taken");
}

#[test]
fn subscriber_keeps_its_promises_and_has_all_events_on_its_lines() {
    let Some(machine) = machine("subscriber", &["public=8080"]) else { return };
    keeps_its_promises(&machine, "subscriber", &load("/"), 5);
    let lines = machine.journal(&["_SYSTEMD_UNIT=subscriber.service"]);
    let fields = |entry| serde_json::from_str(message(entry)).expect("it is a line of JSON");
    let events: Vec<serde_json::Value> = lines.iter().map(fields).collect();
    let count =
        |told: &dyn Fn(&serde_json::Value) -> bool| events.iter().filter(|e| told(e)).count();
    let begun = count(&|event| event["target"] == "subscriber" && event["before"] == "the daemon");
    assert_eq!(begun, 6, "one of each process: {events:#?}");
    let ready = |event: &serde_json::Value| {
        event["message"].as_str().is_some_and(|message| message.starts_with("ready"))
    };
    assert_eq!(count(&ready), 6, "the library's: {events:#?}");
    assert!(lines.iter().all(|entry| entry["_TRANSPORT"] == "stdout"), "{lines:#?}");
}

#[test]
fn own_runtime_keeps_its_promises_and_has_the_last_word() {
    let Some(machine) = machine("own_runtime", &["public=8080"]) else { return };
    keeps_its_promises(&machine, "own_runtime", &load("/"), 5);
    let lines = machine.journal(&["_SYSTEMD_UNIT=own_runtime.service"]);
    let last = lines.iter().filter(|entry| message(entry) == "own_runtime: the last word");
    assert_eq!(last.count(), 6, "one of each process: {lines:#?}");
    assert_eq!(machine.get("http://localhost:8080/"), "Hello from own-thread\n");
}
