//! What an operator does to sockets and service together.

use crate::support::Machine;

#[test]
fn a_restart_of_the_service_alone_mends_a_socket_that_was_left_inactive() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    machine.systemctl(&["stop", "lockstepd.socket"]).ok();
    // As the second half of its restart, while the service is active.
    let refused = machine.systemctl(&["start", "lockstepd.socket"]);
    assert_ne!(refused.code, 0, "{refused}");
    assert_ne!(machine.property("lockstepd.socket", "ActiveState"), "active");

    machine.systemctl(&["restart", "lockstepd.service"]).ok();
    for unit in ["lockstepd.socket", "lockstepd-admin.socket", "lockstepd.service"] {
        machine.assert_properties(unit, &[("ActiveState", "active")]);
    }
    machine.get("http://localhost:9090/any");
}

#[test]
fn sockets_that_are_restarted_with_the_service_stopped_are_open_again() {
    let Some(machine) = Machine::with_sockets() else { return };
    for _ in 0..3 {
        machine.activate();
        machine.systemctl(&["stop", "lockstepd.service", "lockstepd.socket"]).ok();
        machine.systemctl(&["start", "lockstepd.service"]).ok();
        machine.assert_properties("lockstepd.socket", &[("ActiveState", "active")]);
    }
}
