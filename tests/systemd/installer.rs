//! packaging/install.sh.

use std::collections::HashSet;

use crate::support::Machine;

const INSTALLER: &str = "/usr/src/lockstepd/packaging/install.sh";
const FILE: &str = "/etc/lockstepd/lockstepd.toml";

#[test]
fn an_uninstall_leaves_nothing_and_stops_what_runs() {
    let Some(machine) = Machine::boot() else { return };
    let before = files(&machine);
    machine.install();
    assert_ne!(files(&machine), before);
    machine.systemctl(&["enable", "--now", "lockstepd.socket", "lockstepd-admin.socket"]).ok();
    machine.activate();
    machine.run(INSTALLER, &["uninstall"]).ok();
    assert_same(&files(&machine), &before);
    assert_eq!(machine.sh("systemctl list-units --all --plain --no-legend 'lockstepd*'").ok(), "");
    assert_ne!(machine.curl("http://localhost:9090/any").code, 0);
}

#[test]
fn install_and_uninstall_can_be_repeated() {
    let Some(machine) = Machine::boot() else { return };
    let before = files(&machine);
    machine.install();
    let installed = files(&machine);
    machine.install();
    assert_same(&files(&machine), &installed);
    for _ in 0..2 {
        machine.run(INSTALLER, &["uninstall"]).ok();
        assert_same(&files(&machine), &before);
    }
    machine.install();
    assert_same(&files(&machine), &installed);
}

#[test]
fn an_install_over_a_running_daemon_goes_through_and_takes_effect_at_the_restart() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    let before = machine.property("lockstepd", "MainPID");
    machine.install();
    assert_eq!(machine.property("lockstepd", "MainPID"), before);
    machine.systemctl(&["restart", "lockstepd"]).ok();
    assert_eq!(machine.get("http://localhost:9090/any"), "Hello, Serve is running...\n");
}

#[test]
fn an_edited_configuration_is_kept() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    let edited = format!("{}\nlinger = \"3s\" # mine\n", "# edited");
    machine.write(FILE, &edited);
    machine.install();
    assert_eq!(machine.read(FILE), edited);
    machine.run(INSTALLER, &["uninstall"]).ok();
    assert_eq!(machine.read(FILE), edited);
    machine.install();
    assert_eq!(machine.read(FILE), edited);
    machine.systemctl(&["start", "lockstepd"]).ok();
}

#[test]
fn the_commented_configuration_is_valid_and_changes_nothing() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    machine.run("lockstepd", &["check"]).ok();
    // Every key is shown at its default: uncommented, it has to be understood as well.
    machine
        .sh(&format!("sed -i 's/^#\\([a-z_]* = \\)/\\1/' {FILE}; grep -q '^linger = ' {FILE}"))
        .ok();
    machine.run("lockstepd", &["check"]).ok();
}

#[test]
fn destdir_is_honoured_and_systemd_left_alone() {
    let Some(machine) = Machine::boot() else { return };
    let before = files(&machine);
    let mark = machine.journal_mark();
    let binary = "LOCKSTEPD_BINARY=/usr/src/lockstepd/target/release/lockstepd";
    let staging = "DESTDIR=/tmp/staging";
    machine.run("env", &[binary, staging, INSTALLER, "install"]).ok();
    assert_same(&files(&machine), &before);
    for file in ["usr/local/bin/lockstepd", &FILE[1..]] {
        assert!(machine.root().exists(&format!("/tmp/staging/{file}")), "{file}");
    }
    let units = machine
        .sh("find /tmp/staging -name 'lockstepd*.service' -o -name 'lockstepd*.socket'")
        .ok();
    assert!(units.lines().count() >= 3, "{units}");
    machine.run("env", &[binary, staging, INSTALLER, "uninstall"]).ok();
    assert_eq!(machine.sh("find /tmp/staging -type f").ok(), "");
    let reloads = machine.journal(&[&mark, "_PID=1"]);
    assert!(reloads.is_empty(), "{reloads:#?}");
}

#[test]
fn a_missing_binary_is_named_before_anything_is_written() {
    let Some(machine) = Machine::boot() else { return };
    let before = files(&machine);
    let output = machine.run("env", &["LOCKSTEPD_BINARY=/nowhere/x", INSTALLER, "install"]);
    assert_ne!(output.code, 0);
    assert!(
        output.stderr.contains("/nowhere/x") && output.stderr.contains("cargo build"),
        "{output}"
    );
    assert_same(&files(&machine), &before);
}

#[test]
fn an_unknown_order_is_refused_with_the_known_ones() {
    let Some(machine) = Machine::boot() else { return };
    for arguments in [&[][..], &["remove"], &["install", "now"]] {
        let output = machine.run(INSTALLER, arguments);
        assert_eq!(output.code, 2, "{output}");
        assert!(output.stderr.contains("install.sh install"), "{output}");
        assert!(output.stderr.contains("install.sh uninstall"), "{output}");
    }
}

/// All that there is where software is installed to.
fn files(machine: &Machine) -> String {
    machine.sh("find /etc /usr/local /usr/lib/systemd /var/lib | sort").ok()
}

/// Shows only the files that are on one side.
#[track_caller]
fn assert_same(one: &str, other: &str) {
    let only = |these: &str, those: &str| {
        let those: HashSet<_> = those.lines().collect();
        these.lines().filter(|file| !those.contains(file)).map(str::to_owned).collect::<Vec<_>>()
    };
    let (added, missing) = (only(one, other), only(other, one));
    assert!(added.is_empty() && missing.is_empty(), "added: {added:#?} missing: {missing:#?}");
}
