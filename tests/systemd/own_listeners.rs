//! A listener of the program's own, across `systemctl restart`.

use std::net::SocketAddr;

use crate::{
    examples::{load, machine_with},
    restart::{assert_unnoticed, under_load},
    support::{Client, Load, Machine, PATIENCE, Server, example, wait_until},
};

const OWN: &str = "127.0.0.1:8090";

/// A machine on which the program serves what `kind` says.
fn machine(kind: &str) -> Option<Machine> {
    let sockets = ["public=127.0.0.1:8080", "admin=127.0.0.1:8081"];
    let machine = machine_with("own_listener", &example("own_listener"), &sockets)?;
    machine.sh("mkdir /etc/systemd/system/own_listener.service.d").ok();
    let binary = "/usr/local/bin/own_listener";
    // The sandbox lets no program bind an address.
    let lines = format!(
        "[Service]\nExecStart=\nExecStart={binary} {kind} {OWN} 127.0.0.1:8080 127.0.0.1:8081 20s\n\
         PrivateNetwork=no\nIPAddressDeny=\nRestrictAddressFamilies=AF_INET AF_UNIX\n",
    );
    machine.write("/etc/systemd/system/own_listener.service.d/own.conf", lines);
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "own_listener"]).ok();
    machine.in_network(wait_for_listener);
    Some(machine)
}

fn wait_for_listener() {
    wait_until("it is bound", PATIENCE, || Client::try_connect(OWN).is_ok());
}

#[test]
fn sockets_that_a_listener_of_its_own_has_accepted_outlive_restarts_under_load() {
    let Some(machine) = machine("socket") else { return };
    let own = Server::Tcp(OWN.parse::<SocketAddr>().unwrap());
    let load = Load { server: own, ..load("/") };
    let report = under_load(&machine, &load, |control| {
        for _ in 0..5 {
            let before = control.answers();
            machine.systemctl(&["restart", "own_listener"]).ok();
            wait_until("answers", PATIENCE, || control.answers() > before + 32);
        }
    });
    assert_unnoticed(&report, &load);
    assert_eq!(report.told_to_close, 0, "{report}");
}

#[test]
fn a_stream_ends_in_order_at_a_restart_while_others_are_served_and_go_on() {
    let Some(machine) = machine("stream") else { return };
    machine.in_network(|| {
        let mut kept = Client::connect("127.0.0.1:8080");
        assert_eq!(kept.request("GET", "/").body, "0\n");
        let mut idle = Client::connect(OWN);
        assert_eq!(idle.request("GET", "/").body, "0\n");
        let mut busy = Client::half_a_request(OWN, "/");
        let before = machine.property("own_listener", "MainPID");
        machine.systemctl(&["restart", "--no-block", "own_listener"]).ok();
        wait_until("it is told to close", PATIENCE, || {
            idle.request("GET", "/").header("connection") == Some("close")
        });
        assert!(idle.is_closed());
        assert_eq!(Client::connect(OWN).request("GET", "/").body, "0\n");
        assert_eq!(machine.property("own_listener", "ActiveState"), "deactivating");
        assert_eq!(kept.request("GET", "/").body, "0\n");
        busy.send("half");
        let answer = busy.response("POST");
        assert_eq!((&*answer.body, answer.header("connection")), ("8\n", Some("close")));
        assert!(busy.is_closed());
        wait_until("the next process", PATIENCE, || {
            let now = machine.property("own_listener", "MainPID");
            now != before && machine.property("own_listener", "ActiveState") == "active"
        });
        assert_eq!(kept.request("GET", "/").body, "0\n");
        wait_for_listener();
        assert_eq!(Client::connect(OWN).request("GET", "/").body, "0\n");
        let status: serde_json::Value =
            serde_json::from_str(&machine.get("http://127.0.0.1:8081/status")).unwrap();
        let own = status["servers"].as_array().unwrap().iter().find(|it| it["name"] == "own");
        assert_eq!(own.unwrap()["own_listeners"], 1, "{status}");
        assert_eq!(status["hand_over"]["requests_cut_off"], 0, "{status}");
    });
    let cut = machine.journal(&["MESSAGE_ID=c6432bb678b04903affcf0cac7a4694f"]);
    assert!(cut.is_empty(), "{cut:?}");
}
