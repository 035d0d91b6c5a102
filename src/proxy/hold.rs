//! A hold: an announced restart of the application.
//!
//! New requests wait, those that are with the application finish, and then it may be stopped. The hold ends when
//! somebody releases it; or, where nobody does, when the application has been seen to be away and to be back, or when
//! its time is over.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::connections::drain::ENDLESS;
use crate::handover::shut_door::{Away, Hold, ShutDoor};
use crate::proxy::room::Held;
use crate::proxy::service::{Proxy, State};

/// The time between two looks at the application.
const LOOK: Duration = Duration::from_millis(100);

// === impl Proxy ===

impl Proxy {
    /// Has new requests wait, and waits until none is with the application, `limit` at most; answers whether that is
    /// so. Server-sent events and tunnels are not waited for.
    ///
    /// The application can be stopped then without a request noticing. The hold ends with [`Proxy::release`]; without it
    /// when the application was away and is back, and in any case after `longest`. Waiting requests are answered with
    /// 503 when their own time is over, see [`Proxy::wait`].
    ///
    /// # Cancel safety
    /// The hold goes on if the future is dropped.
    ///
    /// # Examples
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use lockstepd::Proxy;
    ///
    /// # async fn migrate() {}
    /// async fn migration(proxy: Proxy) {
    ///     if proxy.hold(Duration::from_secs(20), Duration::from_secs(60)).await {
    ///         migrate().await;
    ///     }
    ///     proxy.release();
    /// }
    /// # let _ = migration;
    /// ```
    pub async fn hold(&self, limit: Duration, longest: Duration) -> bool {
        let state = Arc::clone(self.state());
        begin(&state, longest, false);
        tracing::info!(address = %state.upstream(), "new requests wait: the application is held");
        timeout(limit, state.room.at_rest()).await.is_ok()
    }

    /// What the next process has to know of the application behind `server`, if requests wait for it.
    pub(crate) fn shut_door(&self, server: &str) -> Option<ShutDoor> {
        let (hold, away) = self.state().room.shut_by()?;
        let hold = hold.map(|Held { until, was_away, .. }| {
            let left = until.saturating_duration_since(Instant::now());
            Hold { left, was_away }
        });
        let address = self.state().upstream().to_string();
        Some(ShutDoor { server: server.to_owned(), address, hold, away })
    }

    /// Has requests wait as they did in the process before this one; inside the runtime.
    pub(crate) fn shut(&self, door: ShutDoor) {
        let ShutDoor { hold, away, .. } = door;
        let address = self.state().upstream();
        // What was wrong was wrong with the address that it had.
        if let Some(Away { time, trouble }) = away.filter(|_| door.address == address.to_string()) {
            self.state().room.shut_since(Instant::now().checked_sub(time), &trouble);
            tracing::info!(%address, error = trouble, "the application is still away; requests wait for it");
        }
        if let Some(Hold { left, was_away }) = hold {
            begin(self.state(), left, was_away);
            tracing::info!(%address, "new requests wait: the application is still held");
        }
    }

    /// Ends a hold, if there is one; answers whether there was.
    pub fn release(&self) -> bool {
        let state = self.state();
        let was_held = state.room.release(None);
        if was_held {
            tracing::info!(address = %state.upstream(), "the application is held no longer");
        }
        was_held
    }
}

/// Begins a hold; inside the runtime.
fn begin(state: &Arc<State>, longest: Duration, was_away: bool) {
    let hold = state.room.hold(Instant::now() + longest.min(ENDLESS), was_away);
    tokio::spawn(watch(Arc::clone(state), hold));
}

/// Ends the hold with this number where nobody else does.
async fn watch(state: Arc<State>, hold: u64) {
    while let Some(held) = state.room.held().filter(|held| held.number == hold) {
        sleep(LOOK).await;
        let looked = state.upstream().connect(LOOK).await;
        let is_back = held.was_away && looked.is_ok();
        if looked.is_err_and(|error| is_of_nobody(&error)) {
            state.room.saw_away(hold);
        }
        let is_over = Instant::now() >= held.until;
        if (is_back || is_over) && state.room.release(Some(hold)) {
            let (address, why) =
                (state.upstream(), if is_back { "it is back" } else { "the hold's time is over" });
            tracing::info!(%address, why, "the application is held no longer");
        }
    }
}

/// Tells whether nobody listens. One that is busy with what the hold waits for may leave a connection in its queue, or
/// have no room there: it is not away.
fn is_of_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}
