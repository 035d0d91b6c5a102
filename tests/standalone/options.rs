//! What is set on TCP connections, as the daemon's own sockets show it.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use rustix::process::Signal;
use socket2::SockRef;

use crate::support::{Client, Daemon, Launch, Options, options};

const DEFAULT: Options = Options {
    no_delay: true,
    not_sent_low_water: 128 << 10,
    keepalive: Some((Duration::from_secs(15), Duration::from_secs(15), 9)),
    user_timeout_ms: 150_000,
};

fn every(seconds: u64, user_timeout_ms: u32) -> Options {
    let time = Duration::from_secs(seconds);
    Options { keepalive: Some((time, time, 9)), user_timeout_ms, ..DEFAULT }
}

fn never() -> Options {
    Options { keepalive: None, user_timeout_ms: 0, ..DEFAULT }
}

/// What the daemon has set on the connection of a client, once it has answered it.
#[track_caller]
fn options_of(daemon: &Daemon, client: &mut Client) -> Options {
    assert_eq!(client.request("GET", "/live").status, 200);
    options(daemon.pid(), client.local_address())
}

#[test]
fn who_connected_before_the_start_has_what_everybody_has() {
    let public = TcpListener::bind(format!("{}:0", Launch::address())).unwrap();
    let address = public.local_addr().unwrap().to_string();
    let mut early: Vec<_> = (0..3).map(|_| Client::connect(&address)).collect();
    let admin = format!("{}:0", Launch::address());
    let launch = Launch::bare().args(["--admin", &admin, "--log-format", "json"]);
    let daemon = launch.inherit("public", public).start();
    for client in &mut early {
        assert_eq!(options_of(&daemon, client), DEFAULT);
    }
    for _ in 0..3 {
        assert_eq!(options_of(&daemon, &mut Client::connect(&address)), DEFAULT);
    }
}

#[test]
fn everybody_has_it_on_a_port_of_our_own() {
    let mut daemon = Launch::daemon().start();
    for address in [daemon.public(), daemon.admin()] {
        for _ in 0..3 {
            assert_eq!(options_of(&daemon, &mut Client::connect(&address)), DEFAULT);
        }
    }
}

#[test]
fn what_is_set_follows_the_configuration() {
    for (keepalive, write_timeout, expected) in [
        ("7s", "30s", every(7, 70_000)),
        ("1ms", "30s", every(1, 30_000)),
        ("15s", "10m", every(15, 600_000)),
        ("1000days", "30s", every(32_767, 327_670_000)),
        ("0s", "30s", never()),
    ] {
        let settings = ["--tcp-keepalive", keepalive, "--write-timeout", write_timeout];
        let mut daemon = Launch::daemon().args(settings).start();
        let mut client = Client::connect(&daemon.public());
        assert_eq!(options_of(&daemon, &mut client), expected, "{keepalive} {write_timeout}");
    }
}

#[test]
fn none_is_asked_for_on_a_socket_that_was_passed_with_it() {
    let public = TcpListener::bind(format!("{}:0", Launch::address())).unwrap();
    SockRef::from(&public).set_keepalive(true).unwrap();
    let address = public.local_addr().unwrap().to_string();
    let mut early = Client::connect(&address);
    let admin = format!("{}:0", Launch::address());
    let launch = Launch::bare().args(["--admin", &admin, "--log-format", "json"]);
    let daemon = launch.args(["--tcp-keepalive", "0s"]).inherit("public", public).start();
    assert_eq!(options_of(&daemon, &mut early), never());
    assert_eq!(options_of(&daemon, &mut Client::connect(&address)), never());
}

/// Starts a daemon that has its keep-alive time from a file, and answers how to write another.
fn configured(time: &str) -> (Daemon, impl Fn(&str)) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lockstepd.toml");
    let flags = ["--config".into(), file.clone().into_os_string()];
    let write = move |time: &str| {
        let text = format!("[limits]\ntcp_keepalive = \"{time}\"\n");
        fs::write(directory.path().join("lockstepd.toml"), text).unwrap();
    };
    write(time);
    (Launch::daemon().args(flags).start(), write)
}

#[test]
fn a_reload_changes_it_for_those_who_come_after_it() {
    let (mut daemon, write) = configured("15s");
    let public = daemon.public();
    let mut before = Client::connect(&public);
    assert_eq!(options_of(&daemon, &mut before), DEFAULT);
    write("7s");
    daemon.signal(Signal::HUP);
    daemon.event("reloaded");
    assert_eq!(options_of(&daemon, &mut Client::connect(&public)), every(7, 70_000));
    assert_eq!(options_of(&daemon, &mut before), DEFAULT);
}

#[test]
fn a_connection_that_is_taken_over_gets_what_the_new_program_has() {
    for (old, new, expected) in [
        ("0s", "7s", every(7, 70_000)),
        ("9s", "7s", every(7, 70_000)),
        // Of both the kernel has the same patience, that of the limits.
        ("3s", "2s", every(2, 30_000)),
        ("7s", "0s", never()),
        ("7s", "7s", every(7, 70_000)),
    ] {
        let (mut daemon, write) = configured(old);
        let mut client = Client::connect(&daemon.public());
        options_of(&daemon, &mut client);
        write(new);
        daemon.signal(Signal::USR2);
        daemon.event("took connections over");
        assert_eq!(options_of(&daemon, &mut client), expected, "{old} {new}");
    }
}

#[test]
fn a_unix_socket_has_none_of_it_and_serves() {
    let directory = tempfile::tempdir().unwrap();
    let unix = |name: &str| format!("unix:{}", directory.path().join(name).display());
    let mut daemon = Launch::on(&unix("public"), &unix("admin")).start();
    assert_eq!(daemon.get_public("/").status, 200);
    daemon.stop().assert(0, &[]);
}

/// What the other tests rely on: that what they look at tells one from the other.
#[test]
fn without_anybodys_doing_a_connection_has_nothing_of_it() {
    let listener = TcpListener::bind(format!("{}:0", Launch::address())).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_server, peer): (_, SocketAddr) = listener.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    let plain = options(std::process::id(), peer);
    assert!(!plain.no_delay && plain.keepalive.is_none(), "{plain:?}");
}
