//! What `systemd-analyze` says of the units, and a daemon that cannot use its sandbox.

use crate::support::{Machine, message};

const UNITS: [&str; 3] = ["lockstepd.service", "lockstepd.socket", "lockstepd-admin.socket"];

#[test]
fn verify_is_silent() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    let output = machine.run("systemd-analyze", &[&["verify"][..], &UNITS].concat());
    // Units of the machine itself may be complained about.
    let about_ours = |line: &&str| line.contains("lockstepd");
    let complaints: Vec<_> = output.stderr.lines().filter(about_ours).collect();
    assert!(output.code == 0 && complaints.is_empty(), "{output}");
    assert_eq!(output.stdout, "");
}

#[test]
fn exposure_is_04_at_most_while_clients_over_tcp_are_served() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    let report = machine.run("systemd-analyze", &["security", "lockstepd.service"]).ok();
    let level = report.rsplit("Overall exposure level for lockstepd.service: ").next();
    let level: f32 = level.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap();
    assert!(level <= 0.4, "{report}");
    assert_eq!(machine.get("http://localhost:9091/listener"), "Hello, I am is listener!!\n");
}

#[test]
fn no_unit_is_logged_about_by_the_manager() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    let warnings = machine.journal(&["--priority=warning", "_PID=1"]);
    assert!(warnings.is_empty(), "{warnings:#?}");
}

#[test]
fn a_shell_around_the_daemon_is_named_whether_or_not_the_sandbox_lets_it_bind_addresses() {
    for families in ["", "RestrictAddressFamilies=AF_INET AF_INET6\n"] {
        let Some(machine) = Machine::boot() else { return };
        machine.install();
        machine.write(
            "/etc/systemd/system/lockstepd.service.d/test.conf",
            format!(
                "[Service]\nExecStart=\n{families}NotifyAccess=all\n\
                 ExecStart=/bin/sh -c '/usr/local/bin/lockstepd; exit $$?'\n"
            ),
        );
        machine.systemctl(&["daemon-reload"]).ok();
        assert_ne!(machine.systemctl(&["start", "lockstepd"]).code, 0);
        let cause = |entry: &serde_json::Value| {
            message(entry).contains("\"public\" has no socket: LISTEN_PID says")
                && message(entry).contains("which has started this one")
        };
        machine.wait_for_journal("the cause", &["-u", "lockstepd"], cause);
        assert_eq!(machine.property("lockstepd", "ExecMainStatus"), "78", "{families}");
    }
}
