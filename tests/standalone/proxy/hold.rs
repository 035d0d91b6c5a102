//! `lockstepd hold` and `lockstepd release`: an announced restart of the application.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::{OK, Place, answer, application, assert_in_flight, hears_ok, played, request};

use crate::support::{BINARY, Daemon, End, Launch, PATIENCE, Played, wait_until};

const HELD: &str = "new requests wait: the application is held";
const ENDED: &str = "the application is held no longer";

/// Starts `lockstepd` with these arguments, for the daemon with this admin server.
fn telling(admin: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--admin", admin]);
    command.env("LOCKSTEPD_CONFIG", "/dev/null").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it is built and can be executed")
}

/// Its exit code, and what it said on either output.
#[track_caller]
fn said(child: Child) -> (i32, String) {
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("no signal ends it"), String::from_utf8_lossy(&said).into_owned())
}

/// Tells the daemon something, and waits for its answer.
#[track_caller]
pub(super) fn tell(admin: &str, arguments: &[&str]) -> (i32, String) {
    said(telling(admin, arguments))
}

/// Waits until one request waits.
#[track_caller]
fn assert_one_waits(daemon: &mut Daemon) {
    wait_until("one request waits", PATIENCE, || application(daemon)["waiting_requests"] == 1);
}

/// Accepts connections until one brings a request: a hold looks from time to time whether the application is there.
#[track_caller]
fn next_request(played: &Played) -> (End, String) {
    loop {
        let mut application = played.accept();
        if application.has_more() {
            let head = application.head();
            return (application, head.first().to_owned());
        }
    }
}

#[test]
fn a_hold_waits_for_what_is_in_flight_and_lets_nothing_new_in() {
    let (_place, played, mut daemon, public) = played(&[]);
    let admin = daemon.admin();
    let mut slow = End::asking(&public, request("GET /slow", ""));
    let (mut there, first) = next_request(&played);
    assert_eq!(first, "GET /slow HTTP/1.1");
    let mut hold = telling(&admin, &["hold", "--timeout", "60s"]);
    let event = daemon.event(HELD);
    assert_eq!(event["level"], "INFO");
    let mut new = End::asking(&public, request("POST /new", ""));
    assert_one_waits(&mut daemon);
    let status = application(&mut daemon);
    assert_eq!((&status["state"], &status["requests_in_flight"]), (&"held".into(), &1.into()));
    assert!(hold.try_wait().unwrap().is_none());
    there.send(OK);
    hears_ok(&mut slow);
    assert_eq!(said(hold), (0, "public: held, nothing is in flight\n".to_owned()));
    assert_eq!(application(&mut daemon)["waiting_requests"], 1);
    assert_eq!(tell(&admin, &["release"]), (0, "public: released\n".to_owned()));
    // Over the kept connection, or another.
    drop(there);
    let (mut there, first) = next_request(&played);
    assert_eq!(first, "POST /new HTTP/1.1");
    there.send(OK);
    hears_ok(&mut new);
    daemon.event(ENDED);
    assert_eq!(application(&mut daemon)["state"], "there");
    assert_eq!(tell(&admin, &["release"]), (0, "public: was not held\n".to_owned()));
}

#[test]
fn a_hold_does_not_wait_for_events_and_tunnels() {
    let (_place, played, mut daemon, public) = played(&[]);
    let mut events = End::asking(&public, request("GET /events", ""));
    let mut one = played.accept();
    one.head();
    let fields = "Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n";
    one.send(answer("200 OK", fields));
    assert_eq!(events.head().status(), 200);
    let offer = "Connection: Upgrade\r\nUpgrade: raw\r\n";
    let mut tunnel = End::asking(&public, request("GET /ws", offer));
    let mut two = played.accept();
    two.head();
    two.send(answer("101 Switching Protocols", offer));
    assert_eq!(tunnel.head().status(), 101);
    let (code, text) = tell(&daemon.admin(), &["hold", "--timeout", "60s", "--strict"]);
    assert_eq!((code, &*text), (0, "public: held, nothing is in flight\n"));
    // They go on.
    one.send("2\r\nhi\r\n");
    events.hears("2\r\nhi\r\n");
    two.send("hi");
    tunnel.hears("hi");
}

#[test]
fn a_hold_that_has_waited_long_enough_says_what_is_in_flight() {
    let (_place, played, mut daemon, public) = played(&[]);
    let _slow = End::asking(&public, request("GET /slow", ""));
    let mut there = played.accept();
    there.head();
    let (code, text) = tell(&daemon.admin(), &["hold", "--timeout", "100ms"]);
    assert_eq!((code, &*text), (0, "public: held, requests are still in flight\n"));
    assert_eq!(application(&mut daemon)["state"], "held");
}

#[test]
fn a_hold_ends_when_the_application_was_away_and_is_back() {
    let place = Place::new();
    let mut there = Some(place.application(&["--graceful"]));
    let mut daemon = place.launch().start();
    let admin = daemon.admin();
    assert_eq!(tell(&admin, &["hold", "--strict"]).0, 0);
    let mut client = End::asking(&daemon.public(), request("POST /", "Content-Length: 0\r\n"));
    assert_one_waits(&mut daemon);
    // It looks from time to time: an application may be back before it was seen to be away.
    wait_until("the hold has ended", PATIENCE, || {
        if let Some(application) = there.take() {
            assert_eq!(application.stop(), 0);
            thread::sleep(Duration::from_millis(500));
            there = Some(place.application(&["--graceful"]));
        }
        application(&mut daemon)["state"] != "held"
    });
    assert_eq!(client.head().status(), 200);
    let event = daemon.event(ENDED);
    assert_eq!(event["why"], "it is back");
}

#[test]
fn a_hold_ends_when_its_time_is_over() {
    let place = Place::new();
    let _there = place.application(&[]);
    let mut daemon = place.launch().start();
    let (code, _) = tell(&daemon.admin(), &["hold", "--longest", "300ms", "--strict"]);
    assert_eq!(code, 0);
    let mut client = End::asking(&daemon.public(), request("POST /", "Content-Length: 0\r\n"));
    assert_eq!(client.head().status(), 200);
    assert_eq!(daemon.event(ENDED)["why"], "the hold's time is over");
}

#[test]
fn a_request_that_waits_through_a_hold_waits_no_longer_than_others() {
    let place = Place::new();
    let there = place.application(&[]);
    let mut daemon = place.launch().args(["--proxy-wait", "300ms"]).start();
    assert_eq!(tell(&daemon.admin(), &["hold", "--strict"]).0, 0);
    let mut client = End::asking(&daemon.public(), request("GET /", ""));
    let head = client.head();
    assert_eq!((head.status(), head.all("retry-after").len()), (503, 1));
    assert_eq!(there.executed(), []);
}

#[test]
fn where_no_daemon_answers_only_strict_is_a_failure() {
    let admin = Launch::free_address();
    for order in ["hold", "release"] {
        let (code, text) = tell(&admin, &[order]);
        assert_eq!(code, 0);
        assert!(text.contains("cannot ask the admin server on") && text.contains(&admin), "{text}");
        assert_eq!(tell(&admin, &[order, "--strict"]).0, 1);
    }
}

#[test]
fn the_answer_of_another_server_is_not_taken_for_the_daemons() {
    let place = Place::new();
    let there = place.application(&[]);
    let mut daemon = place.launch().start();
    let public = daemon.public();
    for order in ["hold", "release"] {
        let (code, text) = tell(&public, &[order, "--strict"]);
        assert_eq!(code, 1);
        assert!(text.contains("is no admin server of lockstepd"), "{text}");
    }
    assert_eq!(application(&mut daemon)["state"], "there");
    drop(there);
}

#[test]
fn requests_that_are_still_in_flight_are_a_failure_where_that_matters() {
    let place = Place::new();
    let _there = place.application(&[]);
    let mut daemon = place.launch().start();
    let _busy = End::asking(&daemon.public(), request("GET /hang", ""));
    assert_in_flight(&mut daemon, 1);
    let admin = daemon.admin();
    let (code, text) = tell(&admin, &["hold", "--timeout", "100ms", "--strict"]);
    assert_eq!((code, &*text), (1, "public: held, requests are still in flight\n"));
    assert_eq!(tell(&admin, &["hold", "--timeout", "100ms"]).0, 0);
}

#[test]
fn a_server_without_an_application_cannot_be_held() {
    let mut daemon = Launch::daemon().start();
    let (code, text) = tell(&daemon.admin(), &["hold", "--strict"]);
    assert_eq!(code, 1, "{text}");
    let place = Place::new();
    let mut daemon = place.launch().start();
    for order in ["hold", "release"] {
        let (code, text) = tell(&daemon.admin(), &[order, "--server", "other", "--strict"]);
        assert_eq!(code, 1);
        assert!(text.contains("no server \"other\" has an application"), "{text}");
    }
    assert_eq!(application(&mut daemon)["state"], "there");
}

#[test]
fn a_unix_admin_server_is_asked_as_well() {
    let place = Place::new();
    let _there = place.application(&[]);
    let admin = format!("unix:{}", place.directory.path().join("admin.sock").display());
    let launch = Launch::on(&format!("{}:0", Launch::address()), &admin);
    let _daemon = launch.args(["--public-proxy", &place.address()]).start();
    assert_eq!(tell(&admin, &["hold", "--strict"]).0, 0);
    assert_eq!(tell(&admin, &["release", "--strict"]), (0, "public: released\n".to_owned()));
}
