//! Streams that are no sockets.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use axum::routing::get;
use hyper_util::rt::TokioIo;
use lockstepd::{Accepted, Exit, Limits, Peer};
use tokio::{
    io::{
        AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream, DuplexStream, ReadBuf,
        duplex,
    },
    time::timeout,
};

use super::{ask, connect, get_body, router, start};
use crate::support::PATIENCE;

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

/// Takes what is written, and is never done with flushing it.
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

#[cfg(feature = "http2")]
#[tokio::test]
async fn a_client_of_http2_is_served_and_told_of_the_stop() {
    use crate::support::http2::{
        ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, SETTINGS, frame, head,
    };
    let (clients, running) = start(router()).await;
    let (client, theirs) = duplex(16);
    clients.send(Ok(Accepted::stream(theirs))).await.unwrap();
    let (mut heard, mut said) = tokio::io::split(client);
    let settings = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat();
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/", Some("x"), &[]));
    let saying = tokio::spawn(async move {
        said.write_all(&[PREFACE, &settings, &request].concat()).await.unwrap();
        said
    });
    let mut answer = Vec::new();
    while !answer.ends_with(b"Hello") {
        answer.push(timeout(PATIENCE, heard.read_u8()).await.unwrap().unwrap());
    }
    let _said = saying.await.unwrap();
    let stopping = tokio::spawn(running.stop());
    answer.clear();
    timeout(PATIENCE, heard.read_to_end(&mut answer)).await.unwrap().unwrap();
    let goaway = frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert!(answer.starts_with(&goaway), "{answer:?}");
    assert_eq!(stopping.await.unwrap(), Exit::Clean);
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
