//! A connection that speaks another protocol after an upgrade: it echoes what it is sent.
//!
//! As long as one is open the daemon is not idle, and does not leave. At a stop it is told.

use std::process::ExitCode;
use std::time::Duration;

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::rt::TokioIo;
use lockstepd::{Daemon, Shutdown};
use tokio::io::{copy, split};

fn main() -> ExitCode {
    let daemon = Daemon::new("upgrade").idle_exit(Some(Duration::from_millis(50)));
    let shutdown = daemon.shutdown();
    let router = Router::new()
        .route("/", get(|| async { "Hello\n" }))
        .route("/echo", get(move |request| async move { echo(request, shutdown) }));
    daemon.server("public", "127.0.0.1:8080", router).admin("127.0.0.1:8081").run()
}

fn echo(mut request: Request, shutdown: Shutdown) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A client that hangs up before its upgrade gets none.
        let Ok(upgraded) = upgrade.await else { return };
        let (mut received, mut sent) = split(TokioIo::new(upgraded));
        tokio::select! {
            // Both ends of the connection are the client's to close.
            _ = copy(&mut received, &mut sent) => {}
            () = shutdown.triggered() => {}
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}
