//! Clients that come through a listener of the program's own.

mod listeners;
mod streams;

use std::{future::pending, io, net::SocketAddr};

use axum::{
    Extension, Router,
    extract::ConnectInfo,
    routing::{get, post},
};
use lockstepd::{Accept, Accepted, Daemon, Listen, Peer, Server, SpawnedDaemon};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    time::timeout,
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
