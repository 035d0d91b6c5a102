//! Holds, and what is on its way to an application that does not read: on one thread, with a clock that is turned.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper::service::Service;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::time::{Instant, sleep};

use crate::handover::shut_door::{Hold, ShutDoor};
use crate::proxy::metrics::Retry;
use crate::proxy::service::Proxy;

/// More than enough for whatever is going to be done.
const LONG: Duration = Duration::from_secs(2);

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    (directory, path)
}

fn listen(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Has a task ask, and lets it come as far as it does.
async fn ask(proxy: &Proxy, fields: &[(&str, &str)]) {
    let mut request = Request::builder().method(Method::POST).uri("/").header("host", "x");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from_static(b"hello"))).unwrap();
    tokio::spawn(Service::call(proxy, request));
    sleep(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_tries_waits_while_the_application_is_held() {
    let (_directory, path) = place();
    let proxy = Proxy::to(&*path);
    ask(&proxy, &[]).await;
    let room = &proxy.state().room;
    let hold = room.hold(Instant::now() + 100 * LONG, false);
    let listener = listen(&path);
    sleep(LONG).await;
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!((room.waiting(), room.active()), (1, 0));
    assert!(room.release(Some(hold)));
    sleep(LONG).await;
    assert!(listener.accept().is_ok());
    assert_eq!((room.waiting(), room.active()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_application_that_is_busy_is_not_away() {
    let (_directory, path) = place();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let _its_queue_is_full = UnixStream::connect(&path).unwrap();
    let proxy = Proxy::to(&*path);
    proxy.hold(Duration::ZERO, 100 * LONG).await;
    sleep(LONG).await;
    socket.accept().unwrap();
    sleep(LONG).await;
    assert_eq!(proxy.state().room.trouble().as_deref(), Some("held"));
}

#[tokio::test(start_paused = true)]
async fn the_longest_hold_of_all_can_be_ended() {
    let (_directory, path) = place();
    let proxy = Proxy::to(&*path).wait(Duration::MAX).response_timeout(Duration::MAX);
    let proxy = proxy.connect_timeout(Duration::MAX).idle_timeout(Duration::MAX);
    proxy.hold(Duration::ZERO, Duration::MAX).await;
    ask(&proxy, &[]).await;
    let _listener = listen(&path);
    sleep(LONG).await;
    assert_eq!(proxy.state().room.trouble(), None, "it was away, and is back");
    assert_eq!(proxy.state().room.active(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hold_goes_on_in_the_next_process_where_it_was() {
    let (_directory, path) = place();
    let (first, next) = (Proxy::to(&*path), Proxy::to(&*path));
    first.hold(Duration::ZERO, 10 * LONG).await;
    sleep(LONG).await;
    let door = first.shut_door("public").unwrap();
    let hold = door.hold.unwrap();
    assert!(hold.was_away && hold.left <= 9 * LONG, "{door:?}");
    let _listener = listen(&path);
    next.shut(door.clone());
    assert_eq!(next.state().room.trouble().as_deref(), Some("held"));
    sleep(LONG).await;
    assert!(next.shut_door("public").is_none(), "it was away before, and is back");
    let again = Proxy::to(&*path);
    again.shut(ShutDoor { hold: Some(Hold { was_away: false, ..hold }), ..door });
    sleep(8 * LONG).await;
    assert!(again.shut_door("public").is_some());
    sleep(2 * LONG).await;
    assert!(again.shut_door("public").is_none(), "its time is over");
}

#[tokio::test(start_paused = true)]
async fn an_application_is_away_in_the_next_process_since_it_was_unless_its_address_is_another() {
    let (_directory, path) = place();
    let first = Proxy::to(&*path);
    ask(&first, &[]).await;
    let door = first.shut_door("public").unwrap();
    assert!(door.hold.is_none() && door.away.as_ref().is_some_and(|away| away.time >= LONG / 2));
    let (same, other) = (Proxy::to(&*path), Proxy::to("unix:/elsewhere"));
    same.shut(door.clone());
    other.shut(door);
    let trouble = first.state().room.trouble();
    assert!(trouble.as_ref().is_some_and(|trouble| trouble.starts_with("away: ")), "{trouble:?}");
    assert_eq!((same.state().room.trouble(), other.state().room.trouble()), (trouble, None));
    sleep(LONG).await;
    assert!(same.shut_door("public").unwrap().away.unwrap().time >= LONG + LONG / 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_expected_waits_for_the_head_to_be_taken() {
    let (_directory, path) = place();
    let listener = listen(&path);
    let proxy = Proxy::to(&*path);
    ask(&proxy, &[("expect", "100-continue")]).await;
    // Longer than it waits to be asked for the body; and nothing was read.
    drop(listener.accept().unwrap());
    sleep(LONG).await;
    let metrics = &proxy.state().metrics;
    assert_eq!(metrics.retries[Retry::NotRead as usize].get(), 1);
    assert!(listener.accept().is_ok());
}
