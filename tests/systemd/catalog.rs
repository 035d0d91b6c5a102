//! `journalctl -x`: the journal explains the daemon's events.

use crate::{restart::machine, support::Machine};

const CATALOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/catalog/lockstepd.catalog");

#[test]
fn journalctl_explains_a_start_and_a_stop_and_fills_the_fields_in() {
    let Some(machine) = machine() else { return };
    install_catalog(&machine);
    machine.run("systemctl", &["start", "lockstepd"]).ok();
    machine.run("systemctl", &["stop", "lockstepd"]).ok();
    let explained = explained(&machine, &[]);
    for line in [
        "Subject: lockstepd.service is ready and serves its clients",
        "Defined-By: lockstepd",
        "Documentation: man:lockstepd(8)",
        "    systemctl status lockstepd.service",
        "Subject: lockstepd.service is stopping: SIGTERM",
        "A stop has begun. Its cause: SIGTERM.",
        "    journalctl -u lockstepd.service -p warning -n 50",
        "Subject: lockstepd.service has stopped with exit code 0",
        "The stop is over. Its cause: SIGTERM. The exit code is 0:",
    ] {
        assert!(explained.iter().any(|it| it == line), "{line} is not in\n{explained:#?}");
    }
    let serves = explained.iter().find(|line| line.starts_with("It serves "));
    let serves = serves.expect("the addresses are told");
    assert!(serves.contains("9090") && serves.contains("9091"), "{serves}");
}

#[test]
fn journalctl_explains_a_reload_that_failed_with_its_error() {
    let Some(machine) = machine() else { return };
    install_catalog(&machine);
    machine.run("systemctl", &["start", "lockstepd"]).ok();
    machine.write("/etc/lockstepd/lockstepd.toml", "drain_timeout = \"no time\"\n");
    machine.run("systemctl", &["reload", "lockstepd"]).ok();
    let id = "MESSAGE_ID=87bd3f6bd2824cde92366fa8c7be414d";
    let entry = machine.wait_for_journal("the failed reload", &["-u", "lockstepd", id], |_| true);
    let explained = explained(&machine, &[id]);
    let subject = "Subject: lockstepd.service could not reload its configuration";
    assert!(explained.iter().any(|line| line == subject), "{explained:#?}");
    let error = entry["ERROR"].as_str().expect("it says why");
    let shown = explained.join("\n");
    assert!(error.contains("drain_timeout") && shown.contains(error), "{error} is not in\n{shown}");
}

/// Has the journal's catalog include the daemon's, without a complaint.
#[track_caller]
fn install_catalog(machine: &Machine) {
    machine.copy_in(CATALOG, "/usr/local/lib/systemd/catalog/lockstepd.catalog");
    let update = machine.run("journalctl", &["--update-catalog"]);
    assert_eq!((update.code, &*update.stdout, &*update.stderr), (0, "", ""));
}

/// The lines with which `journalctl -x` explains the daemon's entries.
#[track_caller]
fn explained(machine: &Machine, selected: &[&str]) -> Vec<String> {
    machine.run("journalctl", &["--sync"]).ok();
    let arguments = [&["-x", "-u", "lockstepd", "-o", "short"], selected].concat();
    let text = machine.run("journalctl", &arguments).ok();
    let lines = text.lines().filter_map(|line| line.strip_prefix("░░"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned()).collect()
}
