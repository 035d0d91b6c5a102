//! A systemd that does not run holds up no request and no stop.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::restart::machine;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn a_stopped_systemd_holds_up_no_request_and_no_stop() {
    let Some(machine) = machine() else { return };
    let systemd = Pid::from_raw(machine.pid().cast_signed()).unwrap();
    let mut main = String::new();
    let mut slowest = Duration::ZERO;
    machine.in_network(|| {
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], 9090))).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut ask = || {
            let begin = Instant::now();
            stream.write_all(REQUEST).unwrap();
            let mut answer = [0; 1024];
            let mut length = 0;
            while !answer[..length].ends_with(b"running...\n") {
                length += stream.read(&mut answer[length..]).unwrap();
            }
            begin.elapsed()
        };
        ask();
        machine.run("systemctl", &["is-active", "lockstepd"]).ok();
        main = machine.property("lockstepd", "MainPID");
        kill_process(systemd, Signal::STOP).unwrap();
        slowest = (0..10_000).map(|_| ask()).max().unwrap();
    });
    let begin = Instant::now();
    let ended = machine.sh(&format!(
        "kill -TERM {main}
        until grep -q '^State:.Z' /proc/{main}/status; do sleep 0.01; done"
    ));
    let stop = begin.elapsed();
    kill_process(systemd, Signal::CONT).unwrap();
    ended.ok();
    eprintln!("slowest of 10,000 requests {slowest:?}, SIGTERM to exit {stop:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(stop < Duration::from_secs(4), "{stop:?}");
}
