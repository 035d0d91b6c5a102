//! After the application has agreed to another protocol: bytes, both ways.

use std::sync::Arc;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};

use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::wire::UpstreamIo;
use crate::sockets::stream::Stream;

/// Joins the client's connection, as soon as hyper gives it away, and the application's, of which `read` was read.
pub(super) fn open(client: OnUpgrade, stream: Stream, read: Bytes, metrics: Arc<ProxyMetrics>) {
    metrics.tunnel_begins();
    tokio::spawn(async move {
        if let Ok(client) = client.await {
            let mut client = TokioIo::new(client);
            let (mut application, _) = UpstreamIo::new(stream, true);
            // Either end may be gone at any time.
            if client.write_all(&read).await.is_ok() {
                let _ = copy_bidirectional(&mut client, &mut application).await;
            }
        }
        metrics.tunnel_ends();
    });
}
