//! Connections of HTTP/2, which cannot be handed over: their clients are told in time, and lose nothing.

use std::io::{self, Write};
use std::net::TcpStream;
use std::thread;

use super::support::{
    Http2, Http2Load,
    http2::{ALL_STREAMS, NO_ERROR, PING, PREFACE, SETTINGS},
};
use super::{Daemon, ask};

#[test]
fn an_upgrade_ends_http2_in_order_and_hands_the_others_over() {
    let mut daemon = Daemon::start();
    let mut other = TcpStream::connect(daemon.public).unwrap();
    ask(&mut other);
    let mut client = Http2::connect(&daemon.public.to_string());
    let asked = client.get("/");
    client.answer(asked);
    let reader = thread::spawn(move || {
        let goaways = client.rest();
        (client, goaways)
    });
    daemon.upgrade();
    let (_client, goaways) = reader.join().unwrap();
    assert_eq!(goaways, [(ALL_STREAMS, NO_ERROR), (asked, NO_ERROR)]);
    ask(&mut other);
    let mut next = Http2::connect(&daemon.public.to_string());
    let asked = next.get("/");
    assert_eq!(next.answer(asked).status, Some(200));
}

#[test]
fn clients_that_only_ping_put_off_no_upgrade() {
    let mut daemon = Daemon::start();
    let public = daemon.public.to_string();
    let clients = [true, false].map(|reads| {
        let mut stream = TcpStream::connect(daemon.public).unwrap();
        // An answer first, or nothing at all.
        let mut client = Http2::new(stream.try_clone().unwrap(), PREFACE);
        client.is_polite = false;
        client.send(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
        if reads {
            let asked = client.get("/");
            assert_eq!(client.answer(asked).status, Some(200));
        }
        // Enough that reads and writes are never done.
        let mut pings = Vec::new();
        for _ in 0..1000 {
            pings.extend([0, 0, 8, PING, 0, 0, 0, 0, 0]);
            pings.extend(b"is it so");
        }
        let writer = thread::spawn(move || while client.send_bytes(&pings).is_ok() {});
        let reader = reads.then(|| thread::spawn(move || io::copy(&mut stream, &mut io::sink())));
        (writer, reader)
    });
    let mut other = Http2::connect(&public);
    let asked = other.get("/");
    assert_eq!(other.answer(asked).status, Some(200));
    drop(other);
    // It is refused where somebody is waited for until the drain time-out.
    daemon.upgrade();
    for (writer, reader) in clients {
        writer.join().unwrap();
        // How the connection ends for it does not matter.
        let _ = reader.map(thread::JoinHandle::join);
    }
}

#[test]
fn a_preface_that_has_come_by_half_is_known_in_the_next_program() {
    let mut daemon = Daemon::start();
    for half in [0, 3, 11] {
        let mut client = TcpStream::connect(daemon.public).unwrap();
        client.write_all(&PREFACE[..half]).unwrap();
        // The other server's answer shows that the daemon has been round its sockets since.
        ask(&mut TcpStream::connect(daemon.admin).unwrap());
        daemon.upgrade();
        let mut client = Http2::new(client, &PREFACE[half..]);
        // No table of fields.
        client.send(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
        let asked = client.get("/");
        assert_eq!(client.answer(asked).status, Some(200), "{half}");
    }
}

#[test]
fn ten_upgrades_under_load_of_http2_leave_no_request_unanswered() {
    let mut daemon = Daemon::start();
    let address = daemon.public.to_string();
    let unanswered = Http2Load::during(&address, |load| {
        for _ in 0..10 {
            load.goes_on();
            daemon.upgrade();
        }
        load.goes_on();
    });
    assert_eq!(unanswered, [""; 0]);
}
