//! What is counted of an application behind a proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::connections::metrics::{Count, Histogram};

/// Why a request was sent again; the index is that of [`ProxyMetrics::retries`].
pub(crate) const RETRIES: [&str; 5] = ["away", "not_sent", "not_read", "idempotent", "starting"];

/// Why a request was answered by the proxy; the index is that of [`ProxyMetrics::failures`].
pub(crate) const FAILURES: [&str; 6] =
    ["away", "full", "closed", "malformed", "timeout", "cut_short"];

/// The index of a retry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Retry {
    /// No connection could be had.
    Away,
    /// The head did not reach the application whole.
    NotSent,
    /// The application had not read the head.
    NotRead,
    /// It may have been executed, which is no harm.
    Idempotent,
    /// The application said that it is starting.
    Starting,
}

/// What is counted of one application.
#[derive(Debug, Default)]
pub(crate) struct ProxyMetrics {
    /// Requests that have been given to the proxy.
    pub(crate) requests: Count,
    pub(crate) connects: Count,
    pub(crate) connect_us: Count,
    pub(crate) connect_failures: Count,
    /// Requests that went over a kept connection.
    pub(crate) reused: Count,
    pub(crate) retries: [Count; RETRIES.len()],
    pub(crate) failures: [Count; FAILURES.len()],
    /// How long the heads of answers took to come.
    pub(crate) answers: Histogram,
    pub(crate) tunnels: AtomicUsize,
}

/// Counts a tunnel for as long as it is open.
#[derive(Debug)]
pub(super) struct OpenTunnel(Arc<ProxyMetrics>);

// === impl ProxyMetrics ===

impl ProxyMetrics {
    pub(crate) fn retried(&self, retry: Retry) {
        self.retries[retry as usize].add(1);
    }

    pub(crate) fn connected(&self, after: Duration) {
        self.connects.add(1);
        self.connect_us.add(us(after));
    }

    pub(crate) fn answered(&self, after: Duration) {
        self.answers.add(after);
    }

    #[cfg(any(feature = "admin", test))]
    pub(crate) fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }

    /// A tunnel begins; it ends when what is answered is dropped.
    pub(super) fn tunnel_begins(self: &Arc<Self>) -> OpenTunnel {
        self.tunnels.fetch_add(1, Ordering::Relaxed);
        OpenTunnel(Arc::clone(self))
    }
}

// === impl OpenTunnel ===

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
