//! A request of the watchdog's own.

use std::sync::Arc;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connections::limits::Limits;
use crate::connections::registry::Registry;
use crate::http::access::{AccessLog, AccessSetting};
use crate::http::activity::Activity;
use crate::http::connection::Shared;
use crate::http::service::HttpService;
use crate::sockets::peer::Peer;

/// What is asked for unless the program says otherwise.
pub(crate) const DEFAULT_PATH: &str = "/";

/// Tells whether a request can ask for `path`.
pub(crate) fn is_path(path: &str) -> bool {
    // A fragment is none of it, and left out without an error.
    let parsed = path.parse::<PathAndQuery>();
    path.starts_with('/') && path.is_ascii() && parsed.is_ok_and(|parsed| parsed == path)
}

/// Sends one request to the service over a connection in memory; answers whether it was answered, or whether nothing is
/// to be asked.
pub(crate) async fn probe<S>(shared: Arc<Shared<S>>, registry: Arc<Registry>) -> bool
where
    S: HttpService,
{
    static UNLOGGED: AccessSetting = AccessSetting::new(AccessLog::Off);
    let Some(path) = &shared.probe else { return true };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\n\
         User-Agent: lockstepd-watchdog\r\nConnection: close\r\n\r\n"
    );
    let activity = Arc::new(Activity::new(registry, Peer::Unix(None), false));
    // The framing of the probe's own request need not be followed.
    activity.wire().unfollow();
    let (builder, mut service) = shared.watched(&activity, &Limits::default(), None);
    // No client's request: it is not logged.
    service.access = &UNLOGGED;
    let (mut client, server) = tokio::io::duplex(request.len());
    let connection = builder.serve_connection(TokioIo::new(server), service);
    let exchange = async {
        client.write_all(request.as_bytes()).await?;
        client.read_u8().await
    };
    // The first byte of an answer is enough; the rest of a large one is not read.
    tokio::select! {
        answered = exchange => answered.is_ok(),
        _ = connection => false,
    }
}
