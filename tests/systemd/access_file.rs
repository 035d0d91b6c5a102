//! The access log in a file of its own, with the drop-in and the sandbox of the unit.

use serde_json::Value;

use crate::restart::{assert_unnoticed, public, under_load};
use crate::support::{Load, Machine, PATIENCE, wait_until};

const DROP_IN: &str = "/usr/local/share/doc/lockstepd/drop-ins/access-file.conf";
const EXAMPLE: &str = "/usr/local/share/doc/lockstepd/logrotate/lockstepd";

/// A machine with the drop-in, and its sockets open.
fn machine() -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.install();
    machine
        .sh(&format!("install -D -m 0644 -t /etc/systemd/system/lockstepd.service.d {DROP_IN}"))
        .ok();
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "lockstepd.socket", "lockstepd-admin.socket"]).ok();
    Some(machine)
}

/// The numbers that the lines of all files were asked for, sorted.
fn numbers(machine: &Machine) -> Vec<u64> {
    let text = machine.sh("cat /var/log/lockstepd/access.log*").ok();
    let number = |line: &str| {
        let request = line.split('"').nth(1)?.strip_prefix("GET /")?;
        request.strip_suffix(" HTTP/1.1")?.parse().ok()
    };
    let mut numbers: Vec<_> = text
        .lines()
        .map(|line| number(line).unwrap_or_else(|| panic!("this is no whole line: {line}")))
        .collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn rotations_and_restarts_under_load_lose_no_line_and_repeat_none() {
    let Some(machine) = machine() else { return };
    let load = Load {
        requests: vec![b"GET /{id} HTTP/1.1\r\nHost: x\r\nUser-Agent: load\r\n\r\n".to_vec()],
        ..Load::on(public())
    };
    let rotations = [
        // What logrotate does, where there is none.
        format!(
            "if command -v logrotate; then logrotate --force {EXAMPLE}; else mv access.log access.log.1; fi"
        ),
        "mv access.log access.log.2".to_owned(),
    ];
    let report = under_load(&machine, &load, |control| {
        for rotate in &rotations {
            machine.systemctl(&["restart", "lockstepd"]).ok();
            let answers = control.answers();
            wait_until("there are answers", PATIENCE, || control.answers() > answers + 100);
            machine.sh(&format!("cd /var/log/lockstepd && {rotate}")).ok();
            let is_there = || {
                machine.sh("test -e /var/log/lockstepd/access.log && echo y; true").ok() == "y\n"
            };
            wait_until("the file is made anew", PATIENCE, is_there);
            machine.systemctl(&["reload", "lockstepd"]).ok();
        }
    });
    assert_unnoticed(&report, &load);
    machine.systemctl(&["stop", "lockstepd.socket", "lockstepd-admin.socket", "lockstepd"]).ok();
    assert!(numbers(&machine) == (0..report.answers).collect::<Vec<_>>(), "{report}");
    machine
        .sh("test -e /var/log/lockstepd/access.log.1 -a -e /var/log/lockstepd/access.log.2")
        .ok();
}

#[test]
fn the_drop_in_opens_one_directory_and_doctor_has_nothing_to_mend() {
    let Some(machine) = machine() else { return };
    assert!(machine.sh("lockstepd doctor").ok().contains("nothing to mend"));
    machine.get("http://localhost:9090/any?secret=1");
    machine.systemctl(&["stop", "lockstepd.socket", "lockstepd-admin.socket", "lockstepd"]).ok();
    let line = machine.sh("cat /var/log/lockstepd/access.log").ok();
    assert!(line.contains("] \"GET /any HTTP/1.1\" 200 27 \"-\" \"curl/"), "{line}");
    assert_eq!(machine.sh("stat -c '%a' /var/log/private/lockstepd").ok(), "750\n");
    let exposure = machine.sh("systemd-analyze security lockstepd | tail -n 1").ok();
    assert!(exposure.contains(": 0.2 SAFE"), "{exposure}");
}

#[test]
fn a_line_of_json_can_be_read_by_a_program() {
    let Some(machine) = machine() else { return };
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/json.conf",
        "[Service]\nEnvironment=LOCKSTEPD_LOG_ACCESS_FORMAT=json\n",
    );
    machine.systemctl(&["daemon-reload"]).ok();
    machine.get("http://localhost:9090/any");
    machine.systemctl(&["stop", "lockstepd.socket", "lockstepd-admin.socket", "lockstepd"]).ok();
    let line = machine.sh("cat /var/log/lockstepd/access.log").ok();
    let told: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!((&told["path"], &told["status"]), (&"/any".into(), &200.into()), "{line}");
    assert!(told["duration_us"].is_u64(), "{line}");
}

#[test]
fn without_the_drop_in_the_sandbox_refuses_the_file_and_the_log_says_what_to_do() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/file.conf",
        "[Service]\nEnvironment=LOCKSTEPD_LOG_ACCESS_FILE=/var/log/access.log\n",
    );
    machine.systemctl(&["daemon-reload"]).ok();
    // A read-only disk may pass: it ends no start.
    machine.systemctl(&["start", "lockstepd"]).ok();
    let text = machine.sh("journalctl -u lockstepd -o export --no-pager").ok();
    assert!(text.contains("the access log cannot be written"), "{text}");
    assert!(text.contains("Read-only file system"), "{text}");
    assert!(text.contains("LogsDirectory="), "{text}");
}
