//! Limits of starts and triggers are for what keeps failing, not for what is merely frequent.

use crate::support::Machine;

#[test]
fn twenty_restarts_in_a_row_hit_no_limit() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    for _ in 0..20 {
        machine.systemctl(&["restart", "lockstepd"]).ok();
    }
    assert_all_is_well(&machine);
}

#[test]
fn a_burst_of_activations_fails_neither_service_nor_socket() {
    let Some(machine) = Machine::with_sockets() else { return };
    // Each stop is followed by an activation, as fast as it goes.
    let burst = "for i in $(seq 40); do
        curl -sSf -o /dev/null 'localhost:9091/listener?stop=burst'
        curl -sSf -o /dev/null localhost:9090/any
    done";
    machine.sh(burst).ok();
    assert_all_is_well(&machine);
}

#[test]
fn twenty_failures_of_a_member_in_a_row_are_all_restarted() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    let path = "/etc/systemd/system/lockstepd.service.d/test.conf";
    machine.write(path, "[Service]\nRestartSec=0\n");
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "lockstepd"]).ok();
    let failures = "for i in $(seq 20); do
        curl -sSf -o /dev/null 'localhost:9091/listener?fail=burst'
        curl -sSf -o /dev/null localhost:9090/any
    done";
    machine.sh(failures).ok();
    assert_all_is_well(&machine);
}

#[track_caller]
fn assert_all_is_well(machine: &Machine) {
    machine.activate();
    for unit in ["lockstepd.service", "lockstepd.socket", "lockstepd-admin.socket"] {
        machine.assert_properties(unit, &[("ActiveState", "active"), ("Result", "success")]);
    }
    assert_eq!(machine.sh("systemctl --failed --plain --no-legend").ok(), "");
}
