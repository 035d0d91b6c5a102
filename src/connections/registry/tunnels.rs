//! Tunnels: connections that are the client's end of a pair of sockets.
//!
//! A tunnel has no request that could end, so nothing waits for it: when it is to be held it deposits both sockets
//! at once, with what is between them, and where no process takes over it ends with the last idle connections.
//! One that cannot leave the process, as one of its ends is a stream of the program's own, counts as upgraded.

#[cfg(any(feature = "proxy", test))]
use std::os::fd::{AsRawFd, BorrowedFd};
#[cfg(any(feature = "proxy", test))]
use std::sync::Arc;

use super::{Deposit, Entry, Registry};
#[cfg(any(feature = "proxy", test))]
use super::{Handle, Kind, Registration};
use crate::connections::tunnel::Tunnel;

// === impl Registry ===

impl Registry {
    /// Registers a tunnel that was taken over.
    #[cfg(any(feature = "proxy", test))]
    pub(crate) fn join_tunnel(self: &Arc<Self>, client: BorrowedFd<'_>) -> Registration {
        let registration = self.join(Kind::Connection, false, client.as_raw_fd());
        registration.handle.tunnelled();
        registration
    }

    /// Shows every tunnel that is deposited and has not been sent yet to `visit`, with the flag to set when it has.
    pub(crate) fn with_unsent_tunnels<R>(
        &self,
        visit: impl FnOnce(&mut dyn Iterator<Item = (&Tunnel, &mut bool)>) -> R,
    ) -> R {
        let mut state = self.lock();
        // Mostly there is none, and there are many connections.
        let all = if state.tunnels > 0 { Some(state.entries.iter_mut()) } else { None };
        visit(&mut all.into_iter().flatten().filter_map(|(_, entry)| {
            let Entry { deposit, is_sent, .. } = entry;
            match deposit.as_deref() {
                Some(Deposit::Tunnel(tunnel)) if !*is_sent => Some((&**tunnel, is_sent)),
                _ => None,
            }
        }))
    }
}

// === impl Handle ===

#[cfg(any(feature = "proxy", test))]
impl Handle {
    /// Says that this connection is a tunnel from here on, which can be held and handed over. Only its registration
    /// says so.
    pub(crate) fn tunnelled(&self) {
        let mut state = self.registry.lock();
        state.finish(&self.signal);
        match std::mem::replace(&mut state.entries[self.key].kind, Kind::Tunnel) {
            Kind::Upgraded => state.upgraded -= 1,
            _ => {
                state.own.remove(&self.key);
            }
        }
        state.tunnels += 1;
        drop(state);
        self.registry.progress.notify_waiters();
    }
}
