//! An address that cannot be bound yet is waited for, where a service manager is told.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::support::{Client, Daemon, Launch, Manager};

/// A daemon whose public port is somebody's, and what it is told it waits for.
fn waiting(manager: &Manager) -> (Daemon, TcpListener, String) {
    let taken = TcpListener::bind(format!("{}:0", Launch::address())).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let admin = format!("{}:0", Launch::address());
    let mut daemon = Launch::on(&address, &admin).notify(manager).spawn();
    let event = daemon.event("cannot bind an address yet, and try again");
    assert_eq!((&event["level"], &event["server"]), (&"WARN".into(), &"public".into()));
    assert_eq!(event["address"], address);
    (daemon, taken, address)
}

#[test]
fn a_port_is_bound_as_soon_as_who_had_it_has_left() {
    let manager = Manager::new();
    let (mut daemon, taken, address) = waiting(&manager);
    let first = manager.next();
    assert_eq!(first[0], "EXTEND_TIMEOUT_USEC=10000000");
    let status = first[1].strip_prefix("STATUS=Waiting for ").expect("a status");
    assert!(status.contains(&format!("s more: cannot bind {address} for \"public\"")), "{status}");
    drop(taken);
    assert_eq!(daemon.event("bound an address that was waited for")["address"], address);
    daemon.event("ready");
    assert_eq!(Client::connect(&address).request("GET", "/").status, 200);
    let ended = daemon.stop();
    ended.assert(0, &[]);
    assert_eq!(ended.text().matches("cannot bind an address yet").count(), 1);
    let said = manager.rest();
    let ready = said.iter().find(|message| message[0] == "READY=1").expect("it is ready");
    assert!(ready[1].starts_with("STATUS=Serving public on "), "{ready:?}");
}

#[test]
fn a_signal_ends_the_waiting_and_is_no_failure() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let manager = Manager::new();
        let (daemon, _taken, _) = waiting(&manager);
        daemon.signal(signal);
        let ended = daemon.end();
        ended.assert(0, &["\"stopped\"", name]);
        let said = manager.rest();
        assert!(said.contains(&vec![format!("STATUS=Stopped: {name}")]), "{said:?}");
    }
}

#[test]
fn other_signals_do_not_end_the_waiting() {
    let manager = Manager::new();
    let (mut daemon, taken, _) = waiting(&manager);
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::USR2);
    drop(taken);
    daemon.event("bound an address that was waited for");
    daemon.event("ready");
    daemon.stop().assert(0, &[]);
}

#[test]
fn who_is_bound_already_serves_the_clients_of_the_meantime() {
    let manager = Manager::new();
    let taken = TcpListener::bind(format!("{}:0", Launch::address())).unwrap();
    let admin = taken.local_addr().unwrap().to_string();
    let public = Launch::free_address();
    let mut daemon = Launch::on(&public, &admin).notify(&manager).spawn();
    daemon.event("cannot bind an address yet, and try again");
    let mut client = Client::connect(&public);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    drop(taken);
    assert_eq!(client.response("GET").status, 200);
}

#[test]
fn a_socket_file_that_somebody_listens_on_is_waited_for_and_left_alone() {
    let manager = Manager::new();
    let directory = tempfile::tempdir().unwrap();
    let unix = |name: &str| format!("unix:{}", directory.path().join(name).display());
    let mut first = Launch::on(&unix("public"), &unix("admin")).start();
    let mut second = Launch::on(&unix("public"), &unix("admin2")).notify(&manager).spawn();
    second.event("cannot bind an address yet, and try again");
    assert_eq!(first.get_public("/").status, 200);
    first.stop().assert(0, &[]);
    second.event("ready");
    assert_eq!(second.get_public("/").status, 200);
}

#[test]
fn what_only_a_person_can_mend_is_not_waited_for() {
    let manager = Manager::new();
    let launch = Launch::bare().args(["--public", "unix:/nowhere/at/all.sock"]).notify(&manager);
    launch.end().assert(78, &["RuntimeDirectory="]);
    let said = manager.rest();
    assert!(!said.iter().flatten().any(|line| line.contains("Waiting for")), "{said:?}");
}

#[test]
fn a_check_waits_for_nothing() {
    let manager = Manager::new();
    let taken = TcpListener::bind(format!("{}:0", Launch::address())).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let launch = Launch::bare().args(["check", "--public", &address]).notify(&manager);
    launch.end().assert(0, &["configuration is valid"]);
    assert!(manager.rest().is_empty());
}
