//! Files that have a name: the sockets that the daemon binds itself, and its program.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use crate::support::{Machine, get, message};

const PATH: &str = "/run/lockstepd/public.sock";

/// A machine whose daemon binds a Unix socket of its own.
fn on_a_socket_of_its_own() -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.install();
    machine.write(
        "/etc/lockstepd/lockstepd.toml",
        format!("[public]\nlisten = [\"unix:{PATH}\"]\n[admin]\nlisten = [\"127.0.0.1:9091\"]\n"),
    );
    machine
        .sh("mkdir -p /etc/systemd/system/lockstepd.service.d
        cp /usr/src/lockstepd/packaging/drop-ins/no-sockets.conf /etc/systemd/system/lockstepd.service.d/
        systemctl mask lockstepd.socket lockstepd-admin.socket
        systemctl daemon-reload
        systemctl start lockstepd")
        .ok();
    Some(machine)
}

/// The socket file, wherever systemd has put the directory.
fn file(machine: &Machine) -> PathBuf {
    let real = machine.sh(&format!("realpath {PATH}")).ok();
    machine.root().outside(real.trim())
}

fn inode(machine: &Machine) -> u64 {
    fs::symlink_metadata(file(machine)).unwrap().ino()
}

fn is_served(machine: &Machine) {
    assert_eq!(get(&format!("unix:{}", file(machine).display()), "/").status, 200);
}

#[test]
fn a_socket_file_is_known_again_after_restarts_and_gone_after_the_stop() {
    let Some(machine) = on_a_socket_of_its_own() else { return };
    let before = inode(&machine);
    for _ in 0..3 {
        machine.systemctl(&["restart", "lockstepd"]).ok();
        assert_eq!(inode(&machine), before);
        is_served(&machine);
    }
    // The listeners of both servers, and the file of the one.
    assert_eq!(machine.property("lockstepd", "NFileDescriptorStore"), "3");
    // To a stop that nobody follows: the daemon itself is asked.
    let file = file(&machine);
    machine.get("http://localhost:9091/listener?stop=test");
    let stopped = |entry: &serde_json::Value| message(entry).starts_with("stopped");
    machine.wait_for_journal("the stop", &["-u", "lockstepd"], stopped);
    assert!(fs::symlink_metadata(file).is_err());
}

#[test]
fn a_socket_file_that_became_anothers_stays_after_a_restart() {
    let Some(machine) = on_a_socket_of_its_own() else { return };
    // Otherwise systemd removes the directory, with all that is in it.
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/test.conf",
        "[Service]\nRuntimeDirectoryPreserve=yes\n",
    );
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["restart", "lockstepd"]).ok();
    let file = file(&machine);
    fs::remove_file(&file).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&file).unwrap();
    let before = inode(&machine);
    machine.get("http://localhost:9091/listener?stop=test");
    let left = |entry: &serde_json::Value| message(entry).starts_with("left a socket file");
    machine.wait_for_journal("what became of it", &["-u", "lockstepd"], left);
    let stopped = |entry: &serde_json::Value| message(entry).starts_with("stopped");
    machine.wait_for_journal("the stop", &["-u", "lockstepd"], stopped);
    assert_eq!(fs::symlink_metadata(&file).map(|file| file.ino()).ok(), Some(before));
}

#[test]
fn a_socket_file_that_was_removed_is_there_again_after_a_restart() {
    let Some(machine) = on_a_socket_of_its_own() else { return };
    fs::remove_file(file(&machine)).unwrap();
    machine.systemctl(&["restart", "lockstepd"]).ok();
    is_served(&machine);
}

#[test]
fn a_link_in_the_units_command_is_followed_anew_at_an_upgrade_in_place() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/test.conf",
        "[Service]\nExecStart=\nExecStart=/opt/app/current/bin/lockstepd\n",
    );
    machine
        .sh("mkdir -p /opt/app/1/bin /opt/app/2/bin
        cp /usr/local/bin/lockstepd /opt/app/1/bin/; cp /usr/local/bin/lockstepd /opt/app/2/bin/
        ln -s 1 /opt/app/current
        systemctl daemon-reload
        systemctl start lockstepd")
        .ok();
    let release = || {
        let pid = machine.main_pid("lockstepd").unwrap();
        fs::read_link(format!("/proc/{pid}/exe")).unwrap()
    };
    assert!(release().ends_with("opt/app/1/bin/lockstepd"), "{:?}", release());
    let mark = machine.journal_mark();
    machine
        .sh("ln -sfn 2 /opt/app/current; systemctl kill -s USR2 --kill-whom=main lockstepd")
        .ok();
    let ready = |entry: &serde_json::Value| message(entry).starts_with("ready");
    machine.wait_for_journal("the next program", &["-u", "lockstepd", &mark], ready);
    assert!(release().ends_with("opt/app/2/bin/lockstepd"), "{:?}", release());
}
