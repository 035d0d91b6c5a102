//! What newer generations of systemd add, with the drop-ins for it.

use crate::{
    restart::{assert_unnoticed, machine, public, under_load},
    support::{Client, Load, Machine, PATIENCE, get, skip, wait_until},
};

/// The public server's address inside.
const PUBLIC: &str = "127.0.0.1:9090";

/// A machine with this version of systemd or a newer one, its sockets open.
pub(crate) fn machine_since(version: u32) -> Option<Machine> {
    let machine = machine()?;
    let own = machine.systemd_version();
    if own < version {
        skip(&format!(
            "needs systemd {version}, and this is {own}: LOCKSTEPD_SYSTEMD_ROOT=target/debian13 has it"
        ));
        return None;
    }
    Some(machine)
}

/// Installs one of packaging/drop-ins/ for a unit, as its first lines say.
pub(crate) fn use_drop_in(machine: &Machine, name: &str, unit: &str) {
    machine.sh(&format!(
        "install -D -m 0644 /usr/local/share/doc/lockstepd/drop-ins/{name} /etc/systemd/system/{unit}.d/{name}
        systemctl daemon-reload"
    ))
    .ok();
}

/// How many descriptors systemd keeps for the service.
fn stored(machine: &Machine) -> String {
    machine.property("lockstepd", "NFileDescriptorStore")
}

#[test]
fn twenty_stops_and_starts_fail_no_request_where_the_store_is_preserved() {
    let Some(machine) = machine_since(254) else { return };
    use_drop_in(&machine, "preserve.conf", "lockstepd.service");
    let load = Load::on(public());
    let report = under_load(&machine, &load, |control| {
        for _ in 0..20 {
            let before = control.answers();
            machine.systemctl(&["stop", "lockstepd"]).ok();
            machine.assert_properties(
                "lockstepd",
                &[("ActiveState", "inactive"), ("NFileDescriptorStore", "1")],
            );
            machine.systemctl(&["start", "lockstepd"]).ok();
            wait_until("answers after the start", PATIENCE, || control.answers() > before + 64);
        }
    });
    assert_unnoticed(&report, &load);
    assert_eq!(report.told_to_close, 0, "{report}");
    assert_eq!(stored(&machine), "0");
}

#[test]
fn a_preserved_connection_is_served_by_whoever_the_next_client_starts() {
    let Some(machine) = machine_since(254) else { return };
    use_drop_in(&machine, "preserve.conf", "lockstepd.service");
    machine.in_network(|| {
        let mut client = Client::connect(PUBLIC);
        client.request("GET", "/");
        machine.systemctl(&["stop", "lockstepd"]).ok();
        assert_eq!(get(PUBLIC, "/").status, 200, "another client starts the daemon");
        assert_eq!(client.request("GET", "/").status, 200);
    });
}

#[test]
fn cleaning_the_store_closes_what_a_stop_has_preserved() {
    let Some(machine) = machine_since(254) else { return };
    use_drop_in(&machine, "preserve.conf", "lockstepd.service");
    machine.in_network(|| {
        let mut client = Client::connect(PUBLIC);
        client.request("GET", "/");
        machine.systemctl(&["stop", "lockstepd"]).ok();
        assert_eq!(stored(&machine), "1");
        machine.systemctl(&["clean", "--what=fdstore", "lockstepd"]).ok();
        assert!(client.is_closed(), "the client is told");
    });
    assert_eq!(stored(&machine), "0");
}

#[test]
fn a_killed_daemon_is_back_the_sooner_and_one_that_keeps_failing_once_a_second() {
    let Some(machine) = machine_since(254) else { return };
    use_drop_in(&machine, "quick-restart.conf", "lockstepd.service");
    // Ready, and killed: again and again.
    let path = "/etc/systemd/system/lockstepd.service.d/test.conf";
    machine.write(path, "[Service]\nExecStartPost=+/bin/kill -KILL $MAINPID\n");
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["restart", "--no-block", "lockstepd"]).ok();
    let next = || machine.property("lockstepd", "RestartUSecNext");
    let mut seen = Vec::new();
    wait_until("the slowest pace", PATIENCE, || {
        seen.push(next());
        next() == "1s"
    });
    assert!(seen.iter().any(|time| time.ends_with("ms")), "{seen:?}");
    machine.sh(&format!("rm {path}; systemctl daemon-reload")).ok();
    machine.in_network(|| assert_eq!(get(PUBLIC, "/").status, 200));
}

/// `PollLimitBurst=` is 15 in 2 s from systemd 255 on, but every start of the service begins a new count: it
/// needs no drop-in.
#[test]
fn the_poll_limit_keeps_no_client_waiting() {
    let Some(machine) = machine_since(255) else { return };
    machine.assert_properties("lockstepd.socket", &[("PollLimitBurst", "15")]);
    // Whoever met the limit would not be answered before this test gives up.
    machine.write(
        "/etc/systemd/system/lockstepd.socket.d/test.conf",
        "[Socket]\nPollLimitIntervalSec=1h\n",
    );
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/test.conf",
        "[Service]\nEnvironment=LOCKSTEPD_IDLE_EXIT=8ms\n",
    );
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["restart", "lockstepd.socket", "lockstepd-admin.socket"]).ok();
    machine.in_network(|| {
        for _ in 0..40 {
            wait_until("the idle exit", PATIENCE, || machine.pids("lockstepd").is_empty());
            assert_eq!(get(PUBLIC, "/").status, 200);
        }
    });
    machine.assert_properties("lockstepd.socket", &[("Result", "success")]);
}
