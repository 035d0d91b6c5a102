//! What the other tests rely on: that a machine is a real system, and shut off.

mod answers;
mod lifetime;

use std::{
    fs,
    io::{ErrorKind, Read},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    panic::catch_unwind,
};

use crate::support::{Machine, message};

const GREETER_SOCKET: &str = "[Socket]\nListenStream=9090\nAccept=yes\n";

/// Takes its connections from the socket unit, and may do as little else as systemd can enforce.
const GREETER: &str = "[Service]
ExecStart=echo -n hello from %m
StandardInput=socket
CapabilityBoundingSet=
DynamicUser=yes
IPAddressDeny=any
MemoryDenyWriteExecute=yes
PrivateDevices=yes
PrivateNetwork=yes
PrivateUsers=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RuntimeDirectory=greeter
StateDirectory=greeter
SystemCallFilter=@system-service
";

#[test]
fn a_machine_boots_to_running() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    assert_eq!(machine.run("systemctl", &["is-system-running"]).ok(), "running\n");
    assert_eq!(machine.read("/proc/1/comm"), "systemd\n");
    assert!(machine.systemd_version() >= 249);
    assert_eq!(machine.sh("systemctl --failed --plain --no-legend").ok(), "");
    assert!(machine.run("systemctl", &["status"]).ok().contains("State: running"));
}

#[test]
fn two_machines_run_side_by_side() {
    let (Some(one), Some(other)) = (Machine::boot(), Machine::boot()) else {
        return;
    };
    let greetings = [&one, &other].map(|machine| {
        start_greeter(machine);
        machine.in_network(greeting)
    });
    assert_ne!(greetings[0], greetings[1]);
    drop(one);
    assert_eq!(other.in_network(greeting), greetings[1]);
}

#[test]
fn a_service_with_neither_network_nor_user_serves_an_inherited_socket() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    start_greeter(&machine);
    let identity = machine.read("/etc/machine-id");
    assert_eq!(machine.in_network(greeting), format!("hello from {}", identity.trim()));
}

#[test]
fn a_reload_of_the_manager_goes_without_a_warning() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    machine.run("systemctl", &["daemon-reload"]).ok();
    let warnings = machine.journal(&["--priority=warning"]);
    let warnings: Vec<_> = warnings.iter().map(message).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn exposure_can_be_analysed() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    start_greeter(&machine);
    let analysis = machine.run("systemd-analyze", &["security", "greeter@1.service"]).ok();
    assert!(analysis.contains("Overall exposure level for greeter@1.service"), "{analysis}");
}

#[test]
fn a_unit_enabled_before_the_boot_is_started_by_it() {
    let machine = Machine::boot_with(|root| {
        let unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n";
        root.write("/etc/systemd/system/early.service", unit);
        root.link("../early.service", "/etc/systemd/system/multi-user.target.wants/early.service");
    });
    let Some(machine) = machine else { return };
    assert_eq!(machine.property("early.service", "ActiveState"), "active");
}

#[test]
fn a_boot_that_leaves_a_failed_unit_is_refused() {
    let boot = || {
        Machine::boot_with(|root| {
            let unit = "[Service]\nType=oneshot\nExecStart=false\n";
            root.write("/etc/systemd/system/broken.service", unit);
            root.link(
                "../broken.service",
                "/etc/systemd/system/multi-user.target.wants/broken.service",
            );
        })
        .is_some()
    };
    let message = match catch_unwind(boot) {
        Ok(booted) => return assert!(!booted, "a machine with a failed unit was taken for sound"),
        Err(panic) => *panic.downcast::<String>().expect("a formatted message"),
    };
    assert!(message.contains("degraded") && message.contains("broken.service"), "{message}");
}

#[test]
fn what_is_done_inside_stays_inside() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let file = format!("/etc/lockstepd-harness-{}", machine.keeper_pid());
    machine.sh(&format!("echo inside >{file}; rm /etc/passwd; touch /dev/leak /tmp/leak")).ok();
    assert!(!fs::exists(&file).unwrap() && fs::exists("/etc/passwd").unwrap());
    assert!(!fs::exists("/dev/leak").unwrap() && !fs::exists("/tmp/leak").unwrap());
    for kernel in ["/proc/sys/kernel/domainname", "/sys/kernel/uevent_seqnum"] {
        assert_ne!(machine.sh(&format!("test -w {kernel}")).code, 0, "{kernel} can be written");
    }
    assert_ne!(machine.sh("echo x >/usr/src/lockstepd/target/release/lockstepd").code, 0);
}

#[test]
fn nothing_is_reachable_from_inside_but_itself() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let interfaces = machine.sh("sed -n 's/^ *\\([^ ]*\\):.*/\\1/p' /proc/net/dev").ok();
    assert_eq!(interfaces, "lo\n");
    let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = outside.local_addr().unwrap();
    let refused = machine.in_network(|| TcpStream::connect(address).unwrap_err());
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // The same port is free inside, and what listens there is what is reached.
    machine.in_network(|| {
        let inside = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(address).unwrap();
        assert_eq!(inside.accept().unwrap().1, client.local_addr().unwrap());
    });
}

#[test]
fn the_installed_daemon_is_the_one_just_built() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    machine.install();
    let built = "/usr/src/lockstepd/target/release/lockstepd";
    let compare = format!("cmp {built} \"$(command -v lockstepd)\"");
    machine.sh(&compare).ok();
}

#[test]
fn unix_sockets_inside_can_be_connected_from_outside() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let socket = GREETER_SOCKET.replace("9090", "/run/greeter.sock");
    machine.write("/etc/systemd/system/greeter.socket", socket);
    machine.write("/etc/systemd/system/greeter@.service", GREETER);
    machine.sh("systemctl daemon-reload; systemctl start greeter.socket").ok();
    let path = machine.root().outside("/run/greeter.sock");
    let mut greeting = String::new();
    let mut stream = UnixStream::connect(path).unwrap();
    stream.read_to_string(&mut greeting).unwrap();
    assert!(greeting.starts_with("hello from "), "{greeting}");
}

fn start_greeter(machine: &Machine) {
    machine.write("/etc/systemd/system/greeter.socket", GREETER_SOCKET);
    machine.write("/etc/systemd/system/greeter@.service", GREETER);
    machine.sh("systemctl daemon-reload; systemctl start greeter.socket").ok();
}

fn greeting() -> String {
    let mut greeting = String::new();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 9090)).unwrap();
    stream.read_to_string(&mut greeting).unwrap();
    greeting
}
