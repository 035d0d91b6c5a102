//! Every way out, and its exit code.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::support::{Client, Launch, Manager, get};

#[test]
fn a_requested_stop_gets_its_whole_answer_and_exits_0() {
    let mut daemon = Launch::daemon().start();
    let response = daemon.get_admin("/listener?stop=ss");
    assert_eq!((response.status, response.body.as_str()), (200, "Hello, I am is listener!!\n"));
    let ended = daemon.end();
    ended.assert(0, &[]);
    assert_eq!(ended.event("stopping")["cause"], "stop requested: ss");
    assert_eq!(ended.event("stopped")["exit_code"], 0);
}

#[test]
fn both_ports_are_free_after_the_end() {
    let mut daemon = Launch::daemon().start();
    let addresses = [daemon.public(), daemon.admin()];
    daemon.get_admin("/listener?stop=ss");
    daemon.end().assert(0, &[]);
    for address in addresses {
        assert!(Client::try_connect(&address).is_err(), "{address} still answers");
        TcpListener::bind(address).unwrap();
    }
}

#[test]
fn a_stop_without_a_reason_is_a_stop() {
    let mut daemon = Launch::daemon().start();
    daemon.get_admin("/listener?stop=");
    let ended = daemon.end();
    ended.assert(0, &[]);
    assert_eq!(ended.event("stopping")["cause"], "stop requested");
}

#[test]
fn the_reason_is_decoded_and_cannot_forge_a_line_of_the_log() {
    let mut daemon = Launch::daemon().start();
    daemon.get_admin("/listener?stop=disk%20full%0Aforged%1B%5B31m");
    let ended = daemon.end();
    assert_eq!(ended.event("stopping")["cause"], "stop requested: disk full forged [31m");
}

#[test]
fn the_reason_cannot_forge_a_line_of_the_human_log_either() {
    let manager = Manager::new();
    let directory = tempfile::tempdir().unwrap();
    let [public, admin] =
        ["public", "admin"].map(|name| format!("unix:{}/{name}", directory.path().display()));
    let daemon =
        Launch::bare().args(["--public", &public, "--admin", &admin]).notify(&manager).spawn();
    manager.next();
    get(&admin, "/listener?stop=a%0Aforged%1B[31m");
    let ended = daemon.end();
    ended.assert(0, &["stop requested: a forged"]);
    assert!(!ended.log.iter().any(|line| line.starts_with("forged")), "{}", ended.text());
    assert!(!ended.text().contains('\u{1b}'), "{}", ended.text());
}

#[test]
fn a_requested_failure_exits_1_and_names_admin_and_reason() {
    let mut daemon = Launch::daemon().start();
    let response = daemon.get_admin("/listener?fail=x");
    assert_eq!((response.status, response.body.as_str()), (200, "Hello, I am is listener!!\n"));
    let ended = daemon.end();
    ended.assert(1, &[]);
    let stopping = ended.event("stopping");
    assert_eq!(stopping["level"], "ERROR");
    assert_eq!(stopping["member"], "admin");
    assert_eq!(stopping["cause"], "admin failed: x");
    assert_eq!(ended.event("stopped")["exit_code"], 1);
}

#[test]
fn the_first_cause_decides() {
    let mut daemon = Launch::daemon().args(["--linger", "10m", "--drain-timeout", "10m"]).start();
    let mut client = Client::connect(&daemon.admin());
    client.request("GET", "/live");
    let mut slow = Client::connect(&daemon.public());
    slow.send("GET / HTTP/1.1\r\n");
    daemon.get_admin("/listener?fail=first");
    daemon.event("stopping");
    // The admin server has failed as a member, yet answers until the others are done.
    assert_eq!(client.request("GET", "/listener?stop=second").status, 200);
    drop((slow, client));
    let ended = daemon.end();
    ended.assert(1, &[]);
    assert_eq!(ended.event("stopped")["cause"], "admin failed: first");
}

#[test]
fn sigterm_exits_0() {
    let ended = Launch::daemon().start().stop();
    ended.assert(0, &[]);
    assert_eq!(ended.event("stopping")["cause"], "SIGTERM");
}

#[test]
fn sigint_exits_0() {
    let daemon = Launch::daemon().start();
    daemon.signal(Signal::INT);
    let ended = daemon.end();
    ended.assert(0, &[]);
    assert_eq!(ended.event("stopping")["cause"], "SIGINT");
}

#[test]
fn a_taken_port_exits_1_and_tells_which_and_what_to_do() {
    for server in ["public", "admin"] {
        let taken = TcpListener::bind(format!("{}:0", Launch::address())).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let other = if server == "public" { "--admin" } else { "--public" };
        let ended = Launch::bare()
            .args([&format!("--{server}"), &address, other, &format!("{}:0", Launch::address())])
            .end();
        let sentence = format!("cannot bind {address} for \"{server}\"");
        ended.assert(1, &[&sentence, "stop whoever listens there", "choose another address"]);
        assert_eq!(ended.text().matches(&address).count(), 1, "{}", ended.text());
    }
}

#[test]
fn an_address_of_no_interface_exits_1_and_says_so() {
    let ended = Launch::bare().args(["--public", "192.0.2.1:0", "--admin", "127.0.0.1:0"]).end();
    ended.assert(1, &["cannot bind 192.0.2.1:0 for \"public\"", "no interface"]);
}

#[test]
fn a_failed_start_leaves_no_port_open() {
    let taken = TcpListener::bind(format!("{}:0", Launch::address())).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let socket = tempfile::tempdir().unwrap();
    let path = socket.path().join("public.sock");
    let public = format!("unix:{}", path.display());
    Launch::bare().args(["--public", &public, "--admin", &address]).end().assert(1, &[&address]);
    assert!(!path.exists(), "the public server's socket file is left");
}

#[test]
fn a_hangup_does_not_end_it() {
    let mut daemon = Launch::daemon().start();
    daemon.signal(Signal::HUP);
    assert_eq!(daemon.get_public("/").status, 200);
    daemon.stop().assert(0, &[]);
}
