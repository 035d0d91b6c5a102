//! An address that is not there yet at boot, and one that never comes.

use crate::{
    restart::machine,
    support::{Client, Machine, PATIENCE, message, wait_until},
};

const LATE: &str = "10.99.0.1";

/// A service that binds this address by itself, and a command that gives it to the machine.
fn binding(address: &str, lines: &str) -> Option<Machine> {
    let machine = machine()?;
    machine.write(
        "/etc/lockstepd/lockstepd.toml",
        format!("[public]\nlisten = [\"{address}:9090\"]\n"),
    );
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/test.conf",
        format!("[Service]\n{lines}\n"),
    );
    machine
        .sh("systemctl stop lockstepd.socket lockstepd-admin.socket lockstepd
        drop_ins=/usr/local/share/doc/lockstepd/drop-ins
        cp $drop_ins/no-sockets.conf /etc/systemd/system/lockstepd.service.d/
        systemctl mask lockstepd.socket lockstepd-admin.socket
        systemctl daemon-reload")
        .ok();
    Some(machine)
}

/// Waits until STATUS tells of an address that is waited for, with so many seconds left at most.
#[track_caller]
fn wait_for_status(machine: &Machine, seconds: u32) {
    wait_until("STATUS tells what is waited for", PATIENCE, || {
        let status = machine.property("lockstepd", "StatusText");
        let left = status.strip_prefix("Waiting for ").and_then(|rest| rest.split(' ').next());
        left.and_then(|left| left.parse::<u32>().ok()).is_some_and(|left| left <= seconds)
            && status.contains(&format!("cannot bind {LATE}:9090 for \"public\""))
            && status.contains("no interface of this machine has that address")
    });
}

#[track_caller]
fn assert_started_once(machine: &Machine) {
    machine.wait_for_state("lockstepd", "active");
    machine.assert_properties("lockstepd", &[("NRestarts", "0"), ("Result", "success")]);
    let answer = machine.get(&format!("http://{LATE}:9090/any"));
    assert_eq!(answer, "Hello, Serve is running...\n");
}

#[test]
fn an_address_that_comes_after_the_start_is_bound_and_the_start_succeeds() {
    let Some(machine) = binding(LATE, "") else { return };
    machine.systemctl(&["start", "--no-block", "lockstepd"]).ok();
    // Two seconds later.
    wait_for_status(&machine, 28);
    machine.assert_properties("lockstepd", &[("ActiveState", "activating")]);
    machine.run("ip", &["address", "add", &format!("{LATE}/32"), "dev", "lo"]).ok();
    assert_started_once(&machine);
    let log = machine.journal(&["--unit=lockstepd"]);
    let said = |text| log.iter().filter(|entry| message(entry).starts_with(text)).count();
    assert_eq!(said("cannot bind an address yet, and try again"), 1);
    assert_eq!(said("bound an address that was waited for"), 1);
}

#[test]
fn a_short_start_time_out_is_stretched_meanwhile() {
    let Some(machine) = binding(LATE, "TimeoutStartSec=2s") else { return };
    machine.systemctl(&["start", "--no-block", "lockstepd"]).ok();
    wait_for_status(&machine, 25);
    machine.run("ip", &["address", "add", &format!("{LATE}/32"), "dev", "lo"]).ok();
    assert_started_once(&machine);
}

#[test]
fn a_stop_while_an_address_is_waited_for_is_clean() {
    let Some(machine) = binding(LATE, "") else { return };
    machine.systemctl(&["start", "--no-block", "lockstepd"]).ok();
    wait_for_status(&machine, 30);
    machine.systemctl(&["stop", "lockstepd"]).ok();
    machine.assert_properties(
        "lockstepd",
        &[("ActiveState", "inactive"), ("Result", "success"), ("ExecMainStatus", "0")],
    );
}

#[test]
fn connections_outlive_a_start_that_waits_for_an_address_and_is_ended() {
    let Some(machine) = binding("127.0.0.1", "") else { return };
    machine.systemctl(&["start", "lockstepd"]).ok();
    let listens = |addresses: &str| {
        let text = format!("[public]\nlisten = [{addresses}]\n");
        machine.write("/etc/lockstepd/lockstepd.toml", text);
    };
    machine.in_network(|| {
        let mut clients = [(); 9].map(|()| Client::connect("127.0.0.1:9090"));
        for client in &mut clients {
            assert_eq!(client.request("GET", "/").status, 200);
        }
        listens(&format!("\"127.0.0.1:9090\", \"{LATE}:9090\""));
        machine.systemctl(&["restart", "--no-block", "lockstepd"]).ok();
        wait_for_status(&machine, 30);
        listens("\"127.0.0.1:9090\"");
        machine.systemctl(&["restart", "lockstepd"]).ok();
        for client in &mut clients {
            assert_eq!(client.request("GET", "/").status, 200);
        }
    });
}

#[test]
fn an_address_that_does_not_come_in_time_is_waited_for_anew() {
    let Some(machine) = binding(LATE, "") else { return };
    machine.systemctl(&["start", "--no-block", "lockstepd"]).ok();
    wait_until("the service is started again", PATIENCE, || {
        machine.property("lockstepd", "NRestarts") == "1"
    });
    let log = machine.journal(&["--unit=lockstepd"]);
    let log: Vec<_> = log.iter().map(message).collect();
    assert!(log.iter().any(|line| line.contains("status=1/FAILURE")), "{log:?}");
    wait_for_status(&machine, 30);
    machine.run("ip", &["address", "add", &format!("{LATE}/32"), "dev", "lo"]).ok();
    machine.wait_for_state("lockstepd", "active");
}

#[test]
fn an_ipv6_address_of_an_interface_that_comes_later_is_waited_for() {
    let Some(machine) = binding("[fe80::99%77]", "") else { return };
    machine.systemctl(&["start", "--no-block", "lockstepd"]).ok();
    wait_until("STATUS tells what is waited for", PATIENCE, || {
        machine.property("lockstepd", "StatusText").starts_with("Waiting for ")
    });
    // The address is tentative at first: the kernel asks whether somebody else has it.
    machine
        .sh("ip link add late index 77 type veth peer name other
        ip link set other up
        ip link set late up
        ip address add fe80::99/64 dev late")
        .ok();
    machine.wait_for_state("lockstepd", "active");
}

/// Gives the machine an interface with a link-local address of its own.
fn add_interface(machine: &Machine) {
    machine
        .sh("ip link add late type veth peer name other
        ip link set other up
        ip link set late up
        ip address add fe80::99/64 dev late nodad")
        .ok();
}

#[test]
fn an_interface_that_is_named_is_waited_for_and_keeps_its_name_over_restarts() {
    let Some(machine) = binding("[fe80::99%late]", "") else { return };
    machine.systemctl(&["start", "--no-block", "lockstepd"]).ok();
    wait_until("STATUS tells what is waited for", PATIENCE, || {
        let status = machine.property("lockstepd", "StatusText");
        status.starts_with("Waiting for ") && status.contains("what stands after %, see ip link")
    });
    add_interface(&machine);
    machine.wait_for_state("lockstepd", "active");
    for _ in 0..2 {
        let status = machine.property("lockstepd", "StatusText");
        assert!(status.contains("public on [fe80::99%late]:9090, "), "{status}");
        let answer = machine.get("http://[fe80::99%25late]:9090/any");
        assert_eq!(answer, "Hello, Serve is running...\n");
        machine.systemctl(&["restart", "lockstepd"]).ok();
    }
    let closed = |entry: &_| message(entry).starts_with("closing a listener");
    assert!(!machine.journal(&["--unit=lockstepd"]).iter().any(closed));
}

#[test]
fn a_socket_units_zone_is_shown_by_name_inside_of_the_sandbox() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    add_interface(&machine);
    for (unit, port) in [("lockstepd", 9090), ("lockstepd-admin", 9091)] {
        machine.write(
            &format!("/etc/systemd/system/{unit}.socket.d/zone.conf"),
            format!("[Socket]\nListenStream=\nListenStream=[fe80::99]:{port}%%late\n"),
        );
    }
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "lockstepd"]).ok();
    let status = machine.property("lockstepd", "StatusText");
    let expected = "public on [fe80::99%late]:9090, admin on [fe80::99%late]:9091";
    assert!(status.contains(expected), "{status}");
    for host in ["[fe80::99]:9091", "[fe80::99%late]:9091", "[fe80::99%25late]"] {
        let url = "http://[fe80::99%25late]:9091/live";
        let header = format!("Host: {host}");
        let curl = ["-sS", "--fail", "-g", "-H", &header, url];
        assert_eq!(machine.run("curl", &curl).ok(), "live\n", "{host}");
    }
}
