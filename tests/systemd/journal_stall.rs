//! A journal that does not listen costs log lines, never a request.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    restart::machine,
    support::{PATIENCE, message, wait_until},
};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_stopped_journal_costs_log_lines_and_no_request() {
    let Some(machine) = machine() else { return };
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/test.conf",
        "[Service]\nEnvironment=LOCKSTEPD_ACCESS_LOG=all\nWatchdogSec=0\n",
    );
    machine.run("systemctl", &["daemon-reload"]).ok();
    machine.in_network(|| {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], 9090))).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut ask = |count: usize| {
            for number in 0..count {
                stream.write_all(REQUEST).unwrap();
                let mut answer = [0; 1024];
                let mut length = 0;
                while !answer[..length].ends_with(b"running...\n") {
                    length += stream
                        .read(&mut answer[length..])
                        .unwrap_or_else(|error| panic!("request {number}: {error}"));
                }
            }
        };
        ask(10);
        machine.run("systemctl", &["kill", "--signal=STOP", "systemd-journald"]).ok();
        // More than the log's queue holds.
        ask(10_000);
        machine.run("systemctl", &["kill", "--signal=CONT", "systemd-journald"]).ok();
        ask(10);
        wait_until("a line that tells how many were lost", PATIENCE, || {
            let entries = machine.journal(&["-u", "lockstepd", "-p", "warning"]);
            entries.iter().any(|entry| message(entry).contains("log lines were lost"))
        });
    });
}
