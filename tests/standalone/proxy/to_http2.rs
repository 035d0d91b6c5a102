//! An application that speaks HTTP/2 with prior knowledge, as one of gRPC does.

use std::fs;

use rustix::process::Signal;

use super::{
    Place, application,
    restarts::{assert_executed_once, assert_unharmed, under_load},
};

use crate::support::{
    Application, Client, Daemon, Http2, Launch,
    http2::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, field},
};

/// What the log says of an answer that is none.
const ANSWERED: &str = "a request is answered for the application";

/// The field `x-sum: 6` as h2 writes it: a literal, in Huffman's code (RFC 7541, sections 5.2 and 6.2.2).
const X_SUM_6: [u8; 8] = [0, 0x84, 0xf2, 0xb2, 0x2d, 0xa7, 0x81, 0x73];

// === impl Place ===

impl Place {
    #[track_caller]
    fn http2(&self, options: &[&str]) -> Application {
        Application::program("application_http2", &self.address(), &self.executed(), options)
    }
}

/// A daemon before an application that has these options.
#[track_caller]
fn started(options: &[&str]) -> (Place, Application, Daemon) {
    let place = Place::new();
    let there = place.http2(options);
    let daemon = place.launch().args(["--proxy-http2", "true"]).start();
    (place, there, daemon)
}

/// Sends a request of HTTP/1.1, and answers the status and the body.
#[track_caller]
fn ask(client: &mut Client, text: &str) -> (u16, String) {
    client.send(text);
    let response = client.response(text.split(' ').next().expect("it has a method"));
    (response.status, response.body)
}

#[test]
fn a_request_of_http1_is_one_of_http2_to_the_application() {
    let (_place, _there, mut daemon) = started(&[]);
    let mut client = Client::connect(&daemon.public());
    let text = "GET /fields?a=%20b HTTP/1.1\r\nHost: shop.example:8080\r\nConnection: te, x-secret\r\n\
                X-Secret: 1\r\nTE: trailers, deflate\r\nX-Kept: 1\r\nX-Kept: 2\r\nKeep-Alive: 5\r\n\
                Upgrade: websocket\r\n\r\n";
    let (status, body) = ask(&mut client, text);
    assert_eq!(status, 200);
    let mut lines: Vec<_> = body.lines().collect();
    assert_eq!(
        lines.drain(..3).collect::<Vec<_>>(),
        [":GET /fields?a=%20b", ":shop.example:8080", ":http"]
    );
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "forwarded: for=127.0.0.1;proto=http;host=\"shop.example:8080\"",
            "te: trailers",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: shop.example:8080",
            "x-forwarded-proto: http",
            "x-kept: 1",
            "x-kept: 2",
        ]
    );
    // The same connection to the application, and the answer's end is seen.
    for _ in 0..3 {
        let post = "POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
        assert_eq!(ask(&mut client, post), (200, "POST /post 4\n".to_owned()));
    }
    let shown = application(&mut daemon);
    assert_eq!((&shown["connects"], &shown["http2"]), (&1.into(), &true.into()), "{shown}");
    drop(client);
    let ended = daemon.stop();
    ended.assert(0, &[]);
    assert!(!ended.text().contains("not answered to its end"), "{}", ended.text());
}

#[test]
fn bodies_go_both_ways_at_once_and_so_do_their_trailers() {
    let (_place, _there, mut daemon) = started(&[]);
    let mut client = Http2::connect(&daemon.public());
    let stream = client.request("POST", "/echo", &[("te", "trailers")], false);
    for piece in ["one", "two"] {
        client.data(stream, piece.as_bytes(), false);
        // It is back before the next is sent.
        let echoed = client.wait_for(DATA);
        assert_eq!((&*echoed.payload, echoed.flags), (piece.as_bytes(), 0));
    }
    client.send(HEADERS, END_HEADERS | END_STREAM, stream, &field("x-sum", "6"));
    let answer = client.answer(stream);
    assert_eq!((answer.status, answer.text()), (Some(200), "onetwo".to_owned()));
    let trailers = client.seen.iter().rfind(|frame| frame.kind == HEADERS).unwrap();
    assert_eq!(trailers.flags & END_STREAM, END_STREAM);
    assert_eq!(trailers.payload, X_SUM_6);
    drop(client);
    daemon.stop().assert(0, &[]);
}

#[test]
fn an_answer_that_comes_before_the_body_has_an_end() {
    let (_place, _there, mut daemon) = started(&[]);
    let mut client = Http2::connect(&daemon.public());
    let stream = client.request("POST", "/early", &[], false);
    client.data(stream, b"some", false);
    let answer = client.answer(stream);
    assert_eq!((answer.status, answer.text()), (Some(200), "early\n".to_owned()));
    drop(client);
    daemon.stop().assert(0, &[]);
}

#[test]
fn trailers_are_no_head_of_another_request() {
    let (_place, _there, mut daemon) = started(&[]);
    let mut client = Client::connect(&daemon.public());
    let post = "POST /fields HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\
                X-Sum: 6\r\nHost: evil\r\nContent-Length: 7\r\nTransfer-Encoding: x\r\nTE: x\r\nProxy: evil\r\n\
                Authorization: evil\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    let (status, body) = ask(&mut client, post);
    assert_eq!(status, 200);
    let mut lines: Vec<_> = body.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            ":POST /fields",
            ":http",
            ":x",
            "forwarded: for=127.0.0.1;proto=http;host=\"x\"",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: x",
            "x-forwarded-proto: http",
            "x-sum: 6",
        ]
    );
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_large_body_passes_a_small_window() {
    let (_place, _there, mut daemon) = started(&[]);
    let mut client = Client::connect(&daemon.public());
    let body = "b".repeat(3 << 20);
    let length = body.len();
    let post = format!("POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
    assert_eq!(ask(&mut client, &post), (200, format!("POST /post {length}\n")));
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_request_that_is_refused_is_sent_again_whatever_its_method() {
    let (_place, there, mut daemon) = started(&["--refuse", "2"]);
    let mut client = Client::connect(&daemon.public());
    let post = "POST /post?id=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(ask(&mut client, post), (200, "POST /post 4\n".to_owned()));
    assert_eq!(there.executed_ids(), ["1"]);
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_reset_after_which_it_may_have_been_executed_is_the_answer_to_a_post() {
    let (_place, there, mut daemon) = started(&[]);
    let mut client = Client::connect(&daemon.public());
    let (status, _) =
        ask(&mut client, "POST /reset?id=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(status, 502);
    assert_eq!(there.executed_ids(), ["1"]);
    daemon.event(ANSWERED);
    daemon.stop().assert(0, &[]);
}

#[test]
fn an_application_of_the_other_protocol_gives_no_proper_answer_and_the_log_says_so() {
    let place = Place::new();
    let _http1 = place.application(&[]);
    let mut daemon = place.launch().args(["--proxy-http2", "true"]).start();
    assert_eq!(daemon.get_public("/").status, 502);
    let error = daemon.event(ANSWERED)["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("the application's answer is no HTTP: HTTP/2: "), "{error}");
    assert!(error.ends_with("(does it speak HTTP/1.1? see proxy.http2)"), "{error}");
    daemon.stop().assert(0, &[]);

    let place = Place::new();
    let _http2 = place.http2(&[]);
    let mut daemon = place.launch().start();
    assert_eq!(daemon.get_public("/").status, 502);
    let error = daemon.event(ANSWERED)["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("the application's answer is no HTTP: "), "{error}");
    assert!(error.ends_with("(does it speak HTTP/2? see proxy.http2)"), "{error}");
    daemon.stop().assert(0, &[]);
}

#[test]
fn an_application_hears_that_its_client_has_left() {
    let (_place, mut there, mut daemon) = started(&[]);
    let mut client = Http2::connect(&daemon.public());
    let stream = client.get("/hang?id=7");
    there.executes("7");
    client.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    assert_eq!(there.gone(), "/hang 7");
    daemon.stop().assert(0, &[]);
}

#[test]
fn sigkill_executes_no_post_twice() {
    let (place, there, mut daemon) = started(&[]);
    let mut there = Some(there);
    let report = under_load(&mut daemon, |_| {
        there.take().expect("it runs").kill();
        there = Some(place.http2(&[]));
    });
    println!("{report}");
    assert_unharmed(daemon);
    assert_executed_once(&place.executed(), &report.failures);
}

#[test]
fn a_stop_in_order_fails_nothing() {
    let (place, there, mut daemon) = started(&[]);
    let mut there = Some(there);
    let report = under_load(&mut daemon, |_| {
        assert_eq!(there.take().expect("it runs").stop(), 0);
        there = Some(place.http2(&[]));
    });
    println!("{report}");
    assert_unharmed(daemon);
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert_executed_once(&place.executed(), &[]);
}

#[test]
fn a_reload_changes_the_protocol() {
    let (old, new) = (Place::new(), Place::new());
    let (_http1, _http2) = (old.application(&[]), new.http2(&[]));
    let file = old.directory.path().join("lockstepd.toml");
    let write = |place: &Place, more: &str| {
        let text = format!("[public]\nproxy = \"{}\"\n[proxy]\n{more}", place.address());
        fs::write(&file, text).unwrap();
    };
    write(&old, "");
    let mut daemon = Launch::daemon().env("LOCKSTEPD_CONFIG", &file).start();
    assert_eq!(daemon.get_public("/").body, "Hello -\n");
    // One that speaks the other protocol is not well.
    write(&new, "health = \"/up\"\n");
    daemon.signal(Signal::HUP);
    let refused = daemon.event("not reloaded; the configuration before holds");
    assert!(refused["error"].as_str().unwrap().contains("cannot pass requests on to"), "{refused}");
    assert_eq!(daemon.get_public("/").body, "Hello -\n");
    write(&new, "health = \"/up\"\nhttp2 = true\n");
    daemon.signal(Signal::HUP);
    daemon.event("reloaded");
    assert_eq!(daemon.get_public("/").body, "GET / 0\n");
    // At the same address.
    write(&new, "");
    daemon.signal(Signal::HUP);
    let changed = daemon.event("requests go on by another version of HTTP");
    assert_eq!(changed["http2"], false, "{changed}");
    daemon.event("reloaded");
    assert_eq!(daemon.get_public("/").status, 502);
    daemon.stop().assert(0, &[]);
}
