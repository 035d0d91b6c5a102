//! The lame duck time: clients are served as before, and `/ready` says that no more should come.

use std::{net::TcpListener, os::unix::net::UnixDatagram};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    program::FOR_EVER,
    support::{
        Client, Daemon, Http2, Launch, PATIENCE, get,
        http2::{ALL_STREAMS, NO_ERROR},
        wait_until,
    },
};

/// What the log says when it begins, when a second signal ends it, and when it is over.
const BEGINS: &str = "serving as before, but not ready any more";
const CUT_SHORT: &str = "ending the lame duck time: a second signal came";
const ENDS: &str = "the lame duck time is over: draining";

#[test]
fn everybody_is_served_as_before_while_ready_says_503() {
    let mut daemon = lame_duck(FOR_EVER);
    let mut kept = Client::connect(&daemon.public());
    kept.request("GET", "/");
    daemon.signal(Signal::TERM);
    daemon.event(BEGINS);
    assert_eq!(get(&daemon.admin(), "/live").status, 200);
    let ready = daemon.get_admin("/ready");
    assert_eq!((ready.status, ready.body.as_str()), (503, "lame duck\n"));
    let mut new = Client::connect(&daemon.public());
    for client in [&mut kept, &mut new] {
        let response = client.request("GET", "/");
        assert_eq!((response.status, response.header("connection")), (200, None));
    }
    let status: Value = serde_json::from_str(&daemon.get_admin("/status").body).unwrap();
    assert_eq!((&status["phase"], &status["stop_cause"]), (&"lame duck".into(), &"SIGTERM".into()));
    drop((kept, new));
    daemon.insist_until(Signal::TERM, ENDS);
    daemon.end().assert(0, &[]);
}

#[test]
fn clients_of_http2_are_told_when_it_is_over_and_not_before() {
    let mut daemon = lame_duck(FOR_EVER);
    let ask = |client: &mut Http2| {
        let asked = client.get("/");
        assert_eq!(client.answer(asked).status, Some(200));
    };
    let mut kept = Http2::connect(&daemon.public());
    ask(&mut kept);
    daemon.signal(Signal::TERM);
    daemon.event(BEGINS);
    let mut new = Http2::connect(&daemon.public());
    for client in [&mut kept, &mut new] {
        for _ in 0..2 {
            ask(client);
        }
        assert_eq!(client.goaways(), []);
    }
    daemon.insist_until(Signal::TERM, ENDS);
    for mut client in [kept, new] {
        assert_eq!(client.rest()[0], (ALL_STREAMS, NO_ERROR));
    }
    daemon.end().assert(0, &[]);
}

#[test]
fn it_ends_by_itself_and_the_stop_goes_on() {
    let mut daemon = lame_duck("1s");
    let mut kept = Client::connect(&daemon.public());
    kept.request("GET", "/");
    let public = daemon.public();
    daemon.signal(Signal::TERM);
    daemon.event(ENDS);
    wait_until("public refuses", PATIENCE, || Client::try_connect(&public).is_err());
    drop(kept);
    let ended = daemon.end();
    ended.assert(0, &[BEGINS]);
    assert!(!ended.text().contains(CUT_SHORT), "{}", ended.text());
}

#[test]
fn an_interrupt_and_a_requested_stop_are_followed_by_it() {
    let mut daemon = lame_duck(FOR_EVER);
    daemon.signal(Signal::INT);
    daemon.event(BEGINS);
    daemon.insist_until(Signal::INT, ENDS);
    daemon.end().assert(0, &["SIGINT", CUT_SHORT]);

    let mut daemon = lame_duck(FOR_EVER);
    assert_eq!(daemon.get_admin("/listener?stop=x").status, 200);
    daemon.event(BEGINS);
    daemon.insist_until(Signal::TERM, ENDS);
    daemon.end().assert(0, &["stop requested: x", CUT_SHORT]);
}

#[test]
fn a_second_signal_begins_the_drain_and_loses_nothing() {
    let mut daemon = lame_duck(FOR_EVER);
    let mut client = half_a_request(&daemon.admin());
    daemon.signal(Signal::TERM);
    daemon.insist_until(Signal::TERM, ENDS);
    client.send("half");
    assert_eq!(client.response("POST").status, 202);
    drop(client);
    let ended = daemon.end();
    ended.assert(0, &[CUT_SHORT]);
    assert!(!ended.text().contains("ending at once"), "{}", ended.text());
}

#[test]
fn a_third_signal_cuts_off_what_is_in_flight() {
    let mut daemon = lame_duck(FOR_EVER);
    let _client = half_a_request(&daemon.admin());
    daemon.signal(Signal::TERM);
    daemon.insist_until(Signal::TERM, ENDS);
    daemon.insist(Signal::TERM).assert(3, &["ending at once", "requests were cut off"]);
}

#[test]
fn a_failure_is_not_followed_by_it_and_ends_it() {
    let mut daemon = lame_duck(FOR_EVER);
    daemon.get_admin("/listener?fail=x");
    let ended = daemon.end();
    ended.assert(1, &["admin failed: x"]);
    assert!(!ended.text().contains(BEGINS), "{}", ended.text());

    let mut daemon = lame_duck(FOR_EVER);
    daemon.signal(Signal::TERM);
    daemon.event(BEGINS);
    daemon.get_admin("/listener?fail=x");
    daemon.end().assert(0, &["another member failed during the stop", ENDS]);
}

#[test]
fn an_upgrade_in_place_is_not_preceded_by_it() {
    let mut daemon = lame_duck(FOR_EVER);
    daemon.signal(Signal::USR2);
    daemon.lines_with(2, "\"message\":\"ready\"");
    daemon.signal(Signal::TERM);
    daemon.insist_until(Signal::TERM, ENDS);
    let ended = daemon.end();
    ended.assert(0, &[]);
    assert_eq!(ended.text().matches(BEGINS).count(), 1, "{}", ended.text());
}

#[test]
fn an_idle_exit_is_not_followed_by_it() {
    let bind = || TcpListener::bind(format!("{}:0", Launch::address())).unwrap();
    let (public, admin) = (bind(), bind());
    let launch = Launch::bare().inherit("public", public).inherit("admin", admin);
    let ended = launch.args(["--lame-duck", FOR_EVER, "--idle-exit", "50ms"]).end();
    ended.assert(0, &["idle"]);
    assert!(!ended.text().contains(BEGINS), "{}", ended.text());
}

#[test]
fn a_reload_changes_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lockstepd.toml");
    std::fs::write(&file, "lame_duck = \"0s\"\n").unwrap();
    let mut daemon = Launch::daemon().env("LOCKSTEPD_CONFIG", &file).start();
    std::fs::write(&file, format!("lame_duck = \"{FOR_EVER}\"\n")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.event("reloaded");
    daemon.signal(Signal::TERM);
    daemon.event(BEGINS);
    daemon.insist_until(Signal::TERM, ENDS);
    daemon.end().assert(0, &[]);
}

#[test]
fn the_service_manager_hears_of_it_and_is_asked_to_wait() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let launch = Launch::daemon().args(["--lame-duck", "600s"]);
    let mut daemon = launch.env("NOTIFY_SOCKET", &path).start();
    daemon.signal(Signal::TERM);
    // What begins so, and the status behind it.
    let status_of = |begin: &str| {
        loop {
            let mut message = [0; 4096];
            let length = manager.recv(&mut message).expect("it is said");
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if let Some((first, status)) = text.trim_end().split_once('\n') {
                if first == begin {
                    return status.to_owned();
                }
            }
        }
    };
    let status = "STATUS=Stopping: SIGTERM; serving as before for ";
    assert!(status_of("STOPPING=1").starts_with(status));
    for _ in 0..2 {
        assert!(status_of("EXTEND_TIMEOUT_USEC=10000000").starts_with(status));
    }
    daemon.insist_until(Signal::TERM, ENDS);
    daemon.end().assert(0, &[]);
}

fn lame_duck(time: &str) -> Daemon {
    Launch::daemon().args(["--lame-duck", time, "--drain-timeout", FOR_EVER]).start()
}

/// The public server answers everything at once; the admin server waits for a body.
fn half_a_request(admin: &str) -> Client {
    let mut client = Client::connect(admin);
    client.send("POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n");
    client.send("Expect: 100-continue\r\n\r\n");
    assert_eq!(client.response("POST").status, 100);
    client.send("half");
    client
}
