//! The answer to a client of HTTP/2 that is not served: without the feature none is, and with it none that has begun
//! with something else.
//!
//! A proxy that was told to speak HTTP/2 to this server fails with all of its requests, so it is told in its own
//! protocol, and the operator in the log.
//!
//! # Source
//! RFC 9113 sections 3.4 (the prefaces), 6.5 (SETTINGS), 6.8 (GOAWAY) and 7 (`HTTP_1_1_REQUIRED`).

use crate::connections::registry::Registry;
use crate::http::io::Io;

/// A server's preface, which is a SETTINGS frame without settings, and a GOAWAY frame: no stream has been served
/// (0), `HTTP_1_1_REQUIRED` (13).
const HTTP_1_1_REQUIRED: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0d";

/// Tells the client, before the connection lingers and behind the answers that it may have had, and the log.
pub(super) fn refuse(io: &mut Io, server: &Registry) {
    let (name, peer) = (server.server(), io.idle.stream.peer());
    #[cfg(feature = "http2")]
    tracing::debug!(server = name, %peer, "HTTP/2 is not served behind a request of HTTP/1.1");
    #[cfg(not(feature = "http2"))]
    if server.is_first_of_http2() {
        tracing::warn!(
            server = name,
            %peer,
            "HTTP/2 is not served (set the proxy or the client to HTTP/1.1)",
        );
    } else {
        tracing::debug!(server = name, %peer, "HTTP/2 is not served");
    }
    io.put_off(HTTP_1_1_REQUIRED);
}
