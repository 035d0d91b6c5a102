//! The options that are set on every TCP connection, accepted or taken over.
//!
//! A connection inherits them from its listener, which costs nothing, but only if they were set before it came: a
//! client that waits in the queue when the daemon starts has a connection already. So they are set on each
//! connection that is accepted until the queue has been seen empty once, and on each that is taken over.
//!
//! # Source
//! tcp(7) `TCP_NODELAY`, `TCP_KEEPIDLE`, `TCP_USER_TIMEOUT`; socket(7) `SO_KEEPALIVE`; `TCP_NOTSENT_LOWAT` since Linux 3.12.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::sockopt;
use socket2::SockRef;

/// How many bytes of an answer the kernel holds beyond what the client has room for: two pieces of a body.
const UNSENT: u32 = 128 << 10;

/// How many keep-alive probes in a row a peer may leave unanswered, as in Go.
const PROBES: u32 = 9;

/// The longest keepalive that the kernel can be told, in seconds.
const KEEPALIVE_MAX: u32 = 32_767;

/// The options of TCP connections. `TCP_NODELAY`: an answer is written whole, and waiting for more to send only
/// delays it. `TCP_NOTSENT_LOWAT`: the kernel takes no more of a large answer than the client is ready for, and a
/// little ahead, instead of up to 4 MiB. Keep-alive and `TCP_USER_TIMEOUT`: a peer that is gone is noticed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct TcpOptions {
    /// After so many seconds without a packet the kernel sends a probe, and as long after each; 0: never.
    keepalive: u32,
    /// For how many milliseconds a peer need not acknowledge, or take, what is sent; 0: the kernel's default.
    user_timeout: u32,
}

/// Options that a reload may change.
#[derive(Debug, Default)]
pub(crate) struct TcpCell(AtomicU64);

// === impl TcpOptions ===

impl TcpOptions {
    /// `keepalive`: after how long a silent peer is probed. `write_timeout`: how long at least a peer may
    /// leave what it was sent untaken.
    pub(crate) fn new(keepalive: Duration, write_timeout: Duration) -> Self {
        if keepalive.is_zero() {
            return Self::default();
        }
        let keepalive =
            u32::try_from(keepalive.as_secs()).unwrap_or(u32::MAX).clamp(1, KEEPALIVE_MAX);
        // While a peer owes an acknowledgement it is not probed: it has as long as all probes would take. The
        // same time-out ends a connection whose client takes nothing, which the limits may allow for longer.
        let asked = Duration::from_secs(u64::from(keepalive) * u64::from(1 + PROBES));
        let user_timeout = asked.max(write_timeout).as_millis();
        Self { keepalive, user_timeout: u32::try_from(user_timeout).unwrap_or(u32::MAX) }
    }

    /// Sets them on a connection, or on a listener for those that it has not got yet.
    pub(crate) fn set(self, socket: BorrowedFd<'_>) {
        // If the kernel refuses, answers are slower, cost more memory, or wait longer for a peer that is gone;
        // nothing else depends on it.
        let _ = sockopt::set_tcp_nodelay(socket, true);
        let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT);
        let _ = sockopt::set_socket_keepalive(socket, self.keepalive > 0);
        if self.keepalive > 0 {
            let _ = sockopt::set_tcp_keepintvl(socket, self.keepalive());
            let _ = sockopt::set_tcp_keepcnt(socket, PROBES);
            let _ = sockopt::set_tcp_keepidle(socket, self.keepalive());
        }
        let _ = sockopt::set_tcp_user_timeout(socket, self.user_timeout);
    }

    /// Sets them on a connection that was taken over, unless the process before this one has set the same, as
    /// the last two of them show.
    pub(crate) fn renew(self, socket: BorrowedFd<'_>) {
        let has = self.keepalive > 0
            && sockopt::tcp_user_timeout(socket) == Ok(self.user_timeout)
            && sockopt::tcp_keepidle(socket) == Ok(self.keepalive());
        if !has {
            self.set(socket);
        }
    }

    fn keepalive(self) -> Duration {
        Duration::from_secs(self.keepalive.into())
    }
}

// === impl TcpCell ===

impl TcpCell {
    pub(crate) fn set(&self, options: TcpOptions) {
        let both = u64::from(options.keepalive) << 32 | u64::from(options.user_timeout);
        self.0.store(both, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> TcpOptions {
        let both = self.0.load(Ordering::Relaxed);
        let [keepalive, user_timeout] = [both >> 32, both & u64::from(u32::MAX)]
            .map(|half| u32::try_from(half).expect("half of 64 bits are 32"));
        TcpOptions { keepalive, user_timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(keepalive: &str, write_timeout: &str) -> TcpOptions {
        let time = |text: &str| Duration::from_secs(text.parse().unwrap());
        let (tcp_keepalive, write_timeout) = (time(keepalive), time(write_timeout));
        TcpOptions::new(tcp_keepalive, write_timeout)
    }

    #[test]
    fn the_kernels_time_out_is_no_shorter_than_the_limits() {
        assert_eq!(options("15", "30"), TcpOptions { keepalive: 15, user_timeout: 150_000 });
        assert_eq!(options("15", "600"), TcpOptions { keepalive: 15, user_timeout: 600_000 });
        assert_eq!(options("0", "30"), TcpOptions::default());
        let most = TcpOptions { keepalive: KEEPALIVE_MAX, user_timeout: 327_670_000 };
        assert_eq!(options("999999999", "30"), most);
        let cell = TcpCell::default();
        cell.set(most);
        assert_eq!(cell.get(), most);
    }
}
