//! What the journal has of the daemon.

use std::{collections::HashSet, thread, time::Duration};

use serde_json::Value;

use crate::support::{Machine, PATIENCE, message, wait_until};

const UNIT: &str = "--unit=lockstepd";

#[test]
fn entries_have_identifier_priority_and_fields() {
    let Some(machine) = with_access_log("all") else { return };
    machine.get("http://localhost:9090/any?query=1");
    let entry = machine.wait_for_journal("the request", &[UNIT, "PATH=/any"], |_| true);
    for (field, value) in [
        ("SYSLOG_IDENTIFIER", "lockstepd"),
        ("PRIORITY", "6"),
        ("SERVER", "public"),
        ("METHOD", "GET"),
        ("STATUS", "200"),
        ("BYTES", "27"),
        ("_SYSTEMD_UNIT", "lockstepd.service"),
    ] {
        assert_eq!(entry[field], value, "{field} in {entry}");
    }
    assert!(
        text(&entry, "MESSAGE").starts_with("request server=public peer=127.0.0.1:"),
        "{entry}"
    );
    assert!(text(&entry, "PEER").starts_with("127.0.0.1:"), "{entry}");
    assert!(text(&entry, "DURATION_US").parse::<u64>().is_ok(), "{entry}");
    assert!(!text(&entry, "REQUEST_ID").is_empty(), "{entry}");
}

#[test]
fn fields_have_no_prefix() {
    let Some(machine) = with_access_log("all") else { return };
    machine.get("http://localhost:9090/any");
    let entry = machine.wait_for_journal("the request", &[UNIT, "PATH=/any"], |_| true);
    let fields: Vec<_> = entry.as_object().unwrap().keys().collect();
    assert!(!fields.iter().any(|field| field.starts_with("F_")), "{fields:?}");
}

#[test]
fn entries_are_found_by_their_server() {
    let Some(machine) = with_access_log("all") else { return };
    machine.get("http://localhost:9090/public");
    machine.get("http://localhost:9091/live");
    machine.wait_for_journal("the request", &[UNIT, "PATH=/live"], |_| true);
    let admin = machine.journal(&[UNIT, "SERVER=admin"]);
    let paths: Vec<_> = admin.iter().map(|entry| text(entry, "PATH")).collect();
    assert_eq!(paths, ["/live"]);
}

#[test]
fn a_stop_is_logged_with_its_cause() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.get("http://localhost:9091/listener?stop=ss");
    machine.wait_for_state("lockstepd", "inactive");
    let entry = &machine.journal(&[UNIT, "CAUSE=stop requested: ss"])[0];
    assert!(message(entry).starts_with("stopping cause="), "{entry}");
    assert_eq!(text(entry, "PRIORITY"), "6");
}

#[test]
fn a_failed_member_is_an_error_with_its_cause() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.get("http://localhost:9091/listener?fail=x");
    let selected = [UNIT, "CAUSE=admin failed: x"];
    let entry = machine.wait_for_journal("the failure", &selected, |_| true);
    // What journalctl shows without being asked for more says what happened.
    assert!(message(&entry).starts_with("stopping cause=\"admin failed: "), "{entry}");
    assert_eq!(text(&entry, "PRIORITY"), "3");
    assert_eq!(entry["MEMBER"], "admin");
}

#[test]
fn warnings_and_details_have_priorities_of_their_own() {
    let environment = "LOCKSTEPD_LOG_LEVEL=trace LOCKSTEPD_NONSENSE=1";
    let Some(machine) = with_environment(environment) else { return };
    machine.get("http://localhost:9090/");
    // That a client changes over to HTTP/2 behind a request is for those who want to know.
    let client =
        "printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\nPRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'";
    machine.sh(&format!("{client} | curl -s telnet://localhost:9090 || true")).ok();
    let told = |entry: &Value, begin: &str| text(entry, "MESSAGE").starts_with(begin);
    let warning = machine.wait_for_journal("a warning", &[UNIT], |entry| {
        told(entry, "LOCKSTEPD_NONSENSE is no setting")
    });
    assert_eq!(warning["PRIORITY"], "4");
    let debug =
        machine.wait_for_journal("a detail", &[UNIT], |entry| told(entry, "HTTP/2 is not served"));
    assert_eq!(debug["PRIORITY"], "7");
}

#[test]
fn a_failed_start_is_one_error_in_the_journal() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    machine.write("/etc/lockstepd/lockstepd.toml", "nonsense = 1\n");
    assert_ne!(machine.systemctl(&["start", "lockstepd"]).code, 0);
    machine.wait_for_state("lockstepd", "failed");
    let entries = machine.journal(&["SYSLOG_IDENTIFIER=lockstepd"]);
    let [entry] = &entries[..] else { panic!("{entries:#?}") };
    assert_eq!(entry["PRIORITY"], "3");
    assert!(message(entry).contains("nonsense"), "{entry}");
}

#[test]
fn nothing_is_logged_twice() {
    let Some(machine) = with_access_log("all") else { return };
    machine.activate();
    machine.systemctl(&["restart", "lockstepd"]).ok();
    machine.get("http://localhost:9091/listener?stop=ss");
    machine.wait_for_state("lockstepd", "inactive");
    let entries = machine.journal(&["SYSLOG_IDENTIFIER=lockstepd"]);
    assert!(entries.len() >= 8, "{entries:#?}");
    let mut seen = HashSet::new();
    for entry in &entries {
        assert_eq!(entry["_TRANSPORT"], "journal", "{entry}");
        let path = entry["REQUEST_ID"].as_str();
        let first = seen.insert((entry["_PID"].to_string(), message(entry), path));
        assert!(first, "a second time: {entry}");
    }
}

#[test]
fn a_daemon_outside_of_a_unit_reaches_the_journal_if_told_so() {
    let Some(machine) = Machine::boot() else { return };
    let check = "/usr/src/lockstepd/target/release/lockstepd --log-target journal \
                 --public unix:/nowhere/x";
    let output = machine.sh(check);
    assert_eq!((output.code, output.stderr.as_str()), (78, ""), "{output}");
    let entries = machine.journal(&["SYSLOG_IDENTIFIER=lockstepd"]);
    assert!(message(&entries[0]).contains("unix:/nowhere/x"), "{entries:?}");
}

#[test]
fn a_daemon_with_another_stderr_than_the_journals_logs_there() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    let path = "/etc/systemd/system/lockstepd.service.d/test.conf";
    // As in a script whose standard error was redirected: the variable is still there.
    let start = "ExecStart=\nExecStart=/bin/sh -c 'exec lockstepd 2>$RUNTIME_DIRECTORY/log'\n";
    machine.write(path, format!("[Service]\nRuntimeDirectory=test\n{start}"));
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "lockstepd"]).ok();
    wait_until("the line that it is ready", PATIENCE, || {
        machine.read("/run/test/log").contains("ready")
    });
    assert!(machine.journal(&["SYSLOG_IDENTIFIER=lockstepd"]).is_empty());
}

#[test]
fn the_last_words_of_a_silent_process_are_found_by_its_unit() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    machine.wait_for_journal("its start", &[UNIT], |entry| message(entry).starts_with("ready"));
    // Longer than the journal remembers whose a process is.
    thread::sleep(Duration::from_secs(6));
    machine.get("http://localhost:9091/listener?stop=ss");
    machine.wait_for_state("lockstepd", "inactive");
    let last = machine.journal(&["CAUSE=stop requested: ss"]);
    assert_eq!(last.len(), 2, "{last:#?}");
    for entry in last {
        assert_eq!(entry["_SYSTEMD_UNIT"], "lockstepd.service", "{entry}");
    }
}

fn with_access_log(which: &str) -> Option<Machine> {
    with_environment(&format!("LOCKSTEPD_ACCESS_LOG={which}"))
}

fn with_environment(assignment: &str) -> Option<Machine> {
    let machine = Machine::with_sockets()?;
    let path = "/etc/systemd/system/lockstepd.service.d/test.conf";
    machine.write(path, format!("[Service]\nEnvironment={assignment}\n"));
    machine.systemctl(&["daemon-reload"]).ok();
    Some(machine)
}

fn text<'e>(entry: &'e Value, field: &str) -> &'e str {
    entry[field].as_str().unwrap_or_default()
}
