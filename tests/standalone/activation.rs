//! Started by `systemd-socket-activate`, which needs no systemd as PID 1.

use std::process::{Command, Stdio};

use crate::support::{BINARY, Client, Daemon, Launch, get, skip};

#[test]
fn the_first_client_starts_the_daemon_on_two_named_sockets() {
    if !has_socket_activate() {
        return;
    }
    let sockets = Sockets::choose(2);
    let mut daemon = sockets.activate(&["--fdname=public:admin"], &[]);
    let mut first = sockets.first_client();
    daemon.event("ready");
    assert_eq!(first.request("GET", "/any").body, "Hello, Serve is running...\n");
    assert_eq!(daemon.addresses("public"), [sockets.addresses[0].clone()]);
    assert_eq!(daemon.get_admin("/listener").body, "Hello, I am is listener!!\n");
    daemon.get_admin("/listener?stop=ss");
    drop(first);
    daemon.end().assert(0, &[]);
}

#[test]
fn several_sockets_of_one_name_are_activated_together() {
    if !has_socket_activate() {
        return;
    }
    let sockets = Sockets::choose(3);
    let mut daemon = sockets.activate(&["--fdname=public:admin:public"], &[]);
    drop(sockets.first_client());
    let public = daemon.addresses("public");
    assert_eq!(public, [sockets.addresses[0].clone(), sockets.addresses[2].clone()]);
    for address in public {
        assert_eq!(get(&address, "/").status, 200);
    }
}

#[test]
fn one_activated_and_one_bound_serve_together() {
    if !has_socket_activate() {
        return;
    }
    let sockets = Sockets::choose(1);
    let admin = format!("{}:0", Launch::address());
    let mut daemon = sockets.activate(&["--fdname=public"], &["--admin", &admin]);
    drop(sockets.first_client());
    assert_eq!(daemon.get_public("/").status, 200);
    assert_eq!(daemon.get_admin("/live").status, 200);
}

#[test]
fn without_names_the_sockets_are_for_the_one_server_without_an_address() {
    if !has_socket_activate() {
        return;
    }
    let sockets = Sockets::choose(1);
    let admin = format!("{}:0", Launch::address());
    let mut daemon = sockets.activate(&[], &["--admin", &admin]);
    let mut first = sockets.first_client();
    assert_eq!(first.request("GET", "/any").body, "Hello, Serve is running...\n");
    assert_eq!(daemon.public(), sockets.addresses[0]);
    assert_eq!(daemon.get_admin("/live").status, 200);
}

#[test]
fn without_names_two_servers_end_the_start_with_78() {
    if !has_socket_activate() {
        return;
    }
    let sockets = Sockets::choose(2);
    let daemon = sockets.activate(&[], &[]);
    let _first = sockets.first_client();
    daemon.end().assert(78, &["LISTEN_FDNAMES is missing", "--fdname="]);
}

#[test]
fn a_forgotten_name_ends_the_start_with_78() {
    if !has_socket_activate() {
        return;
    }
    let sockets = Sockets::choose(2);
    let daemon = sockets.activate(&["--fdname=public:unknown"], &[]);
    let _first = sockets.first_client();
    daemon
        .end()
        .assert(78, &["no inherited socket is named \"admin\"", "FileDescriptorName=admin"]);
}

#[test]
fn a_connection_instead_of_a_listener_ends_the_start_with_78() {
    if !has_socket_activate() {
        return;
    }
    // As with Accept=yes: the connection is passed, under the name of the listener or none.
    let sockets = Sockets::choose(1);
    let admin = format!("{}:0", Launch::address());
    let mut daemon = sockets.activate(&["--accept", "--fdname=public"], &["--admin", &admin]);
    let _first = sockets.first_client();
    daemon.line("the sentence that tells the line", |line| {
        line.contains("does not listen") && line.contains("Accept=no")
    });
}

/// Sockets that `systemd-socket-activate` opens.
struct Sockets {
    addresses: Vec<String>,
}

impl Sockets {
    fn choose(count: usize) -> Self {
        Self { addresses: (0..count).map(|_| Launch::free_address()).collect() }
    }

    /// Opens the sockets.
    fn activate(&self, options: &[&str], arguments: &[&str]) -> Daemon {
        let mut launch = Launch::program("systemd-socket-activate").args(options);
        for address in &self.addresses {
            launch = launch.args(["--listen", address]);
        }
        // It passes no variables on but those it is told.
        let config = ["--setenv=LOCKSTEPD_CONFIG=/dev/null"];
        let log = ["--log-format", "json"];
        let mut activate = launch.args(config).args([BINARY]).args(log).args(arguments).spawn();
        for address in &self.addresses {
            let listening = format!("Listening on {address} ");
            activate.line(&listening, |line| line.starts_with(&listening));
        }
        activate
    }

    /// Connects, which starts the daemon.
    fn first_client(&self) -> Client {
        Client::connect(&self.addresses[0])
    }
}

fn has_socket_activate() -> bool {
    let version = Command::new("systemd-socket-activate")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let is_there = version.is_ok_and(|status| status.success());
    if !is_there {
        skip("no systemd-socket-activate");
    }
    is_there
}
