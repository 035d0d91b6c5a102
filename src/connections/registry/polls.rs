//! Connections whose task stays in one poll, and so blocks a thread of the runtime.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::net::getpeername;

use super::{Entry, Registry, Signal};
use crate::connections::poll_counter::Polled;
use crate::sockets::stream::canonical;

/// A connection whose task was being polled at a look.
#[derive(Debug)]
pub(crate) struct PollInProgress {
    key: usize,
    signal: Arc<Signal>,
    poll: u32,
}

// === impl Registry ===

impl Registry {
    /// The connections whose tasks are being polled now.
    pub(crate) fn polls_in_progress(&self) -> Vec<PollInProgress> {
        let state = self.lock();
        let suspect = |(key, entry): (usize, &Entry)| {
            let poll = entry.signal.polled.current()?;
            Some(PollInProgress { key, signal: Arc::clone(&entry.signal), poll })
        };
        state.entries.iter().filter_map(suspect).collect()
    }

    /// The peers of those that are still in the same poll; none where the peer has no address.
    pub(crate) fn still(&self, polls_in_progress: &[PollInProgress]) -> Vec<Option<SocketAddr>> {
        let state = self.lock();
        let still = polls_in_progress.iter().filter(|suspect| {
            let PollInProgress { key, signal, poll } = suspect;
            signal.polled.current() == Some(*poll)
                && state.entries.get(*key).is_some_and(|entry| Arc::ptr_eq(&entry.signal, signal))
        });
        still.map(|suspect| state.entries[suspect.key].peer()).collect()
    }
}

// === impl Entry ===

impl Entry {
    /// The peer's address.
    fn peer(&self) -> Option<SocketAddr> {
        if self.fd < 0 {
            return None;
        }
        #[expect(unsafe_code, reason = "the number of a descriptor that the connection owns")]
        // SAFETY: the connection closes its socket right before it leaves the registry, whose lock is held. In
        // the moment between, the number may be unused, which is an error, or belong to another socket, which
        // misnames a peer.
        let socket = unsafe { BorrowedFd::borrow_raw(self.fd) };
        let peer = getpeername(socket).ok().flatten()?;
        peer.try_into().ok().map(canonical)
    }
}

impl AsRef<Polled> for Signal {
    fn as_ref(&self) -> &Polled {
        &self.polled
    }
}
