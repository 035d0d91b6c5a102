//! Connections of HTTP/2, which cannot be handed over: their clients are told in time, and lose nothing.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::support::{
    Http2, PATIENCE,
    http2::{ALL_STREAMS, NO_ERROR, PREFACE, SETTINGS, is_answered},
    wait_until,
};
use super::{Daemon, ask};

/// A client that asks for four things at a time, and opens another connection when it is told to. Answers how many
/// requests it has had to send again, and which the server has left unanswered.
fn obedient(address: &str, stop: &AtomicBool, answers: &AtomicU64) -> (u64, Vec<String>) {
    let (mut again, mut unanswered) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let mut client = Http2::connect(address);
        while !stop.load(Ordering::Relaxed) && client.goaways().is_empty() {
            client.seen.clear();
            let streams: Vec<_> = (0..4).map(|_| client.get("/")).collect();
            let is_open = loop {
                if streams.iter().all(|stream| is_answered(&client.seen, *stream)) {
                    break true;
                }
                if client.frame().is_none() {
                    break false;
                }
            };
            let last = client.goaways().last().map(|(last, _)| *last);
            for stream in streams {
                if is_answered(&client.seen, stream) {
                    answers.fetch_add(1, Ordering::Relaxed);
                } else if last.is_some_and(|last| stream > last) {
                    again += 1;
                } else {
                    unanswered.push(format!("{stream} of {last:?}: {:?}", client.seen));
                }
            }
            if !is_open {
                break;
            }
        }
    }
    (again, unanswered)
}

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
    let (stop, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let address = daemon.public.to_string();
    let all = |more: u64, what: &str| {
        let before = answers.load(Ordering::Relaxed);
        wait_until(what, PATIENCE, || answers.load(Ordering::Relaxed) > before + more);
    };
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..8).map(|_| scope.spawn(|| obedient(&address, &stop, &answers))).collect();
        for _ in 0..10 {
            all(100, "answers before the upgrade");
            daemon.upgrade();
        }
        all(100, "answers after the upgrades");
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let (_, unanswered) = client.join().unwrap();
            assert_eq!(unanswered, [""; 0]);
        }
    });
}
