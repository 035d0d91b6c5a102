//! Bodies as they come: not buffered, held back by whoever does not take them, and ended by whoever leaves.

use std::{fs, thread};

use super::{OK, Place, answer, assert_in_flight, hears_ok, played, request};

use crate::support::{Daemon, End};

#[test]
fn each_event_arrives_before_the_next_is_sent() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("GET /events", ""));
    let mut application = played.accept();
    application.head();
    let fields = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n";
    application.send(answer("200 OK", fields));
    assert_eq!(client.head().status(), 200);
    for event in 0..100 {
        let text = format!("data: {event}\n\n");
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        application.send(&chunk);
        client.hears(&format!("{:X}\r\n{text}\r\n", text.len()));
    }
}

#[test]
fn each_piece_of_an_upload_arrives_before_the_next_is_sent() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("POST /", "Content-Length: 800\r\n"));
    let mut application = played.accept();
    application.head();
    for piece in 0..100 {
        let piece = format!("piece{piece:03}");
        client.send(&piece);
        application.hears(&piece);
    }
    application.send(OK);
    hears_ok(&mut client);
}

#[test]
fn an_answer_may_come_before_the_upload_has_ended() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("POST /", "Content-Length: 8\r\n") + "half");
    let mut application = played.accept();
    application.head();
    application.hears("half");
    application.send(answer("413 Content Too Large", "Content-Length: 4\r\n") + "stop");
    drop(application);
    assert_eq!(client.head().status(), 413);
    client.hears("stop");
}

#[test]
fn an_answer_may_go_along_with_the_upload() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("POST /", "Content-Length: 8\r\n") + "half");
    let mut application = played.accept();
    application.head();
    application.hears("half");
    application.send(answer("200 OK", "Content-Length: 8\r\n") + "half");
    assert_eq!(client.head().status(), 200);
    client.hears("half");
    client.send("rest");
    application.hears("rest");
    application.send("rest");
    client.hears("rest");
    client.send(request("GET /next", ""));
    assert_eq!(application.head().first(), "GET /next HTTP/1.1");
    application.send(OK);
    hears_ok(&mut client);
}

#[test]
fn a_client_that_leaves_ends_the_applications_connection() {
    let (_place, played, mut daemon, public) = played(&[]);
    // In an upload.
    let client = End::asking(&public, request("POST /", "Content-Length: 8\r\n") + "half");
    let mut application = played.accept();
    application.head();
    application.hears("half");
    client.leave();
    assert_eq!(application.rest(), "");
    // While it waits for the answer.
    let client = End::asking(&public, request("GET /", ""));
    let mut application = played.accept();
    application.head();
    client.leave();
    assert_eq!(application.rest(), "");
    // In the middle of the answer.
    let mut client = End::asking(&public, request("GET /", ""));
    let mut application = played.accept();
    application.head();
    application.send(answer("200 OK", "Content-Length: 8\r\n") + "half");
    client.head();
    client.hears("half");
    client.leave();
    assert_eq!(application.rest(), "");
    // None of them is counted as being with the application any more.
    assert_in_flight(&mut daemon, 0);
}

#[test]
fn an_application_says_that_its_client_has_gone() {
    let place = Place::new();
    let mut application = place.application(&[]);
    let mut daemon = place.launch().start();
    let client = End::asking(&daemon.public(), request("POST /hang?id=1", "Content-Length: 0\r\n"));
    application.executes("1");
    client.leave();
    assert_eq!(application.gone(), "/hang 1");
    let mut client = End::asking(&daemon.public(), request("GET /events?ms=10&id=2", ""));
    client.head();
    client.leave();
    assert_eq!(application.gone(), "/events 2");
}

#[test]
fn a_client_that_sends_no_more_is_still_answered() {
    let (_place, played, _daemon, public) = played(&[]);
    let mut client = End::asking(&public, request("GET /", ""));
    client.end_writing();
    let mut application = played.accept();
    application.head();
    application.send(OK);
    hears_ok(&mut client);
    assert_eq!(client.rest(), "");
}

/// How much more memory, in KiB, the daemon may need for one large body.
const GROWTH_KIB: u64 = 30 << 10;

const LARGE: usize = 256 << 20;

const PIECE: usize = 1 << 20;

/// The most memory that a process has ever had, in KiB.
fn peak(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends a large body while nobody takes it, and then lets the other end take it.
fn send_large(from: &mut End, to: &mut End) {
    // Until both kernels' queues and what is between them are full.
    let written = from.fill(LARGE);
    assert!(written < LARGE / 4, "{written} bytes went somewhere");
    thread::scope(|scope| {
        scope.spawn(|| {
            let piece = vec![b'x'; PIECE];
            for begin in (written..LARGE).step_by(PIECE) {
                from.send(&piece[..PIECE.min(LARGE - begin)]);
            }
        });
        for _ in 0..LARGE / PIECE {
            to.bytes(PIECE);
        }
    });
}

#[test]
fn a_client_that_takes_nothing_holds_the_application_back() {
    let (_place, played, daemon, public) = played(&[]);
    let before = peak(&daemon);
    let mut client = End::asking(&public, request("GET /", ""));
    let mut application = played.accept();
    application.head();
    application.send(answer("200 OK", &format!("Content-Length: {LARGE}\r\n")));
    client.head();
    send_large(&mut application, &mut client);
    let growth = peak(&daemon) - before;
    assert!(growth < GROWTH_KIB, "{growth} KiB");
}

#[test]
fn an_application_that_takes_nothing_holds_the_client_back() {
    let (_place, played, daemon, public) = played(&[]);
    let before = peak(&daemon);
    let head = request("POST /", &format!("Content-Length: {LARGE}\r\n"));
    let mut client = End::asking(&public, head);
    let mut application = played.accept();
    application.head();
    send_large(&mut client, &mut application);
    application.send(OK);
    hears_ok(&mut client);
    let growth = peak(&daemon) - before;
    assert!(growth < GROWTH_KIB, "{growth} KiB");
}
