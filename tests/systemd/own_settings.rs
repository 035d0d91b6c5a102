//! A server with a drain time-out of its own, at a restart that hands connections over.

use crate::{
    examples::machine_with,
    support::{Client, PATIENCE, example, wait_until},
};

#[test]
fn a_restart_waits_for_each_server_as_long_as_it_says_and_keeps_what_is_idle() {
    let sockets = ["usual=127.0.0.1:8080", "special=127.0.0.1:8081"];
    let Some(machine) = machine_with("particular", &example("particular"), &sockets) else {
        return;
    };
    let unit = "/etc/systemd/system/particular.service.d/times.conf";
    machine.sh("mkdir /etc/systemd/system/particular.service.d").ok();
    machine.write(unit, "[Service]\nExecStart=\nExecStart=/usr/local/bin/particular 60s 50ms\n");
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "particular-special.socket"]).ok();
    machine.in_network(|| {
        let [usual, special] = ["127.0.0.1:8080", "127.0.0.1:8081"];
        let mut idle = [Client::connect(usual), Client::connect(special)];
        let ask = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n";
        for client in &mut idle {
            client.send(ask);
            assert_eq!(client.response("POST").body, "0\n");
        }
        let [mut kept, mut cut] =
            [usual, special].map(|address| Client::half_a_request(address, "/"));
        let before = machine.property("particular", "MainPID");
        machine.systemctl(&["restart", "--no-block", "particular"]).ok();
        machine.wait_for_state("particular", "deactivating");
        kept.send("half");
        assert_eq!(kept.response("POST").body, "8\n");
        wait_until("the next process", PATIENCE, || {
            let now = machine.property("particular", "MainPID");
            now != before && machine.property("particular", "ActiveState") == "active"
        });
        assert!(cut.is_closed());
        for client in &mut idle {
            client.send(ask);
            assert_eq!(client.response("POST").body, "0\n");
        }
        kept.send(ask);
        assert_eq!(kept.response("POST").body, "0\n");
    });
    let cut = machine.journal(&["MESSAGE_ID=c6432bb678b04903affcf0cac7a4694f"]);
    let requests: Vec<_> = cut.iter().map(|entry| &entry["REQUESTS"]).collect();
    assert_eq!(requests, ["1"], "{cut:?}");
}
