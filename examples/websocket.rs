//! A chat over `WebSocket`s: connections that speak another protocol, and are told when the process ends.
//!
//! `cargo run --example websocket`, then `websocat ws://localhost:8080/chat` in two terminals: what one says,
//! both hear. In a browser's console: `new WebSocket("ws://localhost:8080/chat")`.
//!
//! What is inside such a connection only the application knows, so it cannot be handed over. At a stop, a
//! restart and an upgrade in place it has `Daemon::linger`, 1 s, to come to its end; here it says "service
//! restart", and the client connects again.

use std::process::ExitCode;

use axum::{
    Router,
    extract::{
        State,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code},
    },
    response::Response,
    routing::{any, get},
};
use lockstepd::{Daemon, Shutdown};
use tokio::sync::broadcast::{self, error::RecvError};

/// How many messages a client may be behind; who falls further back misses some.
const BACKLOG: usize = 64;

/// Where all meet.
#[derive(Clone)]
struct Room {
    said: broadcast::Sender<Utf8Bytes>,
    shutdown: Shutdown,
}

fn main() -> ExitCode {
    let daemon = Daemon::new("websocket");
    let room = Room { said: broadcast::Sender::new(BACKLOG), shutdown: daemon.shutdown() };
    let router = Router::new()
        .route("/", get(|| async { "ws://…/chat\n" }))
        .route("/chat", any(enter))
        .with_state(room);
    daemon.server("public", "127.0.0.1:8080", router).run()
}

async fn enter(upgrade: WebSocketUpgrade, State(room): State<Room>) -> Response {
    upgrade.on_upgrade(|socket| async move {
        // A client that is gone has nobody to tell of it.
        let _ = chat(socket, room).await;
    })
}

async fn chat(mut socket: WebSocket, room: Room) -> Result<(), axum::Error> {
    let mut heard = room.said.subscribe();
    loop {
        tokio::select! {
            () = room.shutdown.draining() => break,
            text = heard.recv() => match text {
                Ok(text) => socket.send(Message::Text(text)).await?,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => unreachable!("we hold a sender ourselves"),
            },
            message = socket.recv() => match message.transpose()? {
                // There is somebody who hears it: we do.
                Some(Message::Text(text)) => drop(room.said.send(text)),
                // Pings are answered by the library.
                Some(Message::Binary(_) | Message::Ping(_) | Message::Pong(_)) => {}
                Some(Message::Close(_)) | None => return Ok(()),
            },
        }
    }
    let goodbye = CloseFrame { code: close_code::RESTART, reason: "service restart".into() };
    socket.send(Message::Close(Some(goodbye))).await?;
    // The client's own goodbye is the end; what it had sent before is not passed on any more.
    while socket.recv().await.transpose()?.is_some() {}
    Ok(())
}
