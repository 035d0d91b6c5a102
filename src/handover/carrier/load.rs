//! How much of what is to be handed over has found room, and what is in the way of more.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

/// How long other processes of our user may take to receive what keeps us from sending more: the next
/// processes of services that restart together do so within a fraction of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How soon it is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(10);

/// How far loading a carrier has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    /// Connections in the carrier, by server.
    pub(super) handed_over: BTreeMap<String, u64>,
    /// Connections that found no room, by server.
    pub(super) left: BTreeMap<String, u64>,
    /// Why there is no more room.
    pub(crate) shortage: Option<Shortage>,
}

/// Why the kernel takes no more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shortage(pub(super) Errno);

// === impl Load ===

impl Load {
    /// How many connections are in the carrier.
    pub(crate) fn handed_over(&self) -> u64 {
        self.handed_over.values().sum()
    }

    /// How many connections found no room.
    pub(crate) fn left(&self) -> u64 {
        self.left.values().sum()
    }
}

// === impl Shortage ===

impl Shortage {
    /// An error as the operator reads it, with the remedy if it is a shortage.
    pub(crate) fn describe(error: &io::Error) -> String {
        Errno::from_io_error(error)
            .map_or_else(|| error.to_string(), |errno| Self(errno).to_string())
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedy = match self.0 {
            Errno::TOOMANYREFS => {
                " (this user has as many descriptors on their way between processes as one may have open: raise \
                 LimitNOFILE=, or give each service a user of its own)"
            }
            Errno::MFILE => " (raise LimitNOFILE=)",
            Errno::NFILE => " (raise the kernel's fs.file-max)",
            Errno::AGAIN | Errno::NOBUFS => " (raise the kernel's net.core.wmem_max)",
            _ => "",
        };
        write!(f, "{}{remedy}", io::Error::from(self.0))
    }
}
