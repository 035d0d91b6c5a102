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
    /// Something else, which may pass; only of a listener of the program's own.
    Failure,
    /// The listener: it is broken.
    Listener,
}

/// Pauses while clients cannot be accepted.
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
    pub(super) fn ended(&mut self) {
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
        self.pause(registration).await;
    }

    /// Waits before a listener of the program's own is asked again.
    pub(super) async fn wait_for_own(&mut self, error: &io::Error, registration: &Registration) {
        let registry = registration.handle().registry();
        registry.metrics.accept_failures.add(1);
        if is_due(&mut self.told, LOG_INTERVAL) {
            tracing::warn!(
                server = registry.server(),
                %error,
                "a listener of its own fails; it is asked again after a pause",
            );
        }
        self.pause(registration).await;
    }

    async fn pause(&mut self, registration: &Registration) {
        tokio::select! {
            () = sleep(self.pause) => {}
            // A stop does not wait for the shortage to end.
            () = poll_fn(|cx| match registration.poll_turn(cx) {
                Mode::Serve => Poll::Pending,
                Mode::Hold | Mode::Linger | Mode::Close => Poll::Ready(()),
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
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, and unknown errors: without a pause a firewall's EPERM would
            // come again at once.
            _ => Self::Shortage,
        }
    }

    /// The class of an error that a listener of the program's own tells. It need not know errno, and what it tells may
    /// be any client's doing: idle connections are closed for a real shortage alone.
    pub(super) fn of_own(error: &io::Error) -> Self {
        use io::ErrorKind::{
            ConnectionAborted, ConnectionReset, InvalidData, NotConnected, TimedOut, UnexpectedEof,
            Unsupported,
        };
        match (Errno::from_io_error(error), error.kind()) {
            (Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM), _) => Self::Shortage,
            (Some(_), _) => match Self::of(error) {
                Self::Shortage => Self::Failure,
                class => class,
            },
            (None, Unsupported) => Self::Listener,
            (
                None,
                ConnectionAborted | ConnectionReset | InvalidData | NotConnected | TimedOut
                | UnexpectedEof,
            ) => Self::Connection,
            (None, _) => Self::Failure,
        }
    }
}
