//! An application that is away: requests wait for it, in order and not for ever.

use std::{
    fs,
    os::unix::net::{UnixDatagram, UnixListener},
};

use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket},
    process::Signal,
};
use serde_json::Value;

use super::{OK, Place, application, hears_ok, request};

use crate::support::{Daemon, End, Launch, PATIENCE, Played, wait_until};

const AWAY: &str = "the application is away; requests wait for it";
const BACK: &str = "the application is back";

/// Waits until so many requests wait.
#[track_caller]
fn assert_waiting(daemon: &mut Daemon, number: u64) {
    wait_until(&format!("{number} requests wait"), PATIENCE, || {
        application(daemon)["waiting_requests"].as_u64() == Some(number)
    });
}

/// Waits until one is trying, and so many wait behind it.
#[track_caller]
fn assert_away(daemon: &mut Daemon, behind: u64) {
    daemon.event(AWAY);
    assert_waiting(daemon, behind);
}

#[test]
fn a_request_waits_for_an_application_that_is_not_there_yet() {
    let place = Place::new();
    let mut daemon = place.launch().start();
    let mut client = End::asking(&daemon.public(), request("POST /", "Content-Length: 0\r\n"));
    let event = daemon.event(AWAY);
    assert_eq!(event["address"], place.address());
    assert!(event["error"].as_str().unwrap().contains("No such file"), "{event}");
    assert_eq!(application(&mut daemon)["state"], "away");
    let application_state = "application_state{server=\"public\",state=\"away\"} 1";
    let metrics = daemon.get_admin("/metrics").body;
    assert!(metrics.contains(application_state), "{metrics}");
    let there = place.application(&[]);
    assert_eq!(client.head().status(), 200);
    client.hears("Hello -\n");
    let event = daemon.event(BACK);
    assert!(event["away_seconds"].as_f64().unwrap() > 0.0, "{event}");
    assert_eq!(application(&mut daemon)["state"], "there");
    assert_eq!(there.executed().len(), 1);
}

#[test]
fn a_request_waits_for_an_application_that_refuses() {
    let place = Place::new();
    // A file that nobody listens on any more.
    drop(UnixListener::bind(place.socket()).unwrap());
    let mut daemon = place.launch().start();
    let mut client = End::asking(&daemon.public(), request("POST /", "Content-Length: 0\r\n"));
    let event = daemon.event(AWAY);
    assert!(event["error"].as_str().unwrap().contains("refused"), "{event}");
    let _there = place.application(&[]);
    assert_eq!(client.head().status(), 200);
}

#[test]
fn a_request_waits_for_a_port_that_refuses() {
    let place = Place::new();
    let address = Launch::free_address();
    let mut daemon = Launch::daemon().args(["--public-proxy", &address]).start();
    let mut client = End::asking(&daemon.public(), request("POST /", "Content-Length: 5\r\n"));
    client.send("hello");
    daemon.event(AWAY);
    let there = crate::support::Application::start(&address, &place.executed(), &[]);
    assert_eq!(client.head().status(), 200);
    assert_eq!(there.executed()[0].length, 5);
}

#[test]
fn a_request_waits_where_connections_are_accepted_and_closed_unread() {
    let place = Place::new();
    let played = Played::bind(&place.socket());
    let mut daemon = place.launch().start();
    let mut client = End::asking(&daemon.public(), request("POST /", "Content-Length: 5\r\n"));
    client.send("hello");
    for _ in 0..5 {
        played.accept();
    }
    daemon.event(AWAY);
    let mut application = played.accept();
    assert_eq!(application.head().first(), "POST / HTTP/1.1");
    application.hears("hello");
    application.send(OK);
    hears_ok(&mut client);
    daemon.event(BACK);
}

#[test]
fn a_request_waits_while_the_applications_queue_is_full() {
    let place = Place::new();
    // Room for one that nobody accepts, besides which the kernel lets one more in.
    let full = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&full, &SocketAddrUnix::new(place.socket()).unwrap()).unwrap();
    listen(&full, 0).unwrap();
    let first = std::os::unix::net::UnixStream::connect(place.socket()).unwrap();
    let mut daemon = place.launch().start();
    let mut client = End::asking(&daemon.public(), request("POST /", "Content-Length: 0\r\n"));
    let event = daemon.event(AWAY);
    assert!(event["error"].as_str().unwrap().contains("temporarily unavailable"), "{event}");
    let listener = UnixListener::from(full);
    drop((listener.accept().unwrap(), first));
    let played = Played::from(listener);
    let mut application = played.accept();
    application.head();
    application.send(OK);
    hears_ok(&mut client);
}

#[test]
fn a_request_waits_for_an_application_that_is_stopped() {
    let place = Place::new();
    let there = place.application(&[]);
    let mut daemon = place.launch().start();
    there.signal(Signal::STOP);
    let mut clients: Vec<_> =
        (0..200).map(|_| End::asking(&daemon.public(), request("GET /", ""))).collect();
    // Most of them are in its queue, and some wait until there is room.
    wait_until("all are under way", PATIENCE, || {
        let status = application(&mut daemon);
        let count = |name: &str| status[name].as_u64().unwrap();
        count("requests_in_flight") + count("waiting_requests") + 1 >= 200
    });
    there.signal(Signal::CONT);
    for client in &mut clients {
        assert_eq!(client.head().status(), 200);
    }
    assert_eq!(there.executed().len(), 200);
}

#[test]
fn a_request_waits_while_the_application_says_that_it_is_starting() {
    let place = Place::new();
    let there = place.application(&["--starting-503", "5"]);
    let mut daemon = place.launch().args(["--proxy-wait-on-503", "true"]).start();
    let fields = "Content-Length: 0\r\n";
    let mut client = End::asking(&daemon.public(), request("POST /?id=1", fields));
    assert_eq!(client.head().status(), 200);
    assert_eq!(there.executed().len(), 1);
    assert_eq!(application(&mut daemon)["retries"]["starting"], 5);
    let ended = daemon.stop();
    let count =
        |message: &str| ended.events().iter().filter(|event| event["message"] == message).count();
    assert_eq!((count(AWAY), count(BACK)), (1, 1), "{}", ended.text());
}

#[test]
fn without_being_told_503_is_an_answer_like_any_other() {
    let place = Place::new();
    let _there = place.application(&["--starting-503", "1"]);
    let mut daemon = place.launch().start();
    let mut client = End::asking(&daemon.public(), request("GET /", ""));
    assert_eq!(client.head().status(), 503);
    client.hears("starting\n");
}

#[test]
fn the_body_of_a_request_that_waits_is_not_asked_for() {
    let place = Place::new();
    let mut daemon = place.launch().args(["--proxy-wait", "300ms"]).start();
    let expects = request("PUT /", "Expect: 100-continue\r\nContent-Length: 5\r\n");
    let mut client = End::asking(&daemon.public(), &expects);
    let head = client.head();
    // No 100 came before it.
    assert_eq!(head.status(), 503, "{}", head.text);
    assert!(!head.all("retry-after").is_empty(), "{}", head.text);
}

#[test]
fn who_has_waited_too_long_is_told_when_to_come_again() {
    let place = Place::new();
    let mut daemon = place.launch().args(["--proxy-wait", "300ms"]).start();
    for first in ["GET /", "POST /"] {
        let mut client = End::asking(&daemon.public(), request(first, ""));
        let head = client.head();
        assert_eq!((head.status(), head.all("retry-after").len()), (503, 1));
        let body = "the application is not there; try again later\n";
        client.hears(body);
        // Its connection stays, and nothing is said of where the application is.
        assert!(head.all("connection").is_empty() && !head.text.contains("sock"));
    }
    let event = daemon.event("a request is answered for the application");
    assert_eq!(event["level"], "INFO");
    assert_eq!(application(&mut daemon)["failures"]["away"], 2);
}

#[test]
fn the_status_line_says_that_the_application_is_away_and_why() {
    let place = Place::new();
    // Manager passes over what is sent at intervals.
    let path = place.directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut daemon = place.launch().env("NOTIFY_SOCKET", &path).start();
    let mut client = End::asking(&daemon.public(), request("GET /", ""));
    let shows = |what: &str| loop {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).expect("a message");
        if message[..length].starts_with(what.as_bytes()) {
            break;
        }
    };
    let address = place.address();
    shows(&format!(
        "STATUS=application {address} away: No such file or directory (os error 2), 1 waiting; Serving "
    ));
    let _there = place.application(&[]);
    assert_eq!(client.head().status(), 200);
    shows("STATUS=Serving ");
}

#[test]
fn one_more_than_may_wait_is_refused_at_once() {
    let place = Place::new();
    let mut daemon = place.launch().args(["--proxy-max-waiting", "2"]).start();
    let public = daemon.public();
    let mut waiting = vec![End::asking(&public, request("GET /", ""))];
    assert_away(&mut daemon, 1);
    for behind in 1..=2 {
        waiting.push(End::asking(&public, request("GET /", "")));
        assert_waiting(&mut daemon, 1 + behind);
    }
    let head = End::asking(&public, request("GET /", "")).head();
    assert_eq!((head.status(), head.all("retry-after").len()), (503, 1));
    assert_eq!(application(&mut daemon)["failures"]["full"], 1);
    // A client that leaves makes room.
    waiting.pop().expect("three wait").leave();
    assert_waiting(&mut daemon, 2);
    waiting.push(End::asking(&public, request("GET /", "")));
    assert_waiting(&mut daemon, 3);
    let _there = place.application(&[]);
    for client in &mut waiting {
        assert_eq!(client.head().status(), 200);
    }
}

#[test]
fn where_nobody_may_wait_one_request_finds_the_application_back() {
    let place = Place::new();
    let mut daemon = place.launch().args(["--proxy-max-waiting", "0"]).start();
    let public = daemon.public();
    let mut tries = End::asking(&public, request("GET /", ""));
    assert_away(&mut daemon, 1);
    let _there = place.application(&[]);
    assert_eq!(tries.head().status(), 200);
    daemon.event(BACK);
    assert_eq!(End::asking(&public, request("GET /", "")).head().status(), 200);
}

#[test]
fn a_slow_answer_delays_nobody_who_waits_behind_it() {
    let place = Place::new();
    let mut daemon = place.launch().start();
    let public = daemon.public();
    let first = End::asking(&public, request("GET /hang?id=first", ""));
    assert_away(&mut daemon, 1);
    let mut others = Vec::new();
    for number in 1..=20 {
        others.push(End::asking(&public, request(&format!("GET /?id={number}"), "")));
        assert_waiting(&mut daemon, 1 + number);
    }
    let mut there = place.application(&[]);
    // The first one is never answered.
    for client in &mut others {
        assert_eq!(client.head().status(), 200);
    }
    daemon.event(BACK);
    there.executes("first");
    first.leave();
    assert_eq!(there.gone(), "/hang first");
}

#[test]
fn a_waiting_client_that_leaves_is_not_asked_about() {
    let place = Place::new();
    let mut daemon = place.launch().start();
    let public = daemon.public();
    let first = End::asking(&public, request("GET /?id=1", ""));
    assert_away(&mut daemon, 1);
    let second = End::asking(&public, request("GET /?id=2", ""));
    assert_waiting(&mut daemon, 2);
    let mut third = End::asking(&public, request("GET /?id=3", ""));
    assert_waiting(&mut daemon, 3);
    first.leave();
    second.leave();
    // The third one has the turn.
    assert_waiting(&mut daemon, 1);
    let there = place.application(&[]);
    assert_eq!(third.head().status(), 200);
    assert_eq!(there.executed_ids(), ["3"]);
}

#[test]
fn being_away_is_logged_once_and_so_is_being_back() {
    let place = Place::new();
    let mut daemon = place.launch().start();
    for _ in 0..2 {
        let mut clients: Vec<_> =
            (0..5).map(|_| End::asking(&daemon.public(), request("GET /", ""))).collect();
        wait_until("it is away", PATIENCE, || application(&mut daemon)["state"] == "away");
        let there = place.application(&[]);
        for client in &mut clients {
            assert_eq!(client.head().status(), 200);
        }
        wait_until("it is back", PATIENCE, || application(&mut daemon)["state"] == "there");
        there.kill();
        fs::remove_file(place.socket()).unwrap();
    }
    let ended = daemon.stop();
    let count =
        |message: &str| ended.events().iter().filter(|event| event["message"] == message).count();
    assert_eq!((count(AWAY), count(BACK)), (2, 2), "{}", ended.text());
    let level = |message: &str| ended.event(message)["level"].clone();
    assert_eq!((level(AWAY), level(BACK)), (Value::from("WARN"), Value::from("INFO")));
}

#[test]
fn a_kept_connection_that_has_ended_costs_no_request() {
    let place = Place::new();
    let played = Played::bind(&place.socket());
    let mut daemon = place.launch().start();
    let mut client = End::connect(&daemon.public());
    for _ in 0..20 {
        client.send(request("POST /", "Content-Length: 5\r\n") + "hello");
        let mut application = played.accept();
        application.head();
        application.hears("hello");
        // It does not say that it will close.
        application.send(OK);
        hears_ok(&mut client);
    }
    assert_eq!(application(&mut daemon)["failures"]["closed"], 0);
}
