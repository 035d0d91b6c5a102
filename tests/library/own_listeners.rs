//! Clients that come through a listener of the program's own.

use std::{
    future::pending,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    os::unix::net::{UnixDatagram, UnixStream},
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Extension, Router,
    extract::ConnectInfo,
    routing::{get, post},
};
use hyper_util::rt::TokioIo;
use lockstepd::{Accept, Accepted, Daemon, Exit, Limits, Listen, Peer, Server, SpawnedDaemon};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use tokio::{
    io::{
        AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream, DuplexStream, ReadBuf,
        duplex,
    },
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::support::PATIENCE;

/// What a test sends is accepted.
struct Sent(mpsc::Receiver<io::Result<Accepted>>);

impl Accept for Sent {
    async fn accept(&mut self) -> io::Result<Accepted> {
        match self.0.recv().await {
            Some(accepted) => accepted,
            None => pending().await,
        }
    }
}

type Clients = mpsc::Sender<io::Result<Accepted>>;

fn server(router: Router) -> (Clients, Server) {
    let (clients, listener) = mpsc::channel(8);
    (clients, Server::new("own", Listen::none(), router).accept_from(Sent(listener)))
}

async fn start(router: Router) -> (Clients, SpawnedDaemon) {
    let (clients, server) = server(router);
    (clients, Daemon::new("test").add_server(server).spawn().await.unwrap())
}

fn router() -> Router {
    Router::new()
        .route("/", get(|| async { "Hello" }))
        .route("/peer", get(|Extension(peer): Extension<Peer>| async move { peer.to_string() }))
        .route(
            "/tcp",
            get(|ConnectInfo(tcp): ConnectInfo<SocketAddr>| async move { tcp.to_string() }),
        )
        .route("/echo", post(|body: String| async move { body }))
}

/// Connects in memory.
async fn connect(clients: &Clients) -> DuplexStream {
    let (ours, theirs) = duplex(64);
    clients.send(Ok(Accepted::stream(theirs))).await.unwrap();
    ours
}

/// Sends a request, reads its answer, and answers its head and body.
async fn ask(
    client: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
    request: &str,
) -> (String, String) {
    client.write_all(request.as_bytes()).await.unwrap();
    client.flush().await.unwrap();
    let answer = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("a length").parse().unwrap()];
        client.read_exact(&mut body).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    };
    timeout(PATIENCE, answer).await.expect("an answer")
}

async fn get_body(client: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), path: &str) -> String {
    ask(client, &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await.1
}

#[tokio::test]
async fn a_client_in_memory_is_served_over_and_over() {
    let (clients, running) = start(router()).await;
    let mut client = connect(&clients).await;
    for _ in 0..3 {
        assert_eq!(get_body(&mut client, "/").await, "Hello");
        assert_eq!(get_body(&mut client, "/peer").await, "other");
    }
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn a_body_far_above_what_the_stream_holds_comes_back_whole() {
    let (clients, running) = start(router()).await;
    let (mut received, mut sent) = tokio::io::split(connect(&clients).await);
    let body: String = ('a'..='z').cycle().take(100_000).collect();
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    let (written, read) = tokio::join!(
        sent.write_all(request.as_bytes()),
        timeout(PATIENCE, received.read_to_string(&mut answer))
    );
    written.unwrap();
    read.expect("the end of the connection").unwrap();
    let (head, came) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("connection: close"), "{head}");
    assert!(came == body, "{} bytes of {}", came.len(), body.len());
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn what_a_stream_keeps_back_is_flushed() {
    let (clients, running) = start(router()).await;
    let (ours, theirs) = duplex(4096);
    clients.send(Ok(Accepted::stream(BufStream::new(theirs)))).await.unwrap();
    let mut client = ours;
    assert_eq!(get_body(&mut client, "/").await, "Hello");
    let request = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(&mut client, request).await.1, "Hello");
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn a_stream_has_the_peer_that_the_listener_says() {
    let (clients, running) = start(router()).await;
    let (mut client, theirs) = duplex(4096);
    let address: SocketAddr = "[::ffff:192.0.2.1]:4000".parse().unwrap();
    clients.send(Ok(Accepted::stream(theirs).peer(Peer::Tcp(address)))).await.unwrap();
    assert_eq!(get_body(&mut client, "/tcp").await, "192.0.2.1:4000");
    assert_eq!(running.stop().await, Exit::Clean);
}

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

/// Panics whatever is asked of it.
struct Panics;

impl AsyncRead for Panics {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        panic!("read")
    }
}

impl AsyncWrite for Panics {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        panic!("write")
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        panic!("flush")
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        panic!("shut down")
    }
}

#[tokio::test]
async fn a_stream_that_panics_costs_its_own_connection_alone() {
    let (clients, running) = start(router()).await;
    let mut client = connect(&clients).await;
    assert_eq!(get_body(&mut client, "/").await, "Hello");
    clients.send(Ok(Accepted::stream(Panics))).await.unwrap();
    for _ in 0..3 {
        assert_eq!(get_body(&mut client, "/").await, "Hello");
        assert_eq!(get_body(&mut connect(&clients).await, "/").await, "Hello");
    }
    assert_eq!(running.stop().await, Exit::Clean);
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

/// Of this, writing ends in the stream, and what is flushed never leaves it.
struct KeptBack(DuplexStream);

impl AsyncRead for KeptBack {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for KeptBack {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_never_flushed_has_the_write_timeout() {
    let (clients, running) = start(router()).await;
    let (mut client, theirs) = duplex(4096);
    clients.send(Ok(Accepted::stream(KeptBack(theirs)))).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    let limit = Limits::default().write_timeout * 2;
    assert_eq!(timeout(limit, client.read(&mut [0])).await.expect("its end").unwrap(), 0);
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_head_that_does_not_come_whole_is_written_whole() {
    let (clients, running) = start(router()).await;
    let (mut client, theirs) = duplex(16);
    clients.send(Ok(Accepted::stream(theirs))).await.unwrap();
    client.write_all(b"GET / HTTP").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn a_client_of_http2_is_told_in_whole() {
    let (clients, running) = start(router()).await;
    let (mut client, theirs) = duplex(16);
    clients.send(Ok(Accepted::stream(theirs))).await.unwrap();
    let mut answer = Vec::new();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    client.write_all(preface).await.unwrap();
    timeout(PATIENCE, client.read_to_end(&mut answer)).await.unwrap().unwrap();
    // SETTINGS and GOAWAY.
    assert_eq!(answer.len(), 9 + 17, "{answer:?}");
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn a_stream_speaks_another_protocol_and_ends_at_the_stop() {
    let echo = |mut request: axum::extract::Request| async move {
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
            let (mut received, mut sent) = tokio::io::split(TokioIo::new(upgraded));
            tokio::io::copy(&mut received, &mut sent).await.unwrap();
        });
        let switch = [("connection", "upgrade"), ("upgrade", "echo"), ("content-length", "0")];
        (http::StatusCode::SWITCHING_PROTOCOLS, switch)
    };
    let (clients, running) = start(router().route("/switch", get(echo))).await;
    let mut client = connect(&clients).await;
    let request =
        "GET /switch HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, client.read_u8()).await.unwrap().unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
    for _ in 0..3 {
        client.write_all(b"echo").await.unwrap();
        let mut echoed = [0; 4];
        timeout(PATIENCE, client.read_exact(&mut echoed)).await.unwrap().unwrap();
        assert_eq!(&echoed, b"echo");
    }
    client.shutdown().await.unwrap();
    assert_eq!(timeout(PATIENCE, client.read(&mut [0])).await.unwrap().unwrap(), 0);
    // Counted out as it was counted in.
    assert_eq!(get_body(&mut connect(&clients).await, "/").await, "Hello");
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn a_client_that_sends_no_more_gets_its_answer() {
    let (clients, running) = start(router()).await;
    let mut client = connect(&clients).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with("Hello"), "{answer}");
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

/// Says goodbye when it is shut down, and fails to read once if it is to.
struct Polite {
    stream: DuplexStream,
    failure: Option<ErrorKind>,
}

impl AsyncRead for Polite {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.failure.take() {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => Pin::new(&mut self.stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Polite {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_write(cx, b"goodbye");
        said.map_ok(|_| ())
    }
}

#[tokio::test]
async fn an_idle_stream_is_shut_down_before_it_is_dropped() {
    let (clients, running) = start(router()).await;
    let (mut client, stream) = duplex(4096);
    clients.send(Ok(Accepted::stream(Polite { stream, failure: None }))).await.unwrap();
    assert_eq!(get_body(&mut client, "/").await, "Hello");
    assert_eq!(running.stop().await, Exit::Clean);
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "goodbye");
}

#[tokio::test]
async fn a_stream_that_fails_once_ends() {
    let (clients, running) = start(router()).await;
    let (mut client, stream) = duplex(4096);
    let failure = Some(ErrorKind::ConnectionReset);
    clients.send(Ok(Accepted::stream(Polite { stream, failure }))).await.unwrap();
    let mut said = String::new();
    timeout(PATIENCE / 4, client.read_to_string(&mut said)).await.expect("its end").unwrap();
    assert_eq!(said, "goodbye");
    assert_eq!(running.stop().await, Exit::Clean);
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
