//! What is in the middle of something at an upgrade in place.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use rustix::process::Signal;

use crate::secured::Secured;
use crate::support::{Client, Control, Load, PATIENCE, Server, TlsRelay, wait_until};

const GREETING: &str = "Hello, Serve is running...\n";

#[test]
fn the_beginning_of_a_request_goes_along() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let relay = secured.relay();
    let mut client = Client::connect(&relay.address());
    assert_eq!(client.request("GET", "/").body, GREETING);
    let before = relay.sent();
    client.send("GET / HTTP/1.1\r\nHo");
    wait_until("half a request is on its way", PATIENCE, || relay.sent() > before);
    secured.upgrade();
    client.send("st: x\r\n\r\n");
    assert_eq!(client.response("GET").body, GREETING);
    secured.daemon.stop().assert(0, &[]);
}

/// Clients that have sent these many bytes of the record that their second request is in, each for its own daemon: what
/// happens `meanwhile` has to let the rest through, or else that comes in the end.
#[track_caller]
fn with_half_a_record(meanwhile: impl Fn(&mut Secured, &TlsRelay)) {
    for part in [1, 5, 6, 20] {
        let Some(mut secured) = Secured::start(&[]) else { return };
        let relay = secured.relay();
        let mut client = Client::connect(&relay.address());
        assert_eq!(client.request("GET", "/").body, GREETING);
        let before = relay.sent();
        relay.allow(before + part);
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        wait_until("half a record is sent", PATIENCE, || relay.sent() == before + part);
        meanwhile(&mut secured, &relay);
        relay.allow(u64::MAX);
        assert_eq!(client.response("GET").body, GREETING);
        secured.daemon.lines_with(2, "\"message\":\"ready\"");
        assert_eq!(client.request("GET", "/").body, GREETING);
        secured.daemon.stop().assert(0, &[]);
    }
}

#[test]
fn a_request_of_which_half_a_record_has_come_is_answered_by_one_process_or_the_other() {
    with_half_a_record(|secured, relay| {
        secured.daemon.signal(Signal::USR2);
        secured.daemon.event("upgrading in place");
        relay.allow(u64::MAX);
    });
}

#[test]
fn half_a_record_goes_along_and_holds_nothing_up() {
    with_half_a_record(|secured, _| {
        secured.upgrade();
        secured.upgrade();
    });
}

/// A client of which a part of its second request's record has come.
fn in_a_record(secured: &mut Secured) -> (TlsRelay, Client) {
    let relay = secured.relay();
    let mut client = Client::connect(&relay.address());
    assert_eq!(client.request("GET", "/").body, GREETING);
    let before = relay.sent();
    relay.allow(before + 6);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_until("half a record is sent", PATIENCE, || relay.sent() == before + 6);
    (relay, client)
}

#[test]
fn a_connection_within_a_record_is_not_idle() {
    let Some(mut secured) = Secured::start(&["--idle-timeout", "2s"]) else { return };
    let (relay, mut client) = in_a_record(&mut secured);
    let other = secured.relay();
    let mut idle = Client::connect(&other.address());
    assert_eq!(idle.request("GET", "/").body, GREETING);
    assert!(idle.is_closed());
    relay.allow(u64::MAX);
    assert_eq!(client.response("GET").body, GREETING);
    // The time begins anew behind the request.
    assert!(client.is_closed());
    let timeouts = "lockstepd_timeouts_total{server=\"public\",waiting_for=\"idle\"}";
    assert_eq!(secured.metric(timeouts), 2);
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn the_rest_of_a_record_has_as_long_as_that_of_a_head() {
    let Some(mut secured) = Secured::start(&["--head-timeout", "500ms"]) else { return };
    let (_relay, mut client) = in_a_record(&mut secured);
    assert!(client.is_closed());
    let timeouts = "lockstepd_timeouts_total{server=\"public\",waiting_for=\"head\"}";
    assert_eq!(secured.metric(timeouts), 1);
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn who_has_not_begun_the_handshake_makes_it_with_the_next_process() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let relay = secured.relay();
    relay.allow(0);
    let mut client = Client::connect(&relay.address());
    let accepted = "lockstepd_connections_accepted_total{server=\"public\"}";
    wait_until("it is accepted", PATIENCE, || secured.metric(accepted) == 1);
    secured.upgrade();
    relay.allow(u64::MAX);
    assert_eq!(client.request("GET", "/").body, GREETING);
    let handshakes = "lockstepd_tls_handshakes_total{server=\"public\",result=\"full\"}";
    assert_eq!(secured.metric(handshakes), 1);
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn half_a_handshake_does_not_hold_up_an_upgrade() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let (relay, other) = (secured.relay(), secured.relay());
    relay.allow(100);
    let mut client = Client::connect(&relay.address());
    wait_until("half a ClientHello is sent", PATIENCE, || relay.sent() == 100);
    let mut idle = Client::connect(&other.address());
    assert_eq!(idle.request("GET", "/").body, GREETING);
    secured.upgrade();
    assert!(client.is_closed());
    assert_eq!(idle.request("GET", "/").body, GREETING);
    secured.daemon.stop().assert(0, &[]);
}

#[test]
fn clients_under_load_lose_no_request_at_upgrades() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let relay = secured.relay();
    let load = Load::on(Server::Tcp(relay.address().parse().unwrap()));
    let control = Control::default();
    let report = std::thread::scope(|scope| {
        let crowd = scope.spawn(|| load.run(&control));
        for _ in 0..5 {
            more_answers(&control);
            secured.upgrade();
        }
        more_answers(&control);
        control.stop();
        crowd.join().unwrap()
    });
    assert_eq!(report.failures, Vec::<String>::new());
    assert_eq!(report.connections, 32, "{report:?}");
    secured.daemon.stop().assert(0, &[]);
}

/// Waits until the crowd has had more answers.
#[track_caller]
fn more_answers(control: &Control) {
    let before = control.answers();
    wait_until("more answers", PATIENCE, || control.answers() > before + 100);
}

#[test]
fn a_client_that_sends_no_more_gets_its_answer() {
    let Some(mut secured) = Secured::start(&[]) else { return };
    let relay = secured.relay();
    let mut client = TcpStream::connect(relay.address()).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(GREETING), "{answer:?}");
    secured.daemon.stop().assert(0, &[]);
}
