//! The installed units: started by clients, stopped, restarted and killed.

use std::time::Duration;

use crate::support::{Client, Machine, PATIENCE, message, options, wait_until};

const ANY: &str = "http://localhost:9090/any";
const LISTENER: &str = "http://localhost:9091/listener";

#[test]
fn the_first_client_starts_the_service() {
    for url in [ANY, LISTENER] {
        let Some(machine) = Machine::with_sockets() else { return };
        machine.assert_properties("lockstepd", &[("ActiveState", "inactive"), ("MainPID", "0")]);
        machine.get(url);
        machine.wait_for_state("lockstepd", "active");
        machine.assert_properties(
            "lockstepd",
            &[("ActiveState", "active"), ("SubState", "running"), ("NRestarts", "0")],
        );
        assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
        assert_eq!(machine.get(LISTENER), "Hello, I am is listener!!\n");
    }
}

#[test]
fn the_client_that_starts_the_service_has_what_is_set_on_everybodys_connection() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.assert_properties("lockstepd.socket", &[("NoDelay", "yes"), ("KeepAlive", "yes")]);
    for address in ["127.0.0.1:9090", "127.0.0.1:9091"] {
        machine.in_network(|| {
            let mut waking = Client::connect(address);
            assert_eq!(waking.request("GET", "/live").status, 200);
            let pid = machine.main_pid("lockstepd").expect("it runs");
            let set = options(pid, waking.local_address());
            let time = Duration::from_secs(15);
            assert_eq!((set.keepalive, set.user_timeout_ms), (Some((time, time, 9)), 150_000));
            assert_eq!((set.no_delay, set.not_sent_low_water), (true, 128 << 10));
            let mut later = Client::connect(address);
            assert_eq!(later.request("GET", "/live").status, 200);
            assert_eq!(options(pid, later.local_address()), set);
            // And the next process sets it, whoever had the connection before.
            machine.systemctl(&["restart", "lockstepd"]).ok();
            assert_eq!(waking.request("GET", "/live").status, 200);
            let pid = machine.main_pid("lockstepd").expect("it runs");
            assert_eq!(options(pid, waking.local_address()), set);
        });
        machine.systemctl(&["stop", "lockstepd"]).ok();
    }
}

#[test]
fn the_first_command_by_hand_serves_on_the_default_ports() {
    let Some(machine) = Machine::boot() else { return };
    let command = "/usr/src/lockstepd/target/release/lockstepd";
    machine.run("systemd-run", &["--unit=by-hand", "--property=Type=notify", command]).ok();
    assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
    assert_eq!(
        machine.get("http://localhost:9091/listener?stop=ss"),
        "Hello, I am is listener!!\n"
    );
    machine.wait_for_state("by-hand", "inactive");
    assert_eq!(machine.sh("ss -Hltn 'sport = :9090 or sport = :9091'").ok(), "");
}

#[test]
fn status_shows_what_it_serves() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    let status = machine.systemctl(&["status", "lockstepd"]).ok();
    let expected = "Status: \"Serving public on 0.0.0.0:9090, admin on 127.0.0.1:9091";
    assert!(status.contains(expected), "{status}");
}

#[test]
fn the_service_runs_as_a_user_of_its_own_without_capabilities() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    let pid = machine.property("lockstepd", "MainPID");
    let status = machine.read(&format!("/proc/{pid}/status"));
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    assert!(!field("Uid:").split_whitespace().any(|uid| uid == "0"), "{status}");
    assert_eq!(field("CapEff:"), "0000000000000000");
}

#[test]
fn a_stop_is_clean_and_the_next_client_starts_it_again() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    machine.systemctl(&["stop", "lockstepd"]).ok();
    assert_stopped_cleanly(&machine);
    assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
    machine.wait_for_state("lockstepd", "active");
}

#[test]
fn a_requested_stop_leaves_the_service_inactive_and_the_next_client_starts_it_again() {
    let Some(machine) = Machine::with_sockets() else { return };
    assert_eq!(
        machine.get("http://localhost:9091/listener?stop=ss"),
        "Hello, I am is listener!!\n"
    );
    machine.wait_for_state("lockstepd", "inactive");
    assert_stopped_cleanly(&machine);
    let status = machine.systemctl(&["status", "lockstepd"]);
    assert!(status.stdout.contains("Status: \"Stopped: stop requested: ss\""), "{status}");
    for unit in ["lockstepd.socket", "lockstepd-admin.socket"] {
        machine.assert_properties(unit, &[("ActiveState", "active"), ("Result", "success")]);
    }
    assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
}

#[test]
fn a_restart_leaves_the_ports_answering() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    let before = machine.property("lockstepd", "MainPID");
    machine.systemctl(&["restart", "lockstepd"]).ok();
    assert_ne!(machine.property("lockstepd", "MainPID"), before);
    machine.assert_properties("lockstepd", &[("ActiveState", "active"), ("Result", "success")]);
    assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
    assert_eq!(machine.get(LISTENER), "Hello, I am is listener!!\n");
}

#[test]
fn a_killed_daemon_is_restarted_and_leaves_the_ports_answering() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    machine.systemctl(&["kill", "--kill-who=main", "--signal=KILL", "lockstepd"]).ok();
    // Nobody is refused meanwhile: the sockets are systemd's.
    assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
    assert_eq!(machine.get(LISTENER), "Hello, I am is listener!!\n");
    machine.wait_for_state("lockstepd", "active");
    machine.assert_properties("lockstepd", &[("NRestarts", "1")]);
}

#[test]
fn a_failed_member_is_told_in_status_and_the_service_restarted() {
    let Some(machine) = Machine::with_sockets() else { return };
    assert_eq!(machine.get("http://localhost:9091/listener?fail=x"), "Hello, I am is listener!!\n");
    wait_until("the service was restarted", PATIENCE, || {
        machine.property("lockstepd", "NRestarts") == "1"
    });
    assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
    let log = machine.journal(&["--unit=lockstepd"]);
    let log: Vec<_> = log.iter().map(message).collect();
    assert!(log.iter().any(|line| line.contains("status=1/FAILURE")), "{log:?}");
}

#[test]
fn starting_the_service_alone_brings_its_sockets_along() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    machine.systemctl(&["start", "lockstepd.service"]).ok();
    for unit in ["lockstepd.service", "lockstepd.socket", "lockstepd-admin.socket"] {
        machine.assert_properties(unit, &[("ActiveState", "active")]);
    }
    assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
    let opened_by = machine.get("http://localhost:9091/status");
    assert!(!opened_by.contains("\"opened_by\":\"lockstepd\""), "{opened_by}");
    // And they stay when it goes.
    machine.systemctl(&["stop", "lockstepd.service"]).ok();
    assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
}

#[test]
fn enabled_sockets_come_with_the_sockets_target() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    machine.systemctl(&["enable", "lockstepd.socket", "lockstepd-admin.socket"]).ok();
    machine.systemctl(&["start", "sockets.target"]).ok();
    assert_eq!(machine.get(ANY), "Hello, Serve is running...\n");
    assert_eq!(machine.get(LISTENER), "Hello, I am is listener!!\n");
}

#[track_caller]
fn assert_stopped_cleanly(machine: &Machine) {
    machine.assert_properties(
        "lockstepd",
        &[
            ("ActiveState", "inactive"),
            ("SubState", "dead"),
            ("Result", "success"),
            ("ExecMainCode", "1"),
            ("ExecMainStatus", "0"),
            ("NRestarts", "0"),
        ],
    );
}
