//! A listener of the program's own, and what it has accepted.

use std::{net::TcpListener, process::Command};

use rustix::process::Signal;

use super::{
    Daemon,
    support::{Client, PATIENCE, example, get, wait_until},
};

/// The program, and the address of its own listener.
fn start(kind: &str, drain_timeout: &str) -> (Daemon, String) {
    // A port that was free a moment ago.
    let own = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let binary = example("own_listener");
    let mut command = Command::new(&binary);
    command.args([kind, &own, "127.0.0.1:0", "127.0.0.1:0", drain_timeout]);
    let daemon = Daemon::of(command, binary, tempfile::tempdir().unwrap());
    wait_for_listener(&own);
    (daemon, own)
}

fn wait_for_listener(own: &str) {
    wait_until("it is bound", PATIENCE, || Client::try_connect(own).is_ok());
}

#[test]
fn a_socket_that_a_listener_of_its_own_has_accepted_goes_to_the_next_program() {
    let (mut daemon, own) = start("socket", "60s");
    let mut client = Client::connect(&own);
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/").body, "0\n");
        daemon.upgrade();
    }
    assert_eq!(client.request("GET", "/").body, "0\n");
    wait_for_listener(&own);
    assert_eq!(get(&own, "/").body, "0\n");
}

#[test]
fn new_clients_of_a_listener_of_its_own_are_served_while_an_upgrade_waits_for_a_request() {
    let (mut daemon, own) = start("socket", "60s");
    let mut busy = Client::half_a_request(&own, "/");
    daemon.signal(Signal::USR2);
    daemon.wait_for("serving on until requests in flight are done");
    for _ in 0..10 {
        assert_eq!(get(&own, "/").body, "0\n");
    }
    busy.send("half");
    assert_eq!(busy.response("POST").body, "8\n");
    daemon.wait_for("ready");
    assert_eq!(busy.request("GET", "/").body, "0\n");
}

#[test]
fn a_stream_ends_in_order_before_an_upgrade_while_others_are_served() {
    let (mut daemon, own) = start("stream", "60s");
    let public = daemon.public.to_string();
    let mut kept = Client::connect(&public);
    assert_eq!(kept.request("GET", "/").body, "0\n");
    let mut idle = Client::connect(&own);
    assert_eq!(idle.request("GET", "/").body, "0\n");
    let mut busy = Client::half_a_request(&own, "/");

    daemon.signal(Signal::USR2);
    wait_until("it is told to close", PATIENCE, || {
        idle.request("GET", "/").header("connection") == Some("close")
    });
    assert!(idle.is_closed());
    // Whoever comes now, too, while a request is in flight.
    for _ in 0..3 {
        let answer = Client::connect(&own).request("GET", "/");
        assert_eq!((&*answer.body, answer.header("connection")), ("0\n", Some("close")));
        assert_eq!(kept.request("GET", "/").body, "0\n");
        assert_eq!(get(&public, "/").body, "0\n");
    }
    busy.send("half");
    let answer = busy.response("POST");
    assert_eq!((&*answer.body, answer.header("connection")), ("8\n", Some("close")));
    assert!(busy.is_closed());

    daemon.wait_for("ready");
    assert_eq!(kept.request("GET", "/").body, "0\n");
    wait_for_listener(&own);
    assert_eq!(get(&own, "/").body, "0\n");
}

#[test]
fn after_an_upgrade_that_failed_a_listener_of_its_own_goes_on() {
    let (mut daemon, own) = start("stream", "3s");
    let mut idle = Client::connect(&own);
    assert_eq!(idle.request("GET", "/").body, "0\n");
    let public = daemon.public.to_string();
    // A request that does not end: nothing can be handed over.
    let _busy = Client::half_a_request(&public, "/");
    daemon.signal(Signal::USR2);
    let event = daemon.wait_for_one_of(&["ready", "not upgraded"]);
    assert_eq!(event["message"], "not upgraded", "{event}");
    assert!(idle.is_closed(), "the last of them are closed when everything is to be held");
    let mut client = Client::connect(&own);
    for _ in 0..2 {
        let answer = client.request("GET", "/");
        assert_eq!((&*answer.body, answer.header("connection")), ("0\n", None));
    }
}
