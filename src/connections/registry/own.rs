//! What is *own*: listeners and streams of the program's own, which cannot leave the process.
//!
//! It has a mode of its own, and never sees Hold: before a hand-over it ends in order, while everything else is served.

use std::sync::atomic::Ordering;

use super::{Mode, Registry};

// === impl Registry ===

impl Registry {
    /// Sets the mode of what is own: Linger and Close end it before a hand-over, Serve lets it go on after one that
    /// did not come about.
    pub(crate) fn end_own(&self, mode: Mode) {
        let state = self.lock();
        self.own_mode.store(mode as u8, Ordering::SeqCst);
        for (_, entry) in &state.entries {
            if entry.signal.is_own {
                entry.signal.waker.wake();
            }
        }
    }

    /// Waits until no own connection is left, but for upgraded ones.
    pub(crate) async fn own_ended(&self) {
        self.wait(|state| state.own_connections == 0).await;
    }

    /// Tells whether there is anything own.
    pub(crate) fn has_own(&self) -> bool {
        let state = self.lock();
        state.own_acceptors + state.own_connections > 0
    }
}
