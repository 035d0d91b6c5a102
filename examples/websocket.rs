//! `WebSocket`s: connections that speak another protocol, and are told when the process ends.
//!
//! `cargo run --example websocket`, then `websocat ws://localhost:8080/echo`, or in a browser's console
//! `new WebSocket("ws://localhost:8080/echo")`.
//!
//! What is inside such a connection only the application knows, so it cannot be handed over. At a stop, a
//! restart and an upgrade in place it has `Daemon::linger`, 1 s, to come to its end; here it says "service
//! restart", and the client connects again.

use std::process::ExitCode;

use axum::{
    Router,
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    response::Response,
    routing::{any, get},
};
use lockstepd::{Daemon, Shutdown};

fn main() -> ExitCode {
    let daemon = Daemon::new("websocket");
    let router = Router::new()
        .route("/", get(|| async { "ws://…/echo\n" }))
        .route("/echo", any(upgrade))
        .with_state(daemon.shutdown());
    daemon.server("public", "127.0.0.1:8080", router).run()
}

async fn upgrade(upgrade: WebSocketUpgrade, State(shutdown): State<Shutdown>) -> Response {
    upgrade.on_upgrade(|socket| async move {
        // A client that is gone has nobody to tell of it.
        let _ = echo(socket, shutdown).await;
    })
}

async fn echo(mut socket: WebSocket, shutdown: Shutdown) -> Result<(), axum::Error> {
    loop {
        let message = tokio::select! {
            () = shutdown.draining() => break,
            message = socket.recv() => message,
        };
        match message.transpose()? {
            Some(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).await?,
            // Pings are answered by the library.
            Some(Message::Ping(_) | Message::Pong(_)) => {}
            Some(Message::Close(_)) | None => return Ok(()),
        }
    }
    let goodbye = CloseFrame { code: close_code::RESTART, reason: "service restart".into() };
    socket.send(Message::Close(Some(goodbye))).await?;
    // The client's own goodbye is the end; what it had sent before is not answered any more.
    while socket.recv().await.transpose()?.is_some() {}
    Ok(())
}
