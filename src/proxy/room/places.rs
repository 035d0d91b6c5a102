//! What a request has of a waiting room: a turn, a place among those who wait or among those with the application.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Room;

/// A request's turn; gone when it is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Permit {
    /// None: the door is open.
    pub(super) room: Option<Arc<Room>>,
}

/// A request that waits for the application.
#[derive(Debug)]
pub(in crate::proxy) struct Waiting(pub(super) Arc<Room>);

/// A request that is with the application.
#[derive(Debug)]
pub(in crate::proxy) struct Active(pub(super) Arc<Room>);

// === impl Permit ===

impl Permit {
    /// That of an open door.
    pub(in crate::proxy) const fn free() -> Self {
        Self { room: None }
    }

    /// The door was open: this request need not tell how it goes.
    pub(in crate::proxy) fn is_free(&self) -> bool {
        self.room.is_none()
    }

    /// The application has taken the request; answers how long it was away, if it is back for all.
    pub(in crate::proxy) fn taken(&mut self) -> Option<Duration> {
        let room = self.room.take()?;
        room.inner().trying -= 1;
        room.taken()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            room.inner().trying -= 1;
            room.let_in();
        }
    }
}

// === impl Waiting ===

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

// === impl Active ===

impl Drop for Active {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.at_rest.notify_waiters();
        }
    }
}
