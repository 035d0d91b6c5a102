//! What the service manager is told, with the texts that it consists of.
//!
//! [`NotifyState`] borrows its texts; a message waits in a queue, and has its own.
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

/// What is news only until there is newer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Passing {
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
            // The manager would otherwise drop a descriptor whose other end hangs up, which is just what
            // happens to the carrier when this process exits.
            Self::Store { name, .. } => {
                let do_not_poll = NotifyState::Custom("FDPOLL=0");
                vec![NotifyState::FdStore, NotifyState::FdName(name), do_not_poll]
            }
            Self::Unstore { name } => {
                vec![NotifyState::FdStoreRemove, NotifyState::FdName(name)]
            }
            // The only assignment of its message, or the manager ignores it.
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

    /// Tells whether a newer one of the same kind makes this one needless.
    pub(super) fn passing(&self) -> Option<Passing> {
        match self {
            Self::Status { .. } | Self::Progress { .. } => Some(Passing::Status),
            Self::Watchdog => Some(Passing::Watchdog),
            _ => None,
        }
    }
}
