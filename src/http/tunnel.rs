//! The client's end of a tunnel, as it leaves hyper.

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use crate::connections::registry::Registration;
use crate::http::connection::joined;
use crate::http::io::Io;
use crate::sockets::stream::Stream;

/// An extension of an answer that switches protocols: whoever gives it makes a tunnel of the connection.
///
/// Without it a connection is upgraded as soon as hyper has let go of it, and no hand-over waits for it any more:
/// one that comes before the tunnel has begun would lose it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BecomesTunnel;

/// What hyper leaves of a client's connection.
#[derive(Debug)]
pub(crate) struct ClientEnd {
    pub(crate) stream: Stream,
    /// What was read behind the request.
    pub(crate) unread: Bytes,
    /// Last: the socket is closed before it stops to count as open.
    pub(crate) registration: Registration,
}

// === impl ClientEnd ===

impl ClientEnd {
    /// Takes the connection out of what hyper gives away.
    ///
    /// # Errors
    /// When it is none of this daemon's servers'.
    pub(crate) fn of(upgraded: Upgraded) -> Result<Self, Upgraded> {
        let parts = upgraded.downcast::<TokioIo<Io>>()?;
        let Io { idle, registration, .. } = parts.io.into_inner();
        let unread = joined(parts.read_buf, idle.unread);
        Ok(Self { stream: idle.stream, unread, registration })
    }
}
