//! Connections of HTTP/2, which cannot be handed over: their clients are told in time, and lose nothing.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use super::support::{
    Http2, Http2Load,
    http2::{ALL_STREAMS, NO_ERROR, PREFACE, SETTINGS},
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
