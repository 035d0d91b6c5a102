//! The messages to the service manager, with their texts.
//!
//! [`NotifyState`] borrows its texts; a message waits in a queue, and owns them.
//!
//! # Source
//! `sd_notify(3)`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sd_notify::NotifyState;

/// One message. Its texts are one line each.
#[derive(Debug)]
pub(super) enum Message {
    Ready {
        status: String,
    },
    /// A reload has begun at `since`.
    Reloading {
        since: NotifyState<'static>,
        status: String,
    },
    Stopping {
        status: String,
    },
    Status {
        status: String,
    },
    /// A start or stop goes on, and asks for that much more time.
    Progress {
        microseconds: u32,
        status: String,
    },
    /// The program ends without having served.
    Failed {
        errno: Option<u32>,
        status: String,
    },
    Watchdog,
    /// The descriptor is for the file descriptor store.
    Store {
        name: String,
        fd: OwnedFd,
    },
    /// The descriptors of that name are no longer for the store.
    Unstore {
        name: String,
    },
    /// The manager closes the descriptor once it has read this.
    Barrier {
        fd: OwnedFd,
    },
}

/// The kinds of messages of which only the newest has to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Replaceable {
    Status,
    Watchdog,
}

// === impl Message ===

impl Message {
    /// The message in sd-notify's words, in order.
    pub(super) fn states(&self) -> Vec<NotifyState<'_>> {
        use NotifyState::Status;

        match self {
            Self::Ready { status } => vec![NotifyState::Ready, Status(status)],
            Self::Reloading { since, status } => {
                vec![NotifyState::Reloading, since.clone(), Status(status)]
            }
            Self::Stopping { status } => vec![NotifyState::Stopping, Status(status)],
            Self::Status { status } | Self::Failed { errno: None, status } => vec![Status(status)],
            Self::Progress { microseconds, status } => {
                vec![NotifyState::ExtendTimeoutUsec(*microseconds), Status(status)]
            }
            Self::Failed { errno: Some(errno), status } => {
                vec![NotifyState::Errno(*errno), Status(status)]
            }
            Self::Watchdog => vec![NotifyState::Watchdog],
            // Otherwise the manager drops a descriptor whose other end hangs up, as the carrier's does when
            // this process exits.
            Self::Store { name, .. } => {
                let do_not_poll = NotifyState::Custom("FDPOLL=0");
                vec![NotifyState::FdStore, NotifyState::FdName(name), do_not_poll]
            }
            Self::Unstore { name } => {
                vec![NotifyState::FdStoreRemove, NotifyState::FdName(name)]
            }
            // Alone in its message: otherwise the manager ignores it.
            Self::Barrier { .. } => vec![NotifyState::Custom("BARRIER=1")],
        }
    }

    /// The descriptor that goes along.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Store { fd, .. } | Self::Barrier { fd } => Some(fd.as_fd()),
            _ => None,
        }
    }

    /// The kind of this message, if a newer one of that kind takes its place in the queue.
    pub(super) fn replaceable(&self) -> Option<Replaceable> {
        match self {
            Self::Status { .. } | Self::Progress { .. } => Some(Replaceable::Status),
            Self::Watchdog => Some(Replaceable::Watchdog),
            _ => None,
        }
    }
}
