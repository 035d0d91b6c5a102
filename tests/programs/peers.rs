//! A daemon that tells its clients who they are, and counts the requests of each connection.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::{
    Extension, Router,
    extract::ConnectInfo,
    http::{self, StatusCode},
    routing::get,
};
use lockstepd::{Address, Daemon, Format, LogSettings, Server};

/// A connection, as it was before its first request.
#[derive(Clone)]
struct Connection {
    local: Option<Address>,
    requests: Arc<AtomicU64>,
}

fn main() -> ExitCode {
    let mut log = LogSettings::default();
    log.format = Format::Json;
    let public = Server::new("public", "127.0.0.1:0", Router::new().route("/", get(tell)))
        .on_connect(|connection| {
            let mut extensions = http::Extensions::new();
            let local = connection.local_address();
            extensions.insert(Connection { local, requests: Arc::default() });
            extensions
        });
    Daemon::new("peers").log(log).add_server(public).admin("127.0.0.1:0").run()
}

async fn tell(
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    Extension(connection): Extension<Connection>,
) -> Result<String, StatusCode> {
    let local = connection.local.ok_or(StatusCode::NOT_FOUND)?;
    let requests = connection.requests.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(format!("{client} to {local}: {requests}"))
}
