//! Clients that shut their half of the connection down behind the request, as `nc -N` and Java's do: they wait
//! for the answer, and those that are gone do not.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use axum::{
    Router,
    http::StatusCode,
    routing::{any, get},
};
use lockstepd::Daemon;
use socket2::SockRef;
use tokio::sync::Semaphore;

use crate::{
    Running,
    support::{PATIENCE, hear},
};

/// Requests that offer to speak another protocol, which nobody takes; two are refused.
const OFFERS: [(&str, u16); 4] = [
    (
        "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        200,
    ),
    (
        "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        200,
    ),
    ("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", 400),
    ("GET /at-once HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200),
];

/// More than the kernel holds for a client that does not take it.
const LARGE: usize = 32 << 20;

const SLOW: &str = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";

/// A daemon whose `/slow` takes as long as it must.
struct Slow {
    running: Running,
    /// One permit for each answer.
    permits: Arc<Semaphore>,
    /// What handlers of `/slow` do: begin, and end.
    heard: Receiver<&'static str>,
}

/// Says so when a handler ends, with an answer or without.
struct Guard(Sender<&'static str>);

impl Drop for Guard {
    fn drop(&mut self) {
        // The test may be over.
        let _ = self.0.send("ended");
    }
}

impl Slow {
    fn start() -> Self {
        let permits = Arc::new(Semaphore::new(0));
        let (said, heard) = channel();
        let waits = Arc::clone(&permits);
        let slow = move || async move {
            let _ = said.send("begun");
            let _guard = Guard(said);
            waits.acquire().await.unwrap().forget();
            "slow\n"
        };
        let router = Router::new()
            .route("/slow", get(slow))
            .route("/at-once", get(|| async { "at once\n" }))
            .route("/large", get(|| async { vec![b'x'; LARGE] }))
            .fallback(any(|| async { StatusCode::BAD_REQUEST }));
        let daemon = Daemon::new("test").server("public", "127.0.0.1:0", router);
        Self { running: Running::start(daemon), permits, heard }
    }

    fn send(&self, request: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.running.address("public")).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        client
    }

    #[track_caller]
    fn wait_for(&self, what: &str) {
        assert_eq!(self.heard.recv_timeout(PATIENCE), Ok(what));
    }

    /// Has the daemon hear what clients have said and done up to now.
    fn turn(&self) {
        for _ in 0..5 {
            assert_eq!(self.running.get("public", "/at-once").status, 200);
        }
    }
}

#[test]
fn a_client_that_sends_no_more_gets_its_answer_however_long_that_takes() {
    let slow = Slow::start();
    for _ in 0..20 {
        let client = slow.send(SLOW);
        client.shutdown(Shutdown::Write).unwrap();
        slow.wait_for("begun");
        slow.turn();
        slow.permits.add_permits(1);
        let heard = hear(&client);
        assert_eq!(heard.statuses(), [200], "{}", heard.summary());
        slow.wait_for("ended");
    }
    slow.running.stop().unwrap();
}

#[test]
fn a_client_that_sends_no_more_gets_a_large_answer_whole() {
    let slow = Slow::start();
    let client = slow.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    client.shutdown(Shutdown::Write).unwrap();
    // Its beginning is there, and what does not fit waits until the client takes it.
    client.peek(&mut [0]).unwrap();
    slow.turn();
    let heard = hear(&client);
    assert_eq!(heard.statuses(), [200], "{}", heard.summary());
    assert_eq!(heard.answers[0].body.len(), LARGE);
    slow.running.stop().unwrap();
}

#[test]
fn every_request_before_the_last_word_is_answered() {
    let slow = Slow::start();
    let at_once = "GET /at-once HTTP/1.1\r\nHost: x\r\n\r\n";
    for requests in [format!("{SLOW}{at_once}"), format!("{at_once}{SLOW}{at_once}")] {
        let client = slow.send(&requests);
        client.shutdown(Shutdown::Write).unwrap();
        slow.wait_for("begun");
        slow.turn();
        slow.permits.add_permits(1);
        let heard = hear(&client);
        assert_eq!(heard.statuses().len(), requests.matches("GET").count(), "{}", heard.summary());
        slow.wait_for("ended");
    }
    slow.running.stop().unwrap();
}

#[test]
fn an_upgrade_that_is_offered_and_not_taken_changes_nothing() {
    let slow = Slow::start();
    for round in 0..20 {
        for (offer, status) in OFFERS {
            let client = slow.send(offer);
            client.shutdown(Shutdown::Write).unwrap();
            if offer.contains("/slow") {
                slow.wait_for("begun");
                slow.turn();
                slow.permits.add_permits(1);
                slow.wait_for("ended");
            }
            let heard = hear(&client);
            assert_eq!(heard.statuses(), [status], "{round}: {offer}: {}", heard.summary());
        }
    }
    slow.running.stop().unwrap();
}

#[test]
fn a_client_that_is_gone_ends_its_handler() {
    let slow = Slow::start();
    for says_so in [false, true] {
        let client = slow.send(SLOW);
        slow.wait_for("begun");
        if says_so {
            client.shutdown(Shutdown::Write).unwrap();
            slow.turn();
        }
        // With nothing to wait for, closing is a reset.
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        slow.wait_for("ended");
    }
    slow.running.stop().unwrap();
}

#[test]
fn a_body_that_is_not_whole_is_not_waited_for_once_the_client_sends_no_more() {
    let slow = Slow::start();
    let client = slow.send("POST /at-once HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nfour");
    client.shutdown(Shutdown::Write).unwrap();
    let heard = hear(&client);
    assert!(heard.answers.len() <= 1 && heard.rest.is_empty(), "{}", heard.summary());
    slow.running.stop().unwrap();
}
