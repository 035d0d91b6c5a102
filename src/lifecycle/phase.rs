//! Where the daemon stands in its life, and the latches that hold back readiness.
//!
//! ```text
//! Starting ──every latch down──► Ready ◄──► Reloading
//!     │                            │
//!     │                            ├──stop──► LameDuck
//!     │                            │             ▼
//!     └────────── stop ────────────┴────────► Draining ──everything ended──► Stopped
//! ```
//!
//! A stop may come while `Reloading`, too; a start that fails goes to `Stopped` at once. `LameDuck` is only where a
//! time for it is set. `/ready` answers 200 in
//! `Ready` and `Reloading` alone.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// A phase in the daemon's life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Phase {
    /// Sockets, latches or members are not there yet.
    Starting,
    /// Every server accepts and every latch is down.
    Ready,
    /// Still serving, while the configuration or the program is being replaced.
    Reloading,
    /// The stop has been asked for; clients are served as before for a time, so that load balancers see in `/ready`
    /// that they should send no more, see [`Daemon::lame_duck`](crate::Daemon::lame_duck).
    LameDuck,
    /// What is in flight is being finished.
    Draining,
    /// Everything has ended.
    Stopped,
}

/// The current phase, shared by all that set or show it.
#[derive(Clone, Debug)]
pub(crate) struct Phases {
    sender: Arc<watch::Sender<Phase>>,
}

/// The set of things that readiness waits for.
#[derive(Clone, Debug)]
pub(crate) struct Latches {
    names: Arc<Mutex<Vec<String>>>,
    held: Arc<watch::Sender<usize>>,
}

/// Holds back READY=1 until it is released.
///
/// A latch that is dropped without a release, as by a member that fails, holds readiness back for good.
#[derive(Debug)]
#[must_use = "a latch that is never released keeps the daemon from being ready"]
pub struct Latch {
    latches: Latches,
    name: String,
}

// === impl Phase ===

impl Phase {
    /// Tells whether `/ready` answers 200 in this phase.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Ready | Self::Reloading)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Reloading => "reloading",
            Self::LameDuck => "lame duck",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        })
    }
}

// === impl Phases ===

impl Phases {
    pub(crate) fn new() -> Self {
        Self { sender: Arc::new(watch::Sender::new(Phase::Starting)) }
    }

    pub(crate) fn current(&self) -> Phase {
        *self.sender.borrow()
    }

    pub(crate) fn set(&self, phase: Phase) {
        self.sender.send_replace(phase);
    }

    /// Receives every phase after the current one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.sender.subscribe()
    }
}

// === impl Latches ===

impl Latches {
    pub(crate) fn new() -> Self {
        Self { names: Arc::default(), held: Arc::new(watch::Sender::new(0)) }
    }

    pub(crate) fn latch(&self, name: impl Into<String>) -> Latch {
        let name = name.into();
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
        self.held.send_modify(|held| *held += 1);
        Latch { latches: self.clone(), name }
    }

    /// The names that readiness still waits for.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until no latch is held.
    pub(crate) async fn released(&self) {
        let mut held = self.held.subscribe();
        // The sender lives in self, so the channel cannot close while this waits.
        let _ = held.wait_for(|held| *held == 0).await;
    }
}

// === impl Latch ===

impl Latch {
    /// Lets readiness go on.
    pub fn release(self) {
        let mut names = self.latches.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = names.iter().position(|name| *name == self.name) {
            names.swap_remove(index);
        }
        drop(names);
        self.latches.held.send_modify(|held| *held -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readiness_waits_for_every_latch() {
        let latches = Latches::new();
        let (cache, index) = (latches.latch("cache"), latches.latch("index"));
        cache.release();
        assert_eq!(latches.waiting(), ["index"]);
        index.release();
        latches.released().await;
        assert!(latches.waiting().is_empty());
    }
}
