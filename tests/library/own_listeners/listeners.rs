//! Listeners, and sockets that they have accepted.

use std::{
    io::{self, ErrorKind},
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    time::Duration,
};

use axum::{Extension, Router, routing::get};
use lockstepd::{Accept, Accepted, Daemon, Exit, Limits, Listen, Peer, Server};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{Sent, connect, get_body, router, server, start};
use crate::support::PATIENCE;

#[tokio::test]
async fn a_socket_has_the_peer_that_the_kernel_tells() {
    let (clients, running) = start(router()).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let address = ours.local_addr().unwrap().to_string();
    let theirs = Accepted::socket(listener.accept().unwrap().0).peer(Peer::Other);
    clients.send(Ok(theirs)).await.unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut tcp = tokio::net::TcpStream::from_std(ours).unwrap();
    assert_eq!(get_body(&mut tcp, "/tcp").await, address);

    let (ours, theirs) = UnixStream::pair().unwrap();
    clients.send(Ok(Accepted::socket(theirs))).await.unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut unix = tokio::net::UnixStream::from_std(ours).unwrap();
    assert_eq!(get_body(&mut unix, "/peer").await, "unix");
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn on_connect_is_given_the_socket_where_there_is_one() {
    let (clients, server) = server(Router::new().route(
        "/",
        get(|Extension(has_socket): Extension<bool>| async move { has_socket.to_string() }),
    ));
    let server = server.on_connect(|connection| {
        let mut extensions = http::Extensions::new();
        extensions.insert(connection.socket().is_some());
        assert!(connection.local_address().is_none() && connection.peer_path().is_none());
        extensions
    });
    let running = Daemon::new("test").add_server(server).spawn().await.unwrap();
    assert_eq!(get_body(&mut connect(&clients).await, "/").await, "false");
    let (ours, theirs) = UnixStream::pair().unwrap();
    clients.send(Ok(Accepted::socket(theirs))).await.unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut unix = tokio::net::UnixStream::from_std(ours).unwrap();
    assert_eq!(get_body(&mut unix, "/").await, "true");
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn a_server_may_have_addresses_besides() {
    let (clients, listener) = mpsc::channel(1);
    let server = Server::new("own", "127.0.0.1:0", router()).accept_from(Sent(listener));
    let running = Daemon::new("test").add_server(server).spawn().await.unwrap();
    let mut tcp = tokio::net::TcpStream::connect(running.addr("own")).await.unwrap();
    assert_eq!(get_body(&mut tcp, "/").await, "Hello");
    assert_eq!(get_body(&mut connect(&clients).await, "/").await, "Hello");
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn clients_that_wait_at_the_stop_are_answered_and_told_to_close() {
    let (clients, running) = start(router()).await;
    // Nothing is polled between here and the stop: they are accepted by the stop.
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let (mut ours, theirs) = duplex(4096);
        ours.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
        clients.try_send(Ok(Accepted::stream(theirs))).unwrap();
        waiting.push(ours);
    }
    assert_eq!(running.stop().await, Exit::Clean);
    for mut client in waiting {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("connection: close\r\n") && answer.ends_with("Hello"), "{answer}");
    }
}

#[tokio::test]
async fn after_an_error_that_may_pass_the_next_client_is_accepted() {
    let (clients, running) = start(router()).await;
    let errors = [
        io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()),
        ErrorKind::ConnectionReset.into(),
        io::Error::other("the tunnel is down"),
    ];
    for error in errors {
        clients.send(Err(error)).await.unwrap();
        assert_eq!(get_body(&mut connect(&clients).await, "/").await, "Hello");
    }
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn no_error_but_a_shortage_costs_an_idle_connection() {
    let (clients, running) = start(router()).await;
    let mut idle = connect(&clients).await;
    assert_eq!(get_body(&mut idle, "/").await, "Hello");
    sleep(Duration::from_secs(1)).await;
    let kinds = [
        ErrorKind::InvalidData,
        ErrorKind::UnexpectedEof,
        ErrorKind::TimedOut,
        ErrorKind::BrokenPipe,
        ErrorKind::Other,
    ];
    for kind in kinds {
        clients.send(Err(kind.into())).await.unwrap();
        assert_eq!(get_body(&mut connect(&clients).await, "/").await, "Hello");
    }
    assert_eq!(get_body(&mut idle, "/").await, "Hello");
    sleep(Duration::from_secs(1)).await;
    let shortage = rustix::io::Errno::MFILE.raw_os_error();
    clients.send(Err(io::Error::from_raw_os_error(shortage))).await.unwrap();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn a_broken_listener_ends_the_daemon_and_is_the_cause() {
    let (clients, running) = start(router()).await;
    let error = io::Error::from_raw_os_error(rustix::io::Errno::BADF.raw_os_error());
    clients.send(Err(error)).await.unwrap();
    let shutdown = running.shutdown();
    assert_eq!(timeout(PATIENCE, running.ended()).await.unwrap(), Exit::MemberFailed);
    let cause = shutdown.cause().unwrap().to_string();
    let told = "own failed: cannot accept from a listener of its own: Bad file descriptor";
    assert!(cause.starts_with(told), "{cause}");
}

#[tokio::test]
async fn a_socket_that_is_no_stream_ends_the_daemon() {
    let (clients, running) = start(router()).await;
    let (_ours, theirs) = UnixDatagram::pair().unwrap();
    clients.send(Ok(Accepted::socket(OwnedFd::from(theirs)))).await.unwrap();
    let shutdown = running.shutdown();
    assert_eq!(timeout(PATIENCE, running.ended()).await.unwrap(), Exit::MemberFailed);
    let cause = shutdown.cause().unwrap().to_string();
    assert!(cause.ends_with("not a stream socket"), "{cause}");
}

#[tokio::test]
async fn the_connection_that_has_been_idle_longest_makes_room_for_a_client_that_waits() {
    let mut limits = Limits::default();
    limits.connections = Some(2);
    let (clients, server) = server(router());
    let daemon = Daemon::new("test").limits(limits).add_server(server);
    let running = daemon.spawn().await.unwrap();
    let mut first = connect(&clients).await;
    assert_eq!(get_body(&mut first, "/").await, "Hello");
    let mut second = connect(&clients).await;
    assert_eq!(get_body(&mut second, "/").await, "Hello");
    let mut third = connect(&clients).await;
    assert_eq!(get_body(&mut third, "/").await, "Hello");
    assert_eq!(timeout(PATIENCE, first.read(&mut [0])).await.unwrap().unwrap(), 0);
    assert_eq!(get_body(&mut second, "/").await, "Hello");
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn a_server_without_address_and_listener_does_not_start() {
    let daemon = Daemon::new("test").server("own", Listen::none(), router());
    let error = daemon.spawn().await.unwrap_err().to_string();
    assert!(error.contains("\"own\" has no address to listen on"), "{error}");
}

#[tokio::test]
async fn a_socket_is_closed_in_the_programs_that_the_process_executes() {
    let (clients, server) = server(Router::new().route(
        "/",
        get(|Extension(flags): Extension<FdFlags>| async move {
            flags.contains(FdFlags::CLOEXEC).to_string()
        }),
    ));
    let server = server.on_connect(|connection| {
        let mut extensions = http::Extensions::new();
        extensions.insert(fcntl_getfd(connection.socket().unwrap()).unwrap());
        extensions
    });
    let running = Daemon::new("test").add_server(server).spawn().await.unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    // As accept(2) leaves it.
    fcntl_setfd(&theirs, FdFlags::empty()).unwrap();
    clients.send(Ok(Accepted::socket(theirs))).await.unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut unix = tokio::net::UnixStream::from_std(ours).unwrap();
    assert_eq!(get_body(&mut unix, "/").await, "true");
    assert_eq!(running.stop().await, Exit::Clean);
}

/// Always has another client, which hangs up at once.
struct Always;

impl Accept for Always {
    async fn accept(&mut self) -> io::Result<Accepted> {
        Ok(Accepted::stream(duplex(64).0))
    }
}

#[tokio::test]
async fn a_listener_that_always_has_another_client_holds_neither_others_nor_a_stop_up() {
    let server = Server::new("own", "127.0.0.1:0", router()).accept_from(Always);
    let daemon = Daemon::new("test").drain_timeout(PATIENCE * 4).add_server(server);
    let running = daemon.spawn().await.unwrap();
    let mut tcp = tokio::net::TcpStream::connect(running.addr("own")).await.unwrap();
    assert_eq!(get_body(&mut tcp, "/").await, "Hello");
    assert_eq!(timeout(PATIENCE, running.stop()).await.expect("its end"), Exit::Clean);
}

/// Never has a client, and says so each time.
struct Broken(mpsc::Sender<()>, ErrorKind);

impl Accept for Broken {
    async fn accept(&mut self) -> io::Result<Accepted> {
        // Full: it has been asked more often than a pause after each error allows.
        self.0.try_send(()).expect("no spin");
        Err(self.1.into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_only_fails_is_asked_with_pauses_and_does_not_hold_a_stop_up() {
    let (asked, mut asks) = mpsc::channel(32);
    let server =
        Server::new("own", "127.0.0.1:0", router()).accept_from(Broken(asked, ErrorKind::Other));
    let daemon = Daemon::new("test").drain_timeout(PATIENCE * 4).add_server(server);
    let running = daemon.linger(PATIENCE).spawn().await.unwrap();
    for _ in 0..10 {
        asks.recv().await.unwrap();
    }
    assert_eq!(timeout(PATIENCE, running.stop()).await.expect("its end"), Exit::Clean);
    assert!(asks.len() < 8, "it was asked {} times in the end", asks.len());
}

#[tokio::test(start_paused = true)]
async fn a_listener_whose_clients_are_always_gone_is_asked_with_pauses() {
    let (asked, mut asks) = mpsc::channel(256);
    let server = Server::new("own", "127.0.0.1:0", router())
        .accept_from(Broken(asked, ErrorKind::NotConnected));
    let running = Daemon::new("test").add_server(server).spawn().await.unwrap();
    let begun = Instant::now();
    for _ in 0..300 {
        asks.recv().await.expect("another attempt");
    }
    assert!(begun.elapsed() > PATIENCE, "300 attempts in {:?}", begun.elapsed());
    assert_eq!(running.stop().await, Exit::Clean);
}
