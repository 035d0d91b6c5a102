//! Connections that speak another protocol after their request.

use std::{
    future::pending,
    io::{Read, Write},
    net::TcpStream,
};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use lockstepd::Daemon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Running, support::PATIENCE};

const UPGRADE: &str =
    "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

#[test]
fn what_comes_with_an_upgrade_and_what_comes_after_it_are_both_heard() {
    let running = start();
    for before in ["", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut client = connect(&running);
        client.write_all(format!("{before}{UPGRADE}early").as_bytes()).unwrap();
        read_until(&mut client, "early");
        client.write_all(b"later").unwrap();
        read_until(&mut client, "later");
    }
    running.stop().unwrap();
}

#[test]
fn what_is_written_after_an_upgrade_is_sent_without_a_flush() {
    let running = start();
    let mut client = connect(&running);
    let upgrade = UPGRADE.replace("/echo", "/greet");
    // Answers to requests that come together wait for each other; this stream does not.
    client.write_all(format!("GET / HTTP/1.1\r\nHost: x\r\n\r\n{upgrade}").as_bytes()).unwrap();
    read_until(&mut client, "welcome");
    drop(client);
    drop(running);
}

fn start() -> Running {
    let router = Router::new()
        .route("/", get(|| async { "Hello\n" }))
        .route("/echo", get(|request| async { upgraded(request, echo) }))
        .route("/greet", get(|request| async { upgraded(request, greet) }));
    Running::start(Daemon::new("test").server("public", "127.0.0.1:0", router))
}

fn connect(running: &Running) -> TcpStream {
    let client = TcpStream::connect(running.address("public")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

#[track_caller]
fn read_until(client: &mut TcpStream, end: &str) {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        let mut byte = [0];
        let read = client.read(&mut byte);
        assert!(matches!(read, Ok(1)), "{read:?} after {}", heard.escape_ascii());
        heard.extend(byte);
    }
}

fn upgraded<F>(mut request: Request, speak: fn(TokioIo<Upgraded>) -> F) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move { speak(TokioIo::new(upgrade.await.unwrap())).await });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn echo(mut stream: TokioIo<Upgraded>) {
    let mut bytes = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
        stream.write_all(&bytes[..length]).await.unwrap();
    }
}

async fn greet(mut stream: TokioIo<Upgraded>) {
    stream.write_all(b"welcome").await.unwrap();
    // Neither reads nor flushes.
    pending::<()>().await;
}
