//! Tests of a program's own: its daemon in the background of a test's runtime, and its service without a server.

use std::future::poll_fn;
use std::net::TcpListener;
use std::task::Poll;
use std::time::Duration;

use axum::{
    Router,
    routing::{get, post},
};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::service::Service;
use lockstepd::{AccessFile, AccessLog, Body, Cause, Daemon, Exit, Phase, Server};
use tokio::task::yield_now;

use crate::support::{PATIENCE, get as ask, wait_until};

fn daemon(answer: &'static str) -> Daemon {
    let router = Router::new().route("/", get(async move || answer));
    Daemon::new("test").server("public", "127.0.0.1:0", router)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_serve_in_one_test() {
    let one = daemon("one").spawn().await.unwrap();
    let two = daemon("two").spawn().await.unwrap();
    for (running, answer) in [(&one, "one"), (&two, "two")] {
        assert_eq!(ask(&running.addr("public").to_string(), "/").body, answer);
    }
    assert_eq!(one.stop().await, Exit::Clean);
    assert_eq!(ask(&two.addr("public").to_string(), "/").body, "two");
    assert_eq!(two.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spawned_daemon_serves_while_a_latch_holds_readiness_back() {
    let daemon = daemon("one");
    let latch = daemon.latch("cache");
    let running = daemon.spawn().await.unwrap();
    assert_eq!(running.monitor().phase(), Phase::Starting);
    assert_eq!(ask(&running.addr("public").to_string(), "/").body, "one");
    latch.release();
    assert!(running.monitor().ready().await);
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_daemon_of_a_test_has_its_access_log_in_its_own_file_whole_when_it_has_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let quiet = Server::new("quiet", "127.0.0.1:0", Router::new()).access_log(AccessLog::Off);
    let failing = Server::new("failing", "127.0.0.1:0", Router::new());
    let failing = failing.access_log(AccessLog::Errors);
    let one = daemon("one").add_server(quiet).access_file(AccessFile::new(path("one")));
    let two = daemon("two").add_server(failing).access_file(AccessFile::new(path("two")));
    let [one, two] = [one.spawn().await.unwrap(), two.spawn().await.unwrap()];
    for (running, server, status) in
        [(&one, "public", 200), (&one, "quiet", 404), (&two, "failing", 404), (&two, "public", 200)]
    {
        assert_eq!(ask(&running.addr(server).to_string(), "/").status, status);
    }
    let lines = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    assert_eq!(one.stop().await, Exit::Clean);
    assert_eq!(lines("one").matches("\"GET / HTTP/1.1\" 200 3 ").count(), 1, "{}", lines("one"));
    assert_eq!(lines("one").lines().count(), 1);
    assert_eq!(two.stop().await, Exit::Clean);
    let statuses: Vec<_> = lines("two").lines().map(|line| line.contains("\" 404 ")).collect();
    assert_eq!(statuses, [true, false], "{}", lines("two"));
}

#[tokio::test]
async fn a_spawned_daemon_that_cannot_start_is_an_error() {
    let first = daemon("one").spawn().await.unwrap();
    let taken = first.addr("public").to_string();
    let second = Daemon::new("test").server("public", &*taken, Router::new()).spawn().await;
    let error = second.unwrap_err().to_string();
    assert!(error.contains(&format!("cannot bind {taken} for \"public\"")), "{error}");
}

#[tokio::test]
async fn a_path_that_the_watchdog_cannot_ask_for_is_refused() {
    for path in ["live", "", "/a b", "/a\r\nHost: x", "/#part", "/\u{e9}"] {
        let server = Server::new("public", "127.0.0.1:0", Router::new());
        let daemon = Daemon::new("test").add_server(server.watchdog_path(Some(path)));
        let error = daemon.spawn().await.unwrap_err().to_string();
        let told = "the watchdog cannot ask \"public\" for \"";
        assert!(error.contains(told) && error.contains("a path begins with /"), "{error}");
    }
    for path in [Some("/live?full=1"), None] {
        let server = Server::new("public", "127.0.0.1:0", Router::new()).watchdog_path(path);
        let running = Daemon::new("test").add_server(server).spawn().await.unwrap();
        assert_eq!(running.stop().await, Exit::Clean);
    }
}

#[tokio::test]
async fn the_end_of_a_member_ends_a_spawned_daemon() {
    let daemon = daemon("one").task("worker", async |_| Err("out of paper".into()));
    let running = daemon.spawn().await.unwrap();
    let shutdown = running.shutdown();
    assert_eq!(running.ended().await, Exit::MemberFailed);
    assert_eq!(shutdown.cause().map(ToString::to_string).unwrap(), "worker failed: out of paper");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_stops_when_nobody_has_its_handle_any_more() {
    let daemon = daemon("one");
    let (shutdown, monitor) = (daemon.shutdown(), daemon.monitor());
    drop(daemon.spawn().await.unwrap());
    let cause = shutdown.cause().cloned();
    assert_eq!(cause, Some(Cause::Request("its owner is gone".to_owned())));
    // It says so when it has ended.
    while monitor.phase() != Phase::Stopped {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_daemon_stops_when_the_wait_for_its_sockets_is_given_up() {
    let daemon = daemon("one");
    let monitor = daemon.monitor();
    let shutdown = daemon.shutdown();
    let mut spawned = Box::pin(daemon.spawn());
    let first = poll_fn(|cx| Poll::Ready(spawned.as_mut().poll(cx).is_ready())).await;
    assert!(!first, "it has its sockets already");
    drop(spawned);
    assert!(shutdown.is_triggered());
    while monitor.phase() != Phase::Stopped {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_daemon_that_ended_before_it_had_its_sockets_tells_how() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let daemon = Daemon::new("test").server("public", &*address, Router::new());
    daemon.shutdown().trigger(Cause::Failed { member: "cache".into(), error: "gone".into() });
    assert_eq!(daemon.spawn().await.unwrap().ended().await, Exit::MemberFailed);
}

#[tokio::test]
async fn a_drain_may_take_for_ever() {
    let daemon = daemon("one").drain_timeout(Duration::MAX).linger(Duration::MAX);
    assert_eq!(daemon.spawn().await.unwrap().stop().await, Exit::Clean);
}

#[tokio::test]
async fn a_service_can_be_called_without_a_server() {
    let length = post(|body: String| async move { body.len().to_string() });
    let router = Router::new().route("/", length);
    let service = hyper_util::service::TowerToHyperService::new(router);
    for (body, length) in [
        (Body::empty(), "0"),
        (Body::from("tea"), "3"),
        (Body::from("tea".to_owned()), "3"),
        (Body::from(bytes::Bytes::from_static(b"coffee")), "6"),
        (Body::from(vec![b'x'; 100]), "100"),
        (Body::from(""), "0"),
        (Body::default(), "0"),
    ] {
        assert_eq!(body.size_hint().exact().map(|size| size.to_string()).unwrap(), length);
        assert_eq!(body.is_end_stream(), length == "0");
        let request = http::Request::post("/").body(body).unwrap();
        let answer = service.call(request).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(answer.to_bytes(), length);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_begins_when_the_lame_duck_time_is_over() {
    let running = daemon("one").lame_duck(Duration::from_secs(600)).spawn().await.unwrap();
    let (monitor, shutdown) = (running.monitor(), running.shutdown());
    assert!(monitor.ready().await);
    shutdown.trigger(Cause::Request("the test".to_owned()));
    shutdown.triggered().await;
    wait_until("it is a lame duck", PATIENCE, || monitor.phase() == Phase::LameDuck);
    assert!(!shutdown.is_draining() && !monitor.phase().is_ready());
    assert_eq!(ask(&running.addr("public").to_string(), "/").body, "one");
    // A failure ends it; the cause stays.
    let failed = Cause::Failed { member: "mailer".to_owned(), error: "no route".to_owned() };
    assert!(!shutdown.trigger(failed));
    shutdown.draining().await;
    assert_eq!(running.ended().await, Exit::Clean);
}

#[tokio::test]
async fn a_daemon_that_was_never_ready_is_no_lame_duck() {
    let daemon = daemon("one").lame_duck(Duration::from_secs(600));
    let _cache = daemon.latch("cache");
    let running = daemon.spawn().await.unwrap();
    let shutdown = running.shutdown();
    assert_eq!(running.stop().await, Exit::Clean);
    assert!(shutdown.is_draining());
}
