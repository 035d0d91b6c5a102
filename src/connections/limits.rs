//! What a client may take of a server: connections, head size, and time.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::sockets::tcp::TcpOptions;

/// The limits of every server of a daemon. A client that exceeds one loses its own connection, and no other.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use lockstepd::{Daemon, Limits, LimitsError};
///
/// let mut limits = Limits::default();
/// limits.head_size = 16 << 10;
/// limits.idle_timeout = Duration::from_secs(75);
/// limits.check()?;
/// let daemon = Daemon::new("shop").limits(limits);
/// # let _ = daemon;
/// # Ok::<(), LimitsError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Open connections of each server; at the limit the one that has been idle longest is closed for
    /// a new one, and where none is idle clients wait in the queue. Default: what the limit of descriptors
    /// allows, with a reserve for the admin server, which has 16 at most.
    pub connections: Option<usize>,
    /// Bytes of a request's head; more is answered with 431. Default 64 KiB, at least 8 KiB.
    pub head_size: usize,
    /// Headers of a request; more is answered with 431. Default 100.
    pub headers: usize,
    /// Requests that a connection of HTTP/2 may have in flight at the same time; one more is refused, which a client
    /// may send again. Default 100.
    #[cfg(feature = "http2")]
    pub streams: u32,
    /// Bytes of a request's body to the admin server, which needs none; more is answered with 413,
    /// and the connection ends. Default 64 KiB.
    pub admin_body_size: usize,
    /// Time for the first byte of a new connection. Default 30 s.
    pub first_byte_timeout: Duration,
    /// Time for a request's head from its first byte; then it is answered with 408. Default 10 s.
    pub head_timeout: Duration,
    /// Time without a byte of a request's body that the service waits for; then the request is
    /// answered with 408. On a stream of HTTP/2 only until the answer begins: a conversation may pause. Default 30 s.
    pub body_timeout: Duration,
    /// Time that a connection may stay without a request. Default 10 min 20 s; of the admin server 95 s at
    /// most. A proxy in front keeps its connections for a shorter time, or it may send a request just when they
    /// end; 10 min is the longest that one of them is known to have and not to let change.
    pub idle_timeout: Duration,
    /// Time in which a client has to take more of an answer, which the kernel tells in steps of some
    /// 64 KiB. Default 30 s.
    pub write_timeout: Duration,
    /// Time without a packet from a TCP client after which the kernel sends a keep-alive probe, and time between
    /// the probes, nine at most. If none is answered the connection ends, also in a long poll or a WebSocket. So
    /// does one whose client leaves what it was sent unacknowledged, or untaken, for ten times this, or for
    /// `write_timeout` if that is more. In whole seconds; zero: no probes. Default 15 s.
    pub tcp_keepalive: Duration,
}

/// Why a server could not serve any client with these limits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// There may be no connection.
    #[error("max_connections is 0, with which nobody is served (leave it out, or say how many)")]
    NoConnections,
    /// A request may have no header.
    #[error("max_headers is 0, and every request has one at least (the default is 100)")]
    NoHeaders,
    /// A connection of HTTP/2 may have no request.
    #[cfg(feature = "http2")]
    #[error("max_streams is 0, with which nobody is served by HTTP/2 (the default is 100)")]
    NoStreams,
    /// A time-out is zero.
    #[error("{limit} is 0s, in which nobody can do anything (leave it out, or say how long)")]
    #[non_exhaustive]
    NoTime {
        /// The limit, as it is called in the configuration.
        limit: &'static str,
    },
    /// A request's head would be limited to less than hyper's smallest buffer.
    #[error("max_head_size is {head_size} bytes, and has to be {HEAD_MIN} at least")]
    #[non_exhaustive]
    SmallHead {
        /// The size in bytes.
        head_size: usize,
    },
}

/// What did not come in time; the number is its place in the metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
pub(crate) enum Timeout {
    FirstByte = 0,
    Head = 1,
    Body = 2,
    Idle = 3,
    Write = 4,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only TLS has it"))]
    Handshake = 5,
}

/// Descriptors that public connections may not use, besides those of listeners: 16 for the
/// admin server's connections, 13 for the runtime, signals and the log, seven for a hand-over (the carrier's
/// end, a branch's two, the records; the notification, and the barrier's two), and four to spare.
///
/// A hand-over puts all connections in flight at once, where the kernel allows as many as may be open: the
/// same reserve has room for what is in flight with them (the records, and an end for each branch, of which
/// there is one for some 140,000 connections).
const RESERVE: usize = 40;

/// The fewest descriptors to start with: the reserve, and 24 for listeners and public connections.
pub(crate) const DESCRIPTORS_MIN: u64 = RESERVE as u64 + 24;

/// The connections of the admin server, out of the reserve.
const ADMIN_MAX: usize = 16;

/// How long a connection of the admin server may be idle: there are only [`ADMIN_MAX`]. Longer than the usual
/// interval of a scraper, and no round number that might be an interval: a scrape would meet the end.
#[cfg(feature = "admin")]
pub(crate) const ADMIN_IDLE: Duration = Duration::from_secs(95);

/// The smallest head that a request may be limited to: hyper reads so much at once.
const HEAD_MIN: usize = 8 << 10;

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            head_size: 64 << 10,
            headers: 100,
            #[cfg(feature = "http2")]
            streams: 100,
            admin_body_size: 64 << 10,
            first_byte_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(620),
            write_timeout: Duration::from_secs(30),
            tcp_keepalive: Duration::from_secs(15),
        }
    }
}

impl Limits {
    /// Finds out whether a server with these limits could serve any client.
    ///
    /// # Errors
    /// When it could not.
    pub fn check(&self) -> Result<(), LimitsError> {
        if self.connections == Some(0) {
            return Err(LimitsError::NoConnections);
        }
        if self.headers == 0 {
            return Err(LimitsError::NoHeaders);
        }
        #[cfg(feature = "http2")]
        if self.streams == 0 {
            return Err(LimitsError::NoStreams);
        }
        let times = [
            ("first_byte_timeout", self.first_byte_timeout),
            ("head_timeout", self.head_timeout),
            ("body_timeout", self.body_timeout),
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", self.write_timeout),
        ];
        if let Some((limit, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(LimitsError::NoTime { limit });
        }
        if self.head_size < HEAD_MIN {
            return Err(LimitsError::SmallHead { head_size: self.head_size });
        }
        Ok(())
    }

    /// How many connections the process may have for each of `servers` public servers, where listeners have
    /// `listeners` descriptors.
    pub(crate) fn public_connections_now(&self, servers: usize, listeners: usize) -> usize {
        self.public_connections(servers, descriptors(), listeners)
    }

    /// How many connections each of `servers` public servers may have, where so many `descriptors` may be
    /// open and listeners have `listeners` of them.
    pub(crate) fn public_connections(
        &self,
        servers: usize,
        descriptors: usize,
        listeners: usize,
    ) -> usize {
        let share = room(descriptors, listeners) / servers.max(1);
        self.connections.unwrap_or(usize::MAX).min(share).max(1)
    }

    /// How many connections the admin server may have.
    pub(crate) fn admin_connections(&self) -> usize {
        self.connections.unwrap_or(usize::MAX).min(ADMIN_MAX)
    }

    /// The options of every TCP connection.
    pub(crate) fn tcp_options(&self) -> TcpOptions {
        TcpOptions::new(self.tcp_keepalive, self.write_timeout)
    }

    /// The size of a head that hyper can be told: its buffer has a minimum.
    pub(crate) fn head_buffer(&self) -> usize {
        self.head_size.max(HEAD_MIN)
    }

    /// How often a connection that waits is looked at; a time-out is exceeded by less than two such intervals.
    pub(crate) fn look_interval(&self) -> Duration {
        let shortest = self.head_timeout.min(self.body_timeout).min(self.write_timeout);
        (shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(5))
    }
}

/// How many public connections there may be, where so many `descriptors` may be open and listeners have
/// `listeners` of them.
fn room(descriptors: usize, listeners: usize) -> usize {
    descriptors.saturating_sub(RESERVE + listeners)
}

/// How many descriptors may be open.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_descriptors_are_never_given_to_the_public() {
        let limits = Limits::default();
        assert_eq!(limits.public_connections(1, 64, 8), 16);
        assert_eq!(limits.public_connections(2, 1044, 4), 500);
        assert_eq!(limits.public_connections(1, 10, 2), 1);
    }
}
