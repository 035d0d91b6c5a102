//! Each limit as a client meets it, and its count.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    program::{Program, Samples},
    support::{Client, Launch, PATIENCE, exchange, hear},
};

fn timeouts(what: &str) -> String {
    format!("lockstepd_timeouts_total{{server=\"public\",waiting_for=\"{what}\"}}")
}

/// Sends bytes, says nothing more, and returns all that comes until the server closes.
#[track_caller]
fn stall(address: &str, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap_or_else(|error| panic!("{error} after {text:?}"));
    text
}

#[test]
fn too_many_headers_and_too_large_a_head_are_answered_431() {
    let launch = Launch::daemon().args(["--max-headers", "10", "--max-head-size", "8192"]);
    let mut daemon = launch.start();
    let address = daemon.public();
    let head = |fields: String| {
        let request = format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{fields}\r\n");
        exchange(&address, request.as_bytes(), false).statuses()
    };
    assert_eq!(head("X: y\r\n".repeat(8)), [200]);
    assert_eq!(head("X: y\r\n".repeat(9)), [431]);
    assert_eq!(head(format!("X: {}\r\n", "y".repeat(8000))), [200]);
    assert_eq!(head(format!("X: {}\r\n", "y".repeat(8192))), [431]);
}

#[test]
fn what_is_answered_before_it_is_a_request_is_counted_and_logged() {
    let program = Program::with_limits("300ms");
    let (public, large) = (&program.public, "y".repeat(70_000));
    assert_eq!(exchange(public, b"no HTTP\r\n\r\n", false).statuses(), [400]);
    let large = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {large}\r\n\r\n");
    assert_eq!(exchange(public, large.as_bytes(), false).statuses(), [431]);
    assert_eq!(exchange(public, b"GET / HTTP/1.1\r\nHost: te", false).statuses(), [408]);
    let head = "POST /length HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhel";
    assert_eq!(exchange(public, head.as_bytes(), false).statuses(), [408]);
    let requests = |method: &str, status: u16| {
        let labels = format!("server=\"public\",method=\"{method}\",status=\"{status}\"");
        format!("lockstepd_requests_total{{{labels}}}")
    };
    for (method, status) in [("other", 400), ("other", 431), ("other", 408), ("POST", 408)] {
        Samples::wait_for(&program.admin, &requests(method, status), 1.0);
    }
    let ended = program.daemon.stop();
    let events = ended.events();
    let logged = events.iter().filter(|event| event["target"] == "lockstepd::access");
    let logged: Vec<_> =
        logged.map(|event| (event["message"].as_str().unwrap(), &event["status"])).collect();
    let expected = [
        ("request not understood", 400),
        ("request not understood", 431),
        ("request not understood", 408),
        ("request", 408),
    ];
    assert_eq!(logged.len(), expected.len(), "{}", ended.text());
    assert!(
        logged
            .iter()
            .zip(expected)
            .all(|((text, status), (expected, code))| { *text == expected && **status == code })
    );
}

#[test]
fn too_long_a_target_is_answered_414_and_logged_so() {
    let mut daemon = Launch::daemon().args(["--max-head-size", "200000"]).start();
    let target = "y".repeat(70_000);
    let request = format!("GET /{target} HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(exchange(&daemon.public(), request.as_bytes(), false).statuses(), [414]);
    assert_eq!(daemon.event("request not understood")["status"], 414);
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_head_that_does_not_come_is_answered_408() {
    let program = Program::with_limits("300ms");
    let text = stall(&program.public, "GET / HTTP/1.1\r\nHost: te");
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("onnection: close"), "{text}");
    Samples::wait_for(&program.admin, &timeouts("head"), 1.0);
}

#[test]
fn a_head_that_trickles_is_answered_408() {
    let program = Program::with_limits("300ms");
    let mut stream = TcpStream::connect(&program.public).unwrap();
    let mut reader = stream.try_clone().unwrap();
    // A byte of it, again and again, until the server has had enough: each resets no clock.
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut text = [0; 12];
    let mut sent = 0;
    let answered = loop {
        match reader.read(&mut text) {
            Ok(length) => break length,
            Err(_) => stream.write_all(b"y").expect("the server listens until it answers"),
        }
        sent += 1;
        assert!(sent < 3000, "a minute of single bytes was listened to");
    };
    assert_eq!(&text[..answered], b"HTTP/1.1 408");
    Samples::wait_for(&program.admin, &timeouts("head"), 1.0);
}

#[test]
fn a_body_that_does_not_come_is_answered_408() {
    let program = Program::with_limits("300ms");
    let head = "POST /length HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhel";
    let text = stall(&program.public, head);
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("onnection: close"), "{text}");
    Samples::wait_for(&program.admin, &timeouts("body"), 1.0);
}

#[test]
fn a_body_that_nobody_waits_for_and_that_does_not_come_ends_the_connection() {
    let program = Program::with_limits("300ms");
    let text = stall(&program.public, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
    Samples::wait_for(&program.admin, &timeouts("body"), 1.0);
}

#[test]
fn a_connection_without_a_first_byte_is_closed() {
    let program = Program::with_first_byte("60s", "300ms");
    assert_eq!(stall(&program.public, ""), "");
    Samples::wait_for(&program.admin, &timeouts("first_byte"), 1.0);
    assert!((Samples::of(&program.admin).value(&timeouts("idle"))).abs() < 0.5);
}

#[test]
fn a_connection_without_another_request_is_closed() {
    let program = Program::with_limits("300ms");
    let text = stall(&program.public, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("Hello\n"), "{text}");
    Samples::wait_for(&program.admin, &timeouts("idle"), 1.0);
}

/// Asks for a large answer, and takes none of it until the server has given up.
fn take_nothing(program: &Program) -> TcpStream {
    let mut stream = TcpStream::connect(&program.public).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    Samples::wait_for(&program.admin, &timeouts("write"), 1.0);
    stream
}

#[test]
fn a_client_that_takes_nothing_loses_its_connection_and_nobody_else() {
    let program = Program::with_limits("300ms");
    let mut stream = take_nothing(&program);
    let mut client = Client::connect(&program.public);
    assert_eq!(client.request("GET", "/").status, 200);
    // What is in the sockets' buffers still comes; the rest never does.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 64 << 20, "{} bytes", rest.len());
}

#[test]
fn of_an_answer_that_a_client_does_not_take_the_kernel_holds_little() {
    let program = Program::with_limits("300ms");
    let mut stream = take_nothing(&program);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    // The client's own buffer, and not the 4 MiB that Linux lets a sender fill.
    assert!(rest.len() < 1 << 20, "{} bytes", rest.len());
}

#[test]
fn a_client_that_takes_a_large_answer_gets_it_whole() {
    let program = Program::with_limits("10s");
    let heard = exchange(
        &program.public,
        b"GET /large HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
        false,
    );
    assert_eq!(heard.answers[0].body.len(), 64 << 20);
}

#[test]
fn a_client_that_sends_more_than_anybody_reads_gets_its_last_answer_and_an_orderly_end() {
    let mut daemon = Launch::daemon().start();
    // More than is read of a body that nobody wants.
    for (head, most) in [
        ("GET nowhere HTTP/1.1\r\nHost: test\r\n\r\n", 256 << 10),
        ("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9999999\r\n\r\n", 2 << 20),
        (
            "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 9999999\r\n\r\n",
            2 << 20,
        ),
    ] {
        let mut stream = TcpStream::connect(daemon.public()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent = [head.as_bytes(), &vec![b'x'; most]].concat();
        stream.write_all(&sent).unwrap_or_else(|error| panic!("{error} sending {head:?}"));
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap_or_else(|error| panic!("{error} after {text:?}"));
        assert!(text.starts_with("HTTP/1.1 "), "{text}");
    }
    daemon.stop().assert(0, &[]);
}

#[test]
fn where_all_connections_are_busy_accepting_pauses_and_everybody_is_served_later() {
    let limits = ["--max-connections", "8", "--head-timeout", "60s"];
    let mut daemon = Launch::daemon().args(limits).start();
    let (address, admin) = (daemon.public(), daemon.admin());
    let mut busy: Vec<_> = (0..8).map(|_| Client::connect(&address)).collect();
    for client in &mut busy {
        client.send("GET / HTTP/1.1\r\nHost: te");
    }
    let connections = "lockstepd_connections{server=\"public\"}";
    Samples::wait_for(&admin, connections, 8.0);
    let mut waiting: Vec<_> = (0..24).map(|_| Client::connect(&address)).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    let pauses = "lockstepd_accept_pauses_total{server=\"public\"}";
    Samples::wait_for(&admin, pauses, 1.0);
    assert!((Samples::of(&admin).value(connections) - 8.0).abs() < 0.5);
    // One leaves, and those who wait are served, one after the other.
    drop(busy.remove(0));
    for mut client in waiting {
        assert_eq!(client.response("GET").status, 200);
    }
    for client in &mut busy {
        client.send("st\r\n\r\n");
        assert_eq!(client.response("GET").status, 200);
    }
    Samples::wait_for(&admin, pauses, 1.0);
    let ended = daemon.stop();
    let lines = ended.text().matches("all the connections it may have").count();
    assert_eq!((ended.code, lines), (0, 1), "{}", ended.text());
}

#[test]
fn a_client_that_hangs_up_in_every_state_leaves_nothing_behind() {
    let program = Program::with_limits("60s");
    let states: [&[u8]; 6] = [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        b"POST /length HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n",
    ];
    for round in 0..120 {
        let mut stream = TcpStream::connect(&program.public).unwrap();
        stream.write_all(states[round % states.len()]).unwrap();
        let how = [Shutdown::Both, Shutdown::Read][round / states.len() % 2];
        // On a connection that is gone there is nothing to shut down.
        let _ = stream.shutdown(how);
    }
    let gone = |samples: &Samples| {
        samples.value("lockstepd_connections{server=\"public\"}") < 0.5
            && samples.value("lockstepd_requests_in_flight{server=\"public\"}") < 0.5
    };
    crate::support::wait_until("all are gone", PATIENCE, || gone(&Samples::of(&program.admin)));
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn a_client_that_never_stops_asking_holds_up_no_upgrade() {
    let mut program = Program::with_limits("60s");
    program.daemon.event("ready");
    let client = TcpStream::connect(&program.public).unwrap();
    let (mut asking, mut hearing) = (client.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        let requests = "GET /later HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100);
        while asking.write_all(requests.as_bytes()).is_ok() {}
    });
    let mut answers = [0; 4096];
    hearing.read_exact(&mut answers).unwrap();
    thread::spawn(move || while matches!(hearing.read(&mut answers), Ok(1..)) {});
    program.daemon.signal(Signal::USR2);
    // Or else it is not upgraded, at the drain time-out.
    let outcome = program.daemon.find("what becomes of the upgrade", |event| {
        ["took connections over", "not upgraded"].iter().any(|text| event["message"] == *text)
    });
    assert_eq!(outcome["message"], "took connections over", "{outcome}");
    client.shutdown(Shutdown::Both).unwrap();
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn line_ends_that_no_request_follows_are_no_reason_to_wait_or_to_turn() {
    let mut daemon =
        Launch::daemon().args(["--idle-timeout", "1s"]).args(["--linger", "100ms"]).start();
    let request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n\r\n\n\r\n";
    // Idle for as long as anybody, and then closed without a word; what is dripped meanwhile does not count.
    let mut client = TcpStream::connect(daemon.public()).unwrap();
    client.write_all(request).unwrap();
    let drips = client.try_clone().unwrap();
    let dripping = thread::spawn(move || {
        let mut drips = drips;
        while drips.write_all(b"\r\n").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    let heard = hear(&client);
    assert_eq!(heard.statuses(), [200], "{}", heard.summary());
    dripping.join().unwrap();

    // And nobody is held up by them at a stop.
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = TcpStream::connect(daemon.public()).unwrap();
            client.write_all(request).unwrap();
            client.read_exact(&mut [0; 12]).unwrap();
            client.write_all(b"\r\n").unwrap();
            client
        })
        .collect();
    let ended = daemon.stop();
    ended.assert(0, &[]);
    drop(clients);
}
