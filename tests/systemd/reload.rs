//! `systemctl reload`, by `ExecReload=` and, where systemd knows it, by `Type=notify-reload`.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::{
    newer::{machine_since, use_drop_in},
    restart::{assert_unnoticed, machine, public, under_load},
    support::{Client, Load, Machine, PATIENCE, get, message, wait_until},
};

const FILE: &str = "/etc/lockstepd/lockstepd.toml";
const PUBLIC: &str = "127.0.0.1:9090";

/// A machine whose systemd sends the signal for a reload itself.
fn machine_with_notify_reload() -> Option<Machine> {
    let machine = machine_since(253)?;
    use_drop_in(&machine, "notify-reload.conf", "lockstepd.service");
    machine.systemctl(&["restart", "lockstepd"]).ok();
    machine.assert_properties("lockstepd", &[("Type", "notify-reload"), ("ExecReload", "")]);
    Some(machine)
}

/// Reloads a configuration; returns once the daemon has said how that went.
fn reload(machine: &Machine, configuration: &str) -> Value {
    machine.write(FILE, configuration);
    let mark = machine.journal_mark();
    machine.systemctl(&["reload", "lockstepd"]).ok();
    let reloaded = |entry: &Value| {
        ["reloaded", NOT_RELOADED].iter().any(|text| message(entry).starts_with(text))
    };
    let entry = machine.wait_for_journal("the reload", &["-u", "lockstepd", &mark], reloaded);
    machine.wait_for_state("lockstepd", "active");
    entry
}

const NOT_RELOADED: &str = "not reloaded; the configuration before holds";

fn status(machine: &Machine) -> String {
    machine.property("lockstepd", "StatusText")
}

/// How much is logged about a request that succeeds.
fn logged_requests(machine: &Machine) -> usize {
    let mark = machine.journal_mark();
    machine.in_network(|| assert_eq!(get(PUBLIC, "/").status, 200));
    // The log is written behind the answer; a failing request that always has its line comes after.
    machine.in_network(|| {
        let mut client = Client::connect(PUBLIC);
        assert_eq!(client.request("TRACE", "/").status, 405);
    });
    let is_failed = |entry: &Value| entry["STATUS"] == "405";
    machine.wait_for_journal("the failing request", &["-u", "lockstepd", &mark], is_failed);
    let entries = machine.journal(&["-u", "lockstepd", &mark]);
    entries.iter().filter(|entry| entry["STATUS"] == "200").count()
}

fn good_bad_good(machine: &Machine) {
    machine.systemctl(&["start", "lockstepd"]).ok();
    let pid = machine.main_pid("lockstepd");
    assert_eq!(logged_requests(machine), 0, "of requests that succeed nothing is logged");

    let entry = reload(machine, "linger = \"2s\"\n[log]\naccess = \"all\"\n");
    assert!(message(&entry).starts_with("reloaded"), "{entry}");
    assert_eq!(logged_requests(machine), 1);

    let bad = [
        ("linger = \"2s\"\n\n[log]\naccess = \"off\"\nlevl = \"info\"\n", 5, "levl"),
        ("drain_timeout = \"soon\"\n[log]\naccess = \"off\"\n", 1, "drain_timeout"),
        ("[log]\naccess = \"off\"\n[public]\nlisten = [\"nowhere\"]\n", 4, "listen"),
        ("[log]\naccess = \"off\"\nlevel = \"inof\"\n", 3, "level"),
    ];
    for (configuration, line, key) in bad {
        let entry = reload(machine, configuration);
        assert!(message(&entry).starts_with(NOT_RELOADED), "{entry}");
        assert_eq!(entry["PRIORITY"], "3");
        for text in [entry["ERROR"].as_str().unwrap_or_default(), &status(machine)] {
            assert!(text.contains(&format!("{FILE}:{line}:")) && text.contains(key), "{text}");
        }
        assert_eq!(logged_requests(machine), 1, "nothing has changed");
    }

    let entry = reload(machine, "linger = \"2s\"\n");
    assert!(message(&entry).starts_with("reloaded"), "{entry}");
    assert!(!status(machine).contains("not reloaded"), "{}", status(machine));
    assert_eq!(logged_requests(machine), 0);
    assert_eq!(machine.main_pid("lockstepd"), pid);
}

#[test]
fn a_good_reload_changes_what_is_logged_and_a_bad_one_nothing() {
    let Some(machine) = machine() else { return };
    good_bad_good(&machine);
}

#[test]
fn so_it_is_where_systemd_sends_the_signal() {
    let Some(machine) = machine_with_notify_reload() else { return };
    good_bad_good(&machine);
}

#[test]
fn the_settings_in_force_are_shown() {
    let Some(machine) = machine() else { return };
    machine.systemctl(&["start", "lockstepd"]).ok();
    let settings = || {
        let status = machine.get("http://localhost:9091/status");
        serde_json::from_str::<Value>(&status).unwrap()["settings"].clone()
    };
    let shown = |lame_duck: f64, drain: f64, linger: f64, access: &str| {
        json!({
            "lame_duck_seconds": lame_duck,
            "drain_timeout_seconds": drain,
            "linger_seconds": linger,
            "hand_over": true,
            "idle_exit_seconds": null,
            "access_log": access,
        })
    };
    assert_eq!(settings(), shown(0.0, 20.0, 1.0, "errors"));
    reload(
        &machine,
        "lame_duck = \"5s\"\ndrain_timeout = \"9s\"\nlinger = \"2s\"\n[log]\naccess = \"all\"\n",
    );
    assert_eq!(settings(), shown(5.0, 9.0, 2.0, "all"));
}

/// A request, and behind it the preface of HTTP/2.
const REQUEST_AND_HTTP2: &[u8] =
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[test]
fn a_reload_changes_the_log_level_both_ways() {
    let Some(machine) = machine() else { return };
    machine.systemctl(&["start", "lockstepd"]).ok();
    // That a peer changes over to another protocol is a detail.
    let debug = |machine: &Machine| {
        let mark = machine.journal_mark();
        machine.in_network(|| {
            let mut client = TcpStream::connect(PUBLIC).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(REQUEST_AND_HTTP2).unwrap();
            client.read_to_end(&mut Vec::new()).unwrap();
        });
        logged_requests(machine);
        let entries = machine.journal(&["-u", "lockstepd", "PRIORITY=7", &mark]);
        entries.iter().any(|entry| message(entry).starts_with("HTTP/2 is not served"))
    };
    assert!(!debug(&machine));
    reload(&machine, "[log]\nlevel = \"debug\"\n");
    assert!(debug(&machine), "details of a connection are in the journal");
    reload(&machine, "");
    assert!(!debug(&machine));
}

#[test]
fn what_needs_a_restart_is_named_and_left_as_it_is() {
    let Some(machine) = machine() else { return };
    machine.systemctl(&["start", "lockstepd"]).ok();
    let mark = machine.journal_mark();
    reload(&machine, "hand_over = false\n[public]\nlisten = [\"0.0.0.0:9099\"]\n");
    let entries = machine.journal(&["-u", "lockstepd", &mark]);
    let warned: Vec<_> = entries
        .iter()
        .filter(|entry| {
            message(entry)
                .starts_with("changed, but takes effect at the next restart or upgrade only")
        })
        .map(|entry| (entry["SETTING"].as_str().unwrap_or_default(), entry["PRIORITY"].as_str()))
        .collect();
    let warning = Some("4");
    assert_eq!(warned, [("public.listen or public.socket_mode", warning), ("hand_over", warning)]);
    machine.in_network(|| assert_eq!(get(PUBLIC, "/").status, 200));
}

#[test]
fn status_goes_on_showing_why_a_reload_failed() {
    let Some(machine) = machine() else { return };
    machine.systemctl(&["start", "lockstepd"]).ok();
    reload(&machine, "linger = 3\n");
    machine.in_network(|| {
        let mut client = Client::connect(PUBLIC);
        client.request("GET", "/");
        wait_until("the connection is counted", PATIENCE, || {
            status(&machine).contains("1 connections")
        });
    });
    assert!(status(&machine).contains(&format!("{FILE}:1:10: ")), "{}", status(&machine));
    reload(&machine, "linger = \"3s\"\n");
    assert!(!status(&machine).contains(FILE), "{}", status(&machine));
}

fn fifty_reloads(machine: &Machine) {
    let load = Load::on(public());
    let mut pid = None;
    let report = under_load(machine, &load, |_| {
        pid = machine.main_pid("lockstepd");
        for round in 0..50 {
            // Every third one is bad.
            let linger = if round % 3 == 2 { "never".to_owned() } else { format!("{round}s") };
            machine.write(FILE, format!("linger = \"{linger}\"\n"));
            machine.systemctl(&["reload", "lockstepd"]).ok();
        }
        machine.write(FILE, "");
        machine.systemctl(&["reload", "lockstepd"]).ok();
        wait_until("no reload is left", PATIENCE, || {
            machine.property("lockstepd", "SubState") == "running"
                && machine.property("lockstepd", "Job").is_empty()
        });
    });
    assert_unnoticed(&report, &load);
    assert_eq!(report.told_to_close, 0, "{report}");
    assert_eq!(machine.main_pid("lockstepd"), pid);
    machine.assert_properties("lockstepd", &[("ActiveState", "active"), ("NRestarts", "0")]);
}

#[test]
fn fifty_reloads_in_a_row_fail_no_request() {
    let Some(machine) = machine() else { return };
    fifty_reloads(&machine);
}

#[test]
fn fifty_reloads_by_systemd_itself_fail_no_request_and_each_is_over_when_systemctl_returns() {
    let Some(machine) = machine_with_notify_reload() else { return };
    fifty_reloads(&machine);
    let entries = machine.journal(&["-u", "lockstepd"]);
    let count = |text| entries.iter().filter(|entry| message(entry).starts_with(text)).count();
    assert_eq!((count("reloaded"), count(NOT_RELOADED)), (35, 16));
}

#[test]
fn a_notify_reload_has_taken_effect_when_systemctl_returns() {
    let Some(machine) = machine_with_notify_reload() else { return };
    for round in 0..10 {
        machine.write(FILE, "nonsense = 1\n");
        machine.systemctl(&["reload", "lockstepd"]).ok();
        assert!(status(&machine).contains("nonsense"), "round {round}: {}", status(&machine));
        machine.write(FILE, "");
        machine.systemctl(&["reload", "lockstepd"]).ok();
        assert!(!status(&machine).contains("nonsense"), "round {round}: {}", status(&machine));
    }
}
