//! Limits of starts and triggers are for what keeps failing, not for what is merely frequent; and a limit of
//! descriptors that is lowered costs those who have been idle longest.

use std::time::{Duration, Instant};

use crate::support::{Client, Machine, PATIENCE, message, wait_until};

const PUBLIC: &str = "127.0.0.1:9090";

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

#[test]
fn a_restart_with_fewer_descriptors_closes_the_longest_idle_and_nobody_else() {
    let Some(machine) = Machine::with_sockets() else { return };
    let drop_in = |lines: &str| {
        let path = "/etc/systemd/system/lockstepd.service.d/test.conf";
        machine.write(path, format!("[Service]\n{lines}\n"));
        machine.systemctl(&["daemon-reload"]).ok();
    };
    drop_in("LimitNOFILE=2000");
    machine.in_network(|| {
        let mut half = Client::connect(PUBLIC);
        half.send("GET / HTTP/1.1\r\nHost: lo");
        let mut clients: Vec<_> = (0..600).map(|_| Client::connect(PUBLIC)).collect();
        for some in [0..544, 544..600, 0..1] {
            for client in &mut clients[some] {
                assert_eq!(client.request("GET", "/").status, 200);
            }
            // A client has its answer before its connection is idle.
            let begin = Instant::now();
            let a_moment = Duration::from_millis(20);
            wait_until("time goes on", PATIENCE, || begin.elapsed() > a_moment);
        }
        // 42 are for all else, and so 58 are left for clients: one message brings 253 of them.
        drop_in("LimitNOFILE=100");
        machine.systemctl(&["restart", "lockstepd"]).ok();
        for gone in &mut clients[1..544] {
            assert!(gone.is_closed());
        }
        let (first, last) = clients.split_at_mut(544);
        for client in last.iter_mut().chain(&mut first[..1]) {
            assert_eq!(client.request("GET", "/").status, 200);
        }
        half.send("calhost\r\n\r\n");
        assert_eq!(half.response("GET").status, 200);
        assert_eq!(Client::connect(PUBLIC).request("GET", "/").status, 200);
    });
    let log = machine.journal(&["--unit=lockstepd"]);
    let told = log.iter().find(|entry| message(entry).contains("more than there may be now"));
    let told = told.expect("what was closed is told");
    assert!(message(told).contains("raise max_connections, or LimitNOFILE="), "{told}");
    assert_eq!((&told["SERVER"], &told["CONNECTIONS"]), (&"public".into(), &"543".into()));
    assert!(!log.iter().any(|entry| message(entry).contains("dropped descriptors")));
    machine.get("http://localhost:9091/live");
}

#[track_caller]
fn assert_all_is_well(machine: &Machine) {
    machine.activate();
    for unit in ["lockstepd.service", "lockstepd.socket", "lockstepd-admin.socket"] {
        machine.assert_properties(unit, &[("ActiveState", "active"), ("Result", "success")]);
    }
    assert_eq!(machine.sh("systemctl --failed --plain --no-legend").ok(), "");
}
