//! What an acceptor does while its server has all the connections that it may have.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::connections::registry::{EVICTABLE_AFTER, Registry, Room};

/// That clients have to wait is logged once in this time; the metrics count every time.
pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// How many idle connections were closed for others is logged once in this time.
const CLOSED_INTERVAL: Duration = Duration::from_secs(10);

/// How long clients wait for room while no connection has been idle for long enough; then any idle one is evicted.
const NO_ROOM_MAX: Duration = Duration::from_secs(1);

/// What an acceptor remembers while its server has all the connections it may have.
#[derive(Debug, Default)]
pub(super) struct AtLimit {
    /// It has, and a client has been waiting.
    is_full: bool,
    told_full: Option<Instant>,
    told_closed: Option<Instant>,
    /// Idle connections that were closed, and are not in the log yet.
    closed: usize,
    /// Since when there has been no room, and no connection that could be evicted.
    no_room_since: Option<Instant>,
    /// Fires when a connection has been idle for long enough.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Tells whether something may be logged again, and notes that it is.
pub(super) fn is_due(told: &mut Option<Instant>, interval: Duration) -> bool {
    let is_due = told.is_none_or(|told| told.elapsed() >= interval);
    if is_due {
        *told = Some(Instant::now());
    }
    is_due
}

// === impl AtLimit ===

impl AtLimit {
    /// Makes room for the client that waits, if one does (`is_waited`), and evicts those above a limit that was
    /// lowered.
    pub(super) fn make_room(&mut self, cx: &mut Context<'_>, is_waited: bool, registry: &Registry) {
        if is_waited && !self.is_full {
            self.is_full = true;
            registry.metrics.full.add(1);
            if is_due(&mut self.told_full, LOG_INTERVAL) {
                tracing::warn!(
                    server = registry.server(),
                    connections = registry.limit(),
                    "the server has all the connections it may have; idle ones are closed for new \
                     ones, or more wait in the queue (raise max_connections, or LimitNOFILE= in the unit)",
                );
            }
        }
        let most = registry.limit().saturating_sub(usize::from(is_waited));
        loop {
            let lacking = self.no_room_since.map_or(Duration::ZERO, |since| since.elapsed());
            let idle = if lacking < NO_ROOM_MAX { EVICTABLE_AFTER } else { Duration::ZERO };
            let (closed, room) = registry.make_room(most, idle);
            self.tell(closed, registry);
            if closed > 0 || room == Room::Made {
                self.no_room_since = None;
            } else {
                self.no_room_since.get_or_insert_with(Instant::now);
            }
            let Room::Later(time) = room else { return };
            let time = time.min(NO_ROOM_MAX.saturating_sub(lacking));
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(time)));
            timer.as_mut().reset(Instant::now() + time);
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }

    /// Counts idle connections that were closed, and logs how many at intervals.
    pub(super) fn tell(&mut self, closed: usize, registry: &Registry) {
        self.closed += closed;
        if self.closed > 0 && is_due(&mut self.told_closed, CLOSED_INTERVAL) {
            self.tell_closed(registry);
        }
    }

    /// Logs how many were closed since the last line.
    pub(super) fn tell_closed(&mut self, registry: &Registry) {
        if self.closed > 0 {
            tracing::info!(
                server = registry.server(),
                connections = std::mem::take(&mut self.closed),
                "closed the connections that had been idle longest, to make room for others",
            );
        }
    }

    /// A client has been accepted.
    pub(super) fn accepted(&mut self, registry: &Registry) {
        self.no_room_since = None;
        self.tell(0, registry);
        // One line each time that the server fills up, not one for each client that waits.
        let limit = registry.limit();
        if self.is_full && registry.connections() < limit - limit.div_ceil(8) {
            self.is_full = false;
            registry.has_room();
        }
    }
}
