//! Answers that would go on for ever.

use std::{
    convert::Infallible,
    io::{Read, Write},
    net::TcpStream,
};

use axum::{Router, body::Body, routing::get};
use futures_util::{StreamExt, stream};
use lockstepd::{Daemon, Exit};

use crate::{Running, support::PATIENCE};

#[test]
fn a_stream_that_listens_ends_with_the_drain_and_whole() {
    let daemon = Daemon::new("test");
    let shutdown = daemon.shutdown();
    let endless = move || {
        let shutdown = shutdown.clone();
        async move {
            let one = stream::once(async { Ok::<_, Infallible>("one\n") });
            let ending = async move { shutdown.draining().await };
            Body::from_stream(one.chain(stream::pending()).take_until(ending))
        }
    };
    let daemon = daemon.server("public", "127.0.0.1:0", Router::new().route("/", get(endless)));
    let running = Running::start(daemon);
    let mut client = TcpStream::connect(running.address("public")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"one\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    let stopped = std::thread::spawn(move || running.stop());
    let mut end = [0; 5];
    client.read_exact(&mut end).unwrap();
    assert_eq!(&end, b"0\r\n\r\n", "the last chunk");
    drop(client);
    assert_eq!(stopped.join().unwrap().unwrap(), Exit::Clean);
}
