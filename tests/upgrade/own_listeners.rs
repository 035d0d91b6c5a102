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
fn a_stream_ends_in_order_before_an_upgrade_while_others_are_served() {
    let (mut daemon, own) = start("stream", "60s");
    let public = daemon.public.to_string();
    let mut kept = Client::connect(&public);
    assert_eq!(kept.request("GET", "/").body, "0\n");
    let mut idle = Client::connect(&own);
    assert_eq!(idle.request("GET", "/").body, "0\n");
    let mut busy = Client::half_a_request(&own, "/");

    daemon.signal(Signal::USR2);
    // Once its linger is over.
    assert!(idle.is_closed());
    assert_eq!(kept.request("GET", "/").body, "0\n");
    assert_eq!(get(&public, "/").body, "0\n");
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
    assert!(idle.is_closed());
    let event = daemon.wait_for_one_of(&["ready", "not upgraded"]);
    assert_eq!(event["message"], "not upgraded", "{event}");
    let mut client = Client::connect(&own);
    for _ in 0..2 {
        let answer = client.request("GET", "/");
        assert_eq!((&*answer.body, answer.header("connection")), ("0\n", None));
    }
}
