//! Connections to the application that are kept for the next request.
//!
//! They are kept for three seconds without a request: less than any server that people use keeps them, so that
//! ours is the end that closes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use crate::proxy::connection::Connection;

/// How long a connection is kept without a request.
const KEPT: Duration = Duration::from_secs(3);

/// How many are kept at most.
const MAX: usize = 256;

/// The kept connections of one address.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The one that was used last is the last, and the next to be used.
    kept: Vec<(Instant, Connection)>,
    /// A task closes those that have rested long enough.
    has_closer: bool,
}

// === impl Pool ===

impl Pool {
    /// The connection that was used last.
    pub(super) fn take(&self, now: Instant) -> Option<Connection> {
        let mut inner = self.inner();
        let (since, connection) = inner.kept.pop()?;
        if now.duration_since(since) < KEPT {
            return Some(connection);
        }
        // The others are older. Closed when the lock is free again.
        let old = std::mem::take(&mut inner.kept);
        drop(inner);
        drop((connection, old));
        None
    }

    /// Keeps a connection.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        // An answer may be dropped anywhere.
        let Ok(runtime) = Handle::try_current() else { return };
        let now = Instant::now();
        let mut inner = self.inner();
        if inner.kept.len() >= MAX {
            drop(inner);
            return;
        }
        inner.kept.push((now, connection));
        if !std::mem::replace(&mut inner.has_closer, true) {
            drop(inner);
            runtime.spawn(close(Arc::downgrade(self), now + KEPT));
        }
    }

    /// Closes all: the application is away, or is to end.
    pub(super) fn clear(&self) {
        let kept = std::mem::take(&mut self.inner().kept);
        drop(kept);
    }

    #[cfg(any(feature = "admin", test))]
    pub(super) fn len(&self) -> usize {
        self.inner().kept.len()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections when their time is over, until there are none.
async fn close(pool: Weak<Pool>, mut next: Instant) {
    loop {
        sleep_until(next).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut inner = pool.inner();
        let old = inner.kept.partition_point(|(since, _)| since.elapsed() >= KEPT);
        let closed: Vec<_> = inner.kept.drain(..old).collect();
        match inner.kept.first() {
            Some((since, _)) => next = *since + KEPT,
            None => inner.has_closer = false,
        }
        let is_done = !inner.has_closer;
        drop(inner);
        drop(closed);
        if is_done {
            return;
        }
    }
}
