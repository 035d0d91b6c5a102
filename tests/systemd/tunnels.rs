//! Tunnels to the application behind the daemon, across `systemctl restart`.

use crate::{
    restart::machine,
    support::{Machine, PATIENCE, Talk, Tunnel, example, get, wait_until},
};

const PUBLIC: &str = "127.0.0.1:9090";

/// A machine with an application behind the daemon.
fn machine_with_application() -> Option<Machine> {
    let machine = machine()?;
    machine.copy_in(example("application"), "/usr/local/bin/application");
    machine
        .sh("systemd-run --unit=app /usr/local/bin/application unix:/run/app.sock /run/executed")
        .ok();
    wait_until("the application listens", PATIENCE, || {
        machine.sh("test -S /run/app.sock && chmod 0666 /run/app.sock").code == 0
    });
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/proxy.conf",
        "[Service]\nEnvironment=LOCKSTEPD_PUBLIC_PROXY=unix:/run/app.sock\n",
    );
    machine.systemctl(&["daemon-reload"]).ok();
    Some(machine)
}

#[test]
fn tunnels_outlive_restarts_and_every_byte_arrives_once_and_in_its_place() {
    let Some(machine) = machine_with_application() else { return };
    machine.in_network(|| {
        let mut quiet = Tunnel::open(PUBLIC);
        quiet.send(1000);
        let tunnels = (0..8).map(|_| Tunnel::open(PUBLIC)).collect();
        Talk::during(tunnels, |talk| {
            for _ in 0..10 {
                talk.goes_on();
                machine.systemctl(&["restart", "lockstepd"]).ok();
            }
            talk.goes_on();
        });
        let status = get("127.0.0.1:9091", "/status").body;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["hand_over"]["connections"], 9, "{status}");
        quiet.receive();
        quiet.end();
    });
}

#[test]
fn a_stop_ends_tunnels_in_order_and_does_not_wait_for_them() {
    let Some(machine) = machine_with_application() else { return };
    machine.in_network(|| {
        let mut tunnel = Tunnel::open(PUBLIC);
        machine
            .systemctl(&["stop", "lockstepd.socket", "lockstepd-admin.socket", "lockstepd"])
            .ok();
        assert!(tunnel.is_ended());
    });
    machine.assert_properties("lockstepd", &[("Result", "success")]);
}
