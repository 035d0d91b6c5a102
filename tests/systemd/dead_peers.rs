//! Clients that are gone without a word, as those are whose cable is pulled: nothing comes from them any
//! more, not even from their kernel.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::support::{Launch, Machine, PATIENCE, ask, example, wait_until};

const SERVER: &str = "10.99.0.1";
const CLIENT: &str = "10.99.0.2";

/// Asked after a second, and then once a second, nine times: found out after 10 s. The limits are beyond
/// what a test waits.
const KEEPALIVE: &str = "1s";
const FIRST: &str = "10m";
/// Of `write_timeout` no less: a peer that owes an acknowledgement is given the longer of the two.
const TIME: &str = "10s";

/// A client at an address that can be taken away.
fn connect(server: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{CLIENT}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&server.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// Asks, and reads lines up to the first that begins so.
fn ask_for(server: &str, request: &str, until: &str) -> TcpStream {
    let mut stream = connect(server);
    write!(stream, "GET {request}\r\nHost: x\r\n\r\n").unwrap();
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut lines = lines.map(|line| line.expect("the server answers"));
    assert!(until.is_empty() || lines.any(|line| line.starts_with(until)));
    stream
}

/// What the daemon counts, without its own connection to be asked.
fn sample(admin: &str, name: &str) -> u32 {
    let text = ask(admin, "GET", "/metrics").text();
    let name = format!("{name}{{server=\"public\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn a_long_poll_a_stream_and_an_upgraded_connection_end_when_their_client_is_gone() {
    let Some(machine) = Machine::boot() else { return };
    machine
        .sh(&format!(
            "ip address add {SERVER}/32 dev lo
            ip address add {CLIENT}/32 dev lo"
        ))
        .ok();
    machine.in_network(|| {
        let (public, admin) = (format!("{SERVER}:8080"), format!("{SERVER}:8081"));
        let launch = Launch::program(example("limits"));
        let daemon = launch.args([&*public, &admin, TIME, FIRST, KEEPALIVE]).start();
        let polls = ask_for(&public, "/never HTTP/1.1", "");
        let ticks = ask_for(&public, "/ticks HTTP/1.1", "tick");
        let upgrade = "/echo HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo";
        let echoes = ask_for(&public, upgrade, "HTTP/1.1 101 ");
        let silent = connect(&public);
        wait_until("all are there", PATIENCE, || sample(&admin, "lockstepd_connections") == 4);
        wait_until("all are served", PATIENCE, || {
            sample(&admin, "lockstepd_requests_in_flight") == 2
        });

        // The cable. What is sent to the client from here on goes nowhere.
        machine
            .sh(&format!(
                "ip address del {CLIENT}/32 dev lo
                ip route add blackhole {CLIENT}/32"
            ))
            .ok();
        wait_until("nobody is there", PATIENCE, || sample(&admin, "lockstepd_connections") == 0);
        assert_eq!(sample(&admin, "lockstepd_requests_in_flight"), 0);
        // And so nothing holds up a stop.
        daemon.stop().assert(0, &[]);
        drop((polls, ticks, echoes, silent));
    });
}

#[test]
fn a_client_that_is_there_and_says_nothing_for_long_keeps_its_connection() {
    let Some(machine) = Machine::boot() else { return };
    machine
        .sh(&format!("ip address add {SERVER}/32 dev lo; ip address add {CLIENT}/32 dev lo"))
        .ok();
    machine.in_network(|| {
        let (public, admin) = (format!("{SERVER}:8080"), format!("{SERVER}:8081"));
        let launch = Launch::program(example("limits"));
        let daemon = launch.args([&*public, &admin, TIME, FIRST, KEEPALIVE]).start();
        let polls = ask_for(&public, "/never HTTP/1.1", "");
        let upgrade = "/echo HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo";
        let mut echoes = ask_for(&public, upgrade, "HTTP/1.1 101 ");
        // Longer than a peer may be silent that is not there.
        polls.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
        assert!(BufReader::new(&polls).fill_buf().is_err(), "nothing comes, and no end");
        assert_eq!(sample(&admin, "lockstepd_connections"), 2);
        echoes.write_all(b"still there\n").unwrap();
        let mut line = String::new();
        BufReader::new(&echoes).read_line(&mut line).unwrap();
        assert_eq!(line, "still there\n");
        // With nothing to wait for, closing is a reset: otherwise the client might wait for its answer.
        SockRef::from(&polls).set_linger(Some(Duration::ZERO)).unwrap();
        drop((polls, echoes));
        daemon.stop().assert(0, &[]);
    });
}
