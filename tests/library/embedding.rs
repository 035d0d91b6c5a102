//! `run_until`, and sockets that are taken early.

use std::net::TcpListener;

use axum::{Router, routing::get};
use lockstepd::{Cause, Daemon, Exit, Peer, Phase, Server};
use rustix::process::Signal;

use crate::{
    Running,
    support::{Client, Launch, example},
};

fn router() -> Router {
    Router::new().route("/", get(|| async { "Hello\n" }))
}

#[test]
fn it_serves_until_the_future_is_ready_and_leaves_nothing_behind() {
    let daemon = Daemon::new("test").server("public", "127.0.0.1:0", router());
    let running = Running::start(daemon);
    let (monitor, address) = (running.monitor.clone(), running.address("public"));
    assert_eq!(monitor.phase(), Phase::Ready);
    assert_eq!(running.get("public", "/").body, "Hello\n");
    assert_eq!(running.stop().unwrap(), Exit::Clean);
    assert_eq!(monitor.phase(), Phase::Stopped);
    TcpListener::bind(address).expect("the port is free again");
}

#[test]
fn a_stop_finishes_the_request_in_flight() {
    let router = Router::new().route("/", axum::routing::post(|body: String| async { body }));
    let running = Running::start(Daemon::new("test").server("public", "127.0.0.1:0", router));
    let mut client = Client::connect(&running.address("public"));
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1");
    // Asked on another connection, so that the first is known to be served.
    let mut other = Client::connect(&running.address("public"));
    assert_eq!(other.request("POST", "/").status, 200);
    let monitor = running.monitor.clone();
    let stopped = std::thread::spawn(move || running.stop());
    crate::support::wait_until("the drain", crate::support::PATIENCE, || {
        monitor.phase() == Phase::Draining
    });
    client.send("2");
    assert_eq!(client.response("POST").body, "12");
    assert_eq!(stopped.join().unwrap().unwrap(), Exit::Clean);
}

#[test]
fn two_daemons_run_in_one_process() {
    let one = Running::start(Daemon::new("one").server("public", "127.0.0.1:0", router()));
    let other = Running::start(Daemon::new("other").server("public", "127.0.0.1:0", router()));
    assert_eq!(one.stop().unwrap(), Exit::Clean);
    assert_eq!(other.get("public", "/").status, 200);
    assert_eq!(other.stop().unwrap(), Exit::Clean);
}

#[tokio::test]
async fn a_daemon_that_cannot_start_says_why_and_is_never_ready() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let daemon = Daemon::new("test").server("public", address, router());
    let monitor = daemon.monitor();
    let stop = async {
        monitor.ready().await;
        Cause::Terminate
    };
    let error = daemon.run_until(stop).await.unwrap_err();
    assert!(error.to_string().contains("cannot bind"), "{error}");
    // Who has the port may leave.
    assert_eq!(error.exit(), Exit::MemberFailed);
    assert!(!monitor.ready().await);
}

#[tokio::test]
async fn a_latch_is_named_until_it_is_released() {
    let daemon = Daemon::new("test").server("public", "127.0.0.1:0", router());
    let (monitor, cache) = (daemon.monitor(), daemon.latch("cache"));
    let stop = async {
        assert_eq!(
            (monitor.phase(), monitor.waiting_for()),
            (Phase::Starting, vec!["cache".to_owned()])
        );
        cache.release();
        assert!(monitor.ready().await);
        Cause::Terminate
    };
    assert_eq!(daemon.run_until(stop).await.unwrap(), Exit::Clean);
}

#[test]
fn a_hyper_service_hears_of_the_peer_if_it_asks_for_it() {
    let service = || {
        hyper::service::service_fn(|request: http::Request<lockstepd::Body>| async move {
            let peer = request.extensions().get::<Peer>().map(ToString::to_string);
            let body = http_body_util::Full::new(bytes::Bytes::from(peer.unwrap_or_default()));
            Ok::<_, std::convert::Infallible>(http::Response::new(body))
        })
    };
    let daemon = Daemon::new("test")
        .hyper_server("without", "127.0.0.1:0", service())
        .add_server(Server::hyper("with", "127.0.0.1:0", service()).tell_peer(true));
    let running = Running::start(daemon);
    assert_eq!(running.get("without", "/").body, "");
    assert!(running.get("with", "/").body.starts_with("127.0.0.1:"));
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn sockets_that_were_taken_early_are_served_by_a_runtime_of_the_programs_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let launch = Launch::program(example("embedded")).args(["early", "127.0.0.1:1"]);
    let mut program = launch.inherit("public", listener).spawn();
    program.line("ready", |line| line == format!("ready on {address}"));
    assert_eq!(crate::support::get(&address, "/").body, "Hello\n");
    program.signal(Signal::TERM);
    program.end().assert(0, &[]);
}

#[test]
fn sockets_that_are_taken_too_late_are_an_error_with_its_remedy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let launch = Launch::program(example("embedded")).args(["late", "127.0.0.1:1"]);
    let ended = launch.inherit("public", listener).end();
    ended.assert(
        78,
        &["threads are running already", "Inherited::take at the start of a plain fn main"],
    );
}

#[test]
fn run_inside_a_runtime_is_an_error_with_its_remedy() {
    let ended = Launch::program(example("embedded")).args(["inside", "127.0.0.1:0"]).end();
    ended.assert(78, &["cannot be called inside of one", "await Daemon::run_until"]);
}

#[test]
fn a_dry_run_of_an_upgrade_does_not_serve() {
    for (when, code) in [("early", 0), ("late", 78)] {
        let launch = Launch::program(example("embedded")).args([when, "127.0.0.1:0"]);
        // What a running program of this version would ask with.
        let ended = launch.env("LOCKSTEPD_CHECK", "carrier 5").end();
        assert_eq!(ended.code, code, "{when}: {}", ended.text());
        assert!(!ended.text().contains("ready on"), "{when}: {}", ended.text());
    }
}
