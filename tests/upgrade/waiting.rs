//! Requests that wait for an application behind the daemon.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    Daemon,
    support::{Application, End, PATIENCE, Played, ask, executed, executed_twice, get, wait_until},
};

/// A body that is more than hyper reads at once.
const LONG: usize = 300 << 10;

/// What the log says when a request in flight holds up an upgrade.
const SERVING_ON: &str = "serving on until requests in flight are done";

/// A daemon whose application is away, where it would be, and what it would write down of what it executes.
fn start(options: &[&str]) -> (tempfile::TempDir, String, PathBuf, Daemon) {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", directory.path().join("app.sock").display());
    let place = ["--public", "127.0.0.1:0", "--public-proxy", &address];
    let daemon = Daemon::run(&[&place, options].concat());
    let file = directory.path().join("executed");
    (directory, address, file, daemon)
}

fn application(daemon: &Daemon) -> Value {
    let status = get(&daemon.admin.to_string(), "/status").body;
    let status: Value = serde_json::from_str(&status).unwrap();
    status["applications"][0].clone()
}

fn assert_waiting(daemon: &Daemon, number: u64) {
    wait_until(&format!("{number} requests wait"), PATIENCE, || {
        application(daemon)["waiting_requests"] == number
    });
}

/// Waits until the next program serves.
fn assert_replaced(daemon: &Daemon) {
    wait_until("the next program serves", PATIENCE, || {
        let status = get(&daemon.admin.to_string(), "/status").body;
        status.contains("\"way\":\"upgrade\"")
    });
}

/// A client that has sent the beginning of a request with this ID.
fn client(daemon: &Daemon, id: &str, first: &str, fields: &str, body: &str) -> End {
    let head = format!("{first} HTTP/1.1\r\nHost: x\r\nX-Id: {id}\r\n{fields}\r\n{body}");
    End::asking(&daemon.public.to_string(), head)
}

/// How long the body was that the application read with the request of this ID.
fn length(file: &Path, id: &str) -> u64 {
    let all = executed(file);
    all.iter().find(|request| request.id == id).unwrap_or_else(|| panic!("{id}: {all:?}")).length
}

#[test]
fn requests_that_wait_outlive_upgrades_and_each_is_executed_once() {
    let (_directory, address, file, mut daemon) = start(&[]);
    let mut get = client(&daemon, "get", "GET /", "", "");
    let mut whole = client(&daemon, "whole", "POST /", "Content-Length: 5\r\n", "hello");
    let mut half = client(&daemon, "half", "POST /", "Content-Length: 11\r\n", "hello");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let mut chunked = client(&daemon, "chunked", "POST /", chunked, "5\r\nhello\r\n4\r\n w");
    let expects = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    let mut expects = client(&daemon, "expects", "POST /", expects, "");
    let fields = format!("Content-Length: {LONG}\r\n");
    let mut long = client(&daemon, "long", "POST /", &fields, &"l".repeat(LONG / 2));
    let behind = "GET / HTTP/1.1\r\nHost: x\r\nX-Id: behind\r\n\r\n";
    let mut pipelined = client(&daemon, "before", "GET /", "", behind);
    let mut half_closed = client(&daemon, "half-closed", "GET /", "", "");
    half_closed.end_writing();
    assert_waiting(&daemon, 8);

    daemon.upgrade();
    assert_waiting(&daemon, 8);
    assert_eq!(application(&daemon)["state"], "away");
    half.send(" wo");
    chunked.send("or\r\n");
    long.send("l".repeat(LONG / 4));
    daemon.upgrade();
    assert_waiting(&daemon, 8);
    daemon.upgrade();
    half.send("rld");
    chunked.send("0\r\n\r\n");
    long.send("l".repeat(LONG / 4));

    let _there = Application::start(&address, &file, &[]);
    for (client, ids) in [
        (&mut get, &["get"][..]),
        (&mut whole, &["whole"]),
        (&mut half, &["half"]),
        (&mut chunked, &["chunked"]),
        (&mut long, &["long"]),
        (&mut pipelined, &["before", "behind"]),
        (&mut half_closed, &["half-closed"]),
    ] {
        for id in ids {
            assert_eq!(client.head().status(), 200, "{id}");
            client.hears(&format!("Hello {id}\n"));
        }
    }
    let asked = expects.head();
    assert_eq!(asked.status(), 100, "{}", asked.text);
    expects.send("hello");
    assert_eq!(expects.head().status(), 200);
    let lengths = ["get", "whole", "half", "chunked", "long", "expects", "behind", "half-closed"]
        .map(|id| length(&file, id));
    assert_eq!(lengths, [0, 5, 11, 9, LONG as u64, 5, 0, 0]);
    assert_eq!(executed_twice(&file), [""; 0]);
    assert_waiting(&daemon, 0);
}

#[test]
fn a_request_that_outlived_an_upgrade_is_logged_once() {
    let (_directory, address, file, mut daemon) = start(&["--access-log", "all"]);
    let mut waits = client(&daemon, "waits", "GET /waits", "", "");
    assert_waiting(&daemon, 1);
    let mut logged = Vec::new();
    let mut log_up_to = |daemon: &mut Daemon, last: &str| loop {
        let event = daemon.wait_for_one_of(&["request", last]);
        match event["message"].as_str() {
            Some("request") if event["server"] == "public" => logged.push(event),
            Some("request") => {}
            _ => break,
        }
    };
    daemon.signal(Signal::USR2);
    log_up_to(&mut daemon, "ready");
    let _there = Application::start(&address, &file, &[]);
    assert_eq!(waits.head().status(), 200);
    daemon.signal(Signal::TERM);
    log_up_to(&mut daemon, "stopped");
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert_eq!((&logged[0]["path"], &logged[0]["status"]), (&"/waits".into(), &200.into()));
}

#[test]
fn a_client_that_leaves_while_its_request_is_handed_over_is_not_asked_about() {
    let (_directory, address, file, mut daemon) = start(&[]);
    let leaves = client(&daemon, "leaves", "POST /", "Content-Length: 5\r\n", "hello");
    let mut stays = client(&daemon, "stays", "POST /", "Content-Length: 5\r\n", "hello");
    assert_waiting(&daemon, 2);
    daemon.upgrade();
    leaves.leave();
    assert_waiting(&daemon, 1);
    daemon.upgrade();
    let _there = Application::start(&address, &file, &[]);
    assert_eq!(stays.head().status(), 200);
    assert_eq!(executed(&file).len(), 1);
}

#[test]
fn a_hold_outlives_upgrades_and_so_do_the_requests_that_wait_for_its_end() {
    let (_directory, address, file, mut daemon) = start(&[]);
    let _there = Application::start(&address, &file, &[]);
    assert_eq!(ask(&daemon.admin.to_string(), "POST", "/hold?longest=1h").status, 200);
    let mut waits = client(&daemon, "waits", "POST /", "Content-Length: 5\r\n", "hello");
    assert_waiting(&daemon, 1);
    for _ in 0..2 {
        daemon.upgrade();
        assert_waiting(&daemon, 1);
        assert_eq!(application(&daemon)["state"], "held");
    }
    assert!(executed(&file).is_empty());
    let released = ask(&daemon.admin.to_string(), "POST", "/release");
    assert_eq!(released.text(), "public: released\n");
    assert_eq!(waits.head().status(), 200);
    daemon.upgrade();
    assert_eq!(application(&daemon)["state"], "there");
}

#[test]
fn a_request_that_waits_is_handed_over_after_one_that_takes_long() {
    let (_directory, address, file, mut daemon) = start(&[]);
    let _there = Application::start(&address, &file, &[]);
    let mut long = client(&daemon, "long", "GET /slow?ms=1500", "", "");
    wait_until("the application has it", PATIENCE, || !executed(&file).is_empty());
    assert_eq!(ask(&daemon.admin.to_string(), "POST", "/hold?timeout=0s").status, 200);
    let mut waits = client(&daemon, "waits", "POST /", "Content-Length: 5\r\n", "hello");
    assert_waiting(&daemon, 1);
    daemon.upgrade();
    assert_waiting(&daemon, 1);
    assert_eq!(long.head().status(), 200);
    assert_eq!(ask(&daemon.admin.to_string(), "POST", "/release").status, 200);
    assert_eq!(waits.head().status(), 200);
    assert_eq!(executed(&file).len(), 2);
}

#[test]
fn a_request_that_comes_to_wait_while_an_upgrade_waits_for_it_goes_along_at_once() {
    // Longer than this test has patience.
    let (directory, address, file, mut daemon) = start(&["--drain-timeout", "1h"]);
    let socket = directory.path().join("app.sock");
    let played = Played::bind(&socket);
    let mut asks = client(&daemon, "asks", "GET /", "", "");
    let mut connection = played.accept();
    connection.head();
    daemon.signal(Signal::USR2);
    daemon.wait_for(SERVING_ON);
    fs::remove_file(&socket).unwrap();
    drop((connection, played));
    assert_replaced(&daemon);
    assert_waiting(&daemon, 1);
    let _there = Application::start(&address, &file, &[]);
    assert_eq!(asks.head().status(), 200);
}

#[test]
fn a_request_of_whose_body_some_was_sent_is_waited_for() {
    let (directory, address, file, mut daemon) = start(&[]);
    let socket = directory.path().join("app.sock");
    let played = Played::bind(&socket);
    let mut puts = client(&daemon, "puts", "PUT /", "Content-Length: 10\r\n", "hello");
    let mut connection = played.accept();
    connection.head();
    connection.hears("hello");
    fs::remove_file(&socket).unwrap();
    drop((connection, played));
    assert_waiting(&daemon, 1);
    daemon.signal(Signal::USR2);
    daemon.wait_for(SERVING_ON);
    let _there = Application::start(&address, &file, &[]);
    puts.send("world");
    assert_eq!(puts.head().status(), 200);
    daemon.wait_for("ready");
    assert_eq!(length(&file, "puts"), 10);
}

#[test]
fn a_request_whose_connection_to_the_application_does_not_come_about_is_handed_over() {
    let queue = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    queue.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    queue.listen(0).unwrap();
    let address = queue.local_addr().unwrap().as_socket().unwrap();
    // What comes when the queue is full is not answered.
    let short = Duration::from_millis(200);
    let mut full = Vec::new();
    while let Ok(one) = std::net::TcpStream::connect_timeout(&address, short) {
        full.push(one);
    }
    let place = ["--public", "127.0.0.1:0", "--public-proxy", &address.to_string()];
    // Longer than this test has patience.
    let times = ["--proxy-connect-timeout", "1h", "--drain-timeout", "1h"];
    let daemon = Daemon::run(&[place, times].concat());
    let _asks = client(&daemon, "asks", "GET /", "", "");
    let is_tried =
        || wait_until("it is tried", PATIENCE, || application(&daemon)["requests_in_flight"] == 1);
    is_tried();
    daemon.signal(Signal::USR2);
    assert_replaced(&daemon);
    is_tried();
}

#[test]
fn those_who_wait_keep_their_places_where_fewer_may_wait_in_the_next_process() {
    let (_directory, address, file, mut daemon) = start(&[]);
    let ids = ["one", "two", "three", "four", "five"];
    let mut clients = ids.map(|id| client(&daemon, id, "GET /", "", ""));
    assert_waiting(&daemon, 5);
    let config = daemon.directory.path().join("lockstepd.toml");
    fs::write(config, "[proxy]\nmax_waiting = 1\n").unwrap();
    for _ in 0..2 {
        daemon.upgrade();
        assert_waiting(&daemon, 5);
        assert_eq!(client(&daemon, "new", "GET /", "", "").head().status(), 503);
    }
    let _there = Application::start(&address, &file, &[]);
    for client in &mut clients {
        assert_eq!(client.head().status(), 200);
    }
}
