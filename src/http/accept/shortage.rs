//! Errors of accepting.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::at_limit::{AtLimit, LOG_INTERVAL, is_due};
use crate::connections::registry::{EVICTABLE_AFTER, Mode, Registration};

/// The first pause when descriptors or memory are short; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What an error of accept(2) is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    /// The connection: it has ended in the queue.
    Connection,
    /// The machine: it is short of descriptors or memory.
    Shortage,
    /// The listener: it is broken.
    Listener,
}

/// Pauses while descriptors or memory are short.
#[derive(Debug)]
pub(super) struct Shortage {
    pause: Duration,
    told: Option<Instant>,
}

// === impl Shortage ===

impl Shortage {
    pub(super) fn new() -> Self {
        Self { pause: PAUSE_MIN, told: None }
    }

    /// A client has been accepted.
    pub(super) fn is_over(&mut self) {
        self.pause = PAUSE_MIN;
    }

    /// Waits before the next attempt, and closes idle connections, whose end frees a descriptor and memory.
    pub(super) async fn wait(
        &mut self,
        error: &io::Error,
        address: &(dyn fmt::Display + Sync),
        registration: &Registration,
        at_limit: &mut AtLimit,
    ) {
        let registry = registration.handle().registry();
        registry.metrics.accept_shortages.add(1);
        if is_due(&mut self.told, LOG_INTERVAL) {
            tracing::warn!(
                server = registry.server(),
                %address,
                %error,
                "cannot accept for now; connections wait in the queue",
            );
        }
        let most = registry.connections().saturating_sub(1);
        let (closed, _) = registry.make_room(most, EVICTABLE_AFTER);
        at_limit.tell(closed, registry);
        tokio::select! {
            () = sleep(self.pause) => {}
            // A stop does not wait for the shortage to end. Before a hand-over what is own goes on for a while.
            () = poll_fn(|cx| match registration.poll_turn(cx) {
                Mode::Serve | Mode::Linger | Mode::Close if !registration.handle().is_ending() => {
                    Poll::Pending
                }
                Mode::Serve | Mode::Hold | Mode::Linger | Mode::Close => Poll::Ready(()),
            }) => {}
        }
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

// === impl Class ===

impl Class {
    pub(super) fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::BADF | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::INVAL | Errno::FAULT) => {
                Self::Listener
            }
            // Errors of the network that Linux passes on, accept(2), and interruptions.
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::AGAIN
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
                | Errno::NOTCONN,
            ) => Self::Connection,
            // Of a listener of the program's own, which need not know errno.
            None if is_of_client(error) => Self::Connection,
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, and unknown errors: without a pause a firewall's EPERM would
            // come again at once.
            _ => Self::Shortage,
        }
    }
}

fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | NotConnected)
}
