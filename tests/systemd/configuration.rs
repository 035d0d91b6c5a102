//! Configuration under systemd: through file and drop-in, and what a broken one leads to.

use std::net::{Ipv4Addr, TcpStream};

use crate::support::{Machine, PATIENCE, message, wait_until};

const FILE: &str = "/etc/lockstepd/lockstepd.toml";
const ANY: &str = "http://localhost:9090/any";
const UNITS: [&str; 3] = ["lockstepd.service", "lockstepd.socket", "lockstepd-admin.socket"];

#[test]
fn a_broken_configuration_ends_in_78_without_a_restart() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    machine.write(FILE, "# broken\nnonsense = 1\n");
    assert_ne!(machine.systemctl(&["start", "lockstepd"]).code, 0);
    machine.wait_for_state("lockstepd", "failed");
    assert_failed_with_78(&machine);
    assert_eq!(starts(&machine), 1);
}

#[test]
fn the_status_of_a_failed_start_tells_file_line_and_key() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    machine.write(FILE, "# broken\nnonsense = 1\n");
    assert_ne!(machine.systemctl(&["start", "lockstepd"]).code, 0);
    let status = machine.run("systemctl", &["status", "--lines=0", "--full", "lockstepd"]);
    assert!(status.stdout.contains("78/CONFIG") || status.stdout.contains("status=78"), "{status}");
    assert!(status.stdout.contains(&format!("Status: \"{FILE}:2:1: ")), "{status}");
    assert!(status.stdout.contains("nonsense"), "{status}");
}

#[test]
fn knocking_clients_do_not_start_a_broken_configuration_over_and_over() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.write(FILE, "nonsense = 1\n");
    machine.in_network(|| {
        let address = (Ipv4Addr::LOCALHOST, 9090);
        wait_until("clients are refused", PATIENCE, || TcpStream::connect(address).is_err());
    });
    machine.wait_for_state("lockstepd", "failed");
    assert_failed_with_78(&machine);
    assert!(starts(&machine) <= 5, "{} starts", starts(&machine));
    for unit in &UNITS[1..] {
        machine.assert_properties(unit, &[("ActiveState", "inactive"), ("Result", "success")]);
    }
}

#[test]
fn after_the_fix_one_command_makes_everything_work_again() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.write(FILE, "nonsense = 1\n");
    assert_ne!(machine.curl(ANY).code, 0);
    machine.wait_for_state("lockstepd.service", "failed");
    for unit in &UNITS[1..] {
        machine.wait_for_state(unit, "inactive");
    }
    machine.write(FILE, "linger = \"2s\"\n");
    machine.systemctl(&["start", "lockstepd"]).ok();
    for unit in UNITS {
        machine.assert_properties(unit, &[("ActiveState", "active"), ("Result", "success")]);
    }
    assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
}

#[test]
fn the_log_of_a_closed_socket_names_the_command() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.write(FILE, "nonsense = 1\n");
    assert_ne!(machine.curl(ANY).code, 0);
    machine.wait_for_journal("the command", &["--unit=lockstepd"], |entry| {
        message(entry).contains("systemctl start lockstepd")
    });
}

#[test]
fn a_bad_drop_in_ends_in_78_as_well() {
    let Some(machine) = Machine::with_sockets() else { return };
    drop_in(&machine, "Environment=LOCKSTEPD_LINGER=long");
    assert_ne!(machine.curl(ANY).code, 0);
    machine.wait_for_state("lockstepd", "failed");
    assert_failed_with_78(&machine);
    let status = machine.property("lockstepd", "StatusText");
    assert!(status.contains("LOCKSTEPD_LINGER"), "{status}");
}

#[test]
fn a_socket_unit_without_its_name_ends_in_78_and_tells_the_line() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    let drop_in = "/etc/systemd/system/lockstepd-admin.socket.d/name.conf";
    machine.write(drop_in, "[Socket]\nFileDescriptorName=web\n");
    machine.systemctl(&["daemon-reload"]).ok();
    assert_ne!(machine.systemctl(&["start", "lockstepd"]).code, 0);
    machine.wait_for_state("lockstepd", "failed");
    assert_failed_with_78(&machine);
    let status = machine.property("lockstepd", "StatusText");
    assert!(status.contains("\"admin\"") && status.contains("FileDescriptorName="), "{status}");
}

#[test]
fn a_wrong_command_line_is_not_restarted() {
    let Some(machine) = Machine::with_sockets() else { return };
    drop_in(&machine, "ExecStart=\nExecStart=/usr/local/bin/lockstepd --nonsense");
    assert_ne!(machine.curl(ANY).code, 0);
    machine.wait_for_state("lockstepd", "failed");
    machine.assert_properties("lockstepd", &[("ExecMainStatus", "2"), ("NRestarts", "0")]);
}

#[test]
fn a_drop_in_configures_the_daemon() {
    let Some(machine) = Machine::with_sockets() else { return };
    drop_in(&machine, "Environment=LOCKSTEPD_ACCESS_LOG=all");
    machine.get(ANY);
    let path = ["--unit=lockstepd", "PATH=/any"];
    machine.wait_for_journal("the request", &path, |entry| entry["STATUS"] == "200");
}

#[test]
fn the_file_configures_the_daemon() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.write(FILE, "[log]\naccess = \"all\"\n");
    machine.get(ANY);
    let path = ["--unit=lockstepd", "PATH=/any"];
    machine.wait_for_journal("the request", &path, |entry| entry["STATUS"] == "200");
}

#[test]
fn a_socket_drop_in_gives_a_server_several_sockets() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    let drop_in = "/etc/systemd/system/lockstepd.socket.d/more.conf";
    machine.write(drop_in, "[Socket]\nListenStream=[::1]:8080\nListenStream=/run/public.sock\n");
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "lockstepd"]).ok();
    assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
    let unix = ["-sSf", "--unix-socket", "/run/public.sock", "http://localhost/"];
    assert_eq!(machine.run("curl", &unix).ok(), "Hello, Serve is running...\n");
    if machine.root().exists("/proc/net/if_inet6") {
        assert_eq!(machine.get("http://[::1]:8080/"), "Hello, Serve is running...\n");
    }
}

#[track_caller]
fn assert_failed_with_78(machine: &Machine) {
    machine.assert_properties(
        "lockstepd",
        &[
            ("ActiveState", "failed"),
            ("SubState", "failed"),
            ("Result", "exit-code"),
            ("ExecMainStatus", "78"),
            ("NRestarts", "0"),
        ],
    );
}

/// How often the daemon was started and failed.
fn starts(machine: &Machine) -> usize {
    let log = machine.journal(&["--unit=lockstepd"]);
    log.iter().filter(|entry| message(entry).contains("status=78/CONFIG")).count()
}

fn drop_in(machine: &Machine, line: &str) {
    let path = "/etc/systemd/system/lockstepd.service.d/test.conf";
    machine.write(path, format!("[Service]\n{line}\n"));
    machine.systemctl(&["daemon-reload"]).ok();
}
