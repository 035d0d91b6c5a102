//! Tasks that stay in one poll, and so block a thread of the runtime.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::net::getpeername;

use super::{Entry, Registry, Signal};
use crate::connections::poll_counter::Polled;
#[cfg(feature = "http2")]
use crate::connections::poll_counter::PolledTogether;
use crate::sockets::stream::canonical;

/// A task that is still in the same poll at a later look.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// Of a listener of the program's own.
    Acceptor,
    /// Of a connection with this peer; none where the peer has no address.
    Connection(Option<SocketAddr>),
}

/// A task that was being polled at a look.
#[derive(Debug)]
pub(crate) struct PollInProgress {
    key: usize,
    signal: Arc<Signal>,
    polls: Polls,
}

/// The poll that a task is in, and the one of its streams' tasks.
type Polls = [Option<u32>; 2];

// === impl Registry ===

impl Registry {
    /// The tasks that are being polled now.
    pub(crate) fn polls_in_progress(&self) -> Vec<PollInProgress> {
        let state = self.lock();
        let suspect = |(key, entry): (usize, &Entry)| {
            let polls = entry.signal.polls();
            let signal = Arc::clone(&entry.signal);
            (polls != [None; 2]).then_some(PollInProgress { key, signal, polls })
        };
        state.entries.iter().filter_map(suspect).collect()
    }

    /// Those that are still in the same poll.
    pub(crate) fn still(&self, polls_in_progress: &[PollInProgress]) -> Vec<Stuck> {
        let state = self.lock();
        let still = polls_in_progress.iter().filter(|suspect| {
            let PollInProgress { key, signal, polls } = suspect;
            polls.iter().zip(signal.polls()).any(|(was, is)| was.is_some() && *was == is)
                && state.entries.get(*key).is_some_and(|entry| Arc::ptr_eq(&entry.signal, signal))
        });
        still.map(|suspect| state.entries[suspect.key].stuck()).collect()
    }
}

// === impl Entry ===

impl Entry {
    fn stuck(&self) -> Stuck {
        if self.kind.is_acceptor() { Stuck::Acceptor } else { Stuck::Connection(self.peer()) }
    }

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

impl Signal {
    #[cfg(feature = "http2")]
    fn polls(&self) -> Polls {
        [self.polled.current(), self.streams_polled.current()]
    }

    #[cfg(not(feature = "http2"))]
    fn polls(&self) -> Polls {
        [self.polled.current(), None]
    }
}

#[cfg(feature = "http2")]
impl AsRef<PolledTogether> for Signal {
    fn as_ref(&self) -> &PolledTogether {
        &self.streams_polled
    }
}

impl AsRef<Polled> for Signal {
    fn as_ref(&self) -> &Polled {
        &self.polled
    }
}
