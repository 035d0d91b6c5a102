//! How many connections a carrier has taken, and why it takes no more.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

/// How long other processes of the same user may take to receive the descriptors that they have in flight, which
/// keep this one from sending more. Where services restart together, their next processes need a fraction of it.
pub(super) const CROWDED_TIMEOUT: Duration = Duration::from_secs(2);

/// How often sending is tried meanwhile.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// What loading a carrier came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaded {
    /// Connections in the carrier, by server.
    pub(super) handed_over: BTreeMap<String, u64>,
    /// Connections for which there was no room, by server.
    pub(super) not_handed_over: BTreeMap<String, u64>,
    /// Why there is no more room, if so.
    pub(crate) shortage: Option<Shortage>,
}

/// Why the kernel takes no more descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shortage(pub(super) Errno);

// === impl Loaded ===

impl Loaded {
    /// Counts connections that were sent, or for which there was no room.
    pub(super) fn count(&mut self, server: &str, connections: u64, sent: Result<(), Errno>) {
        let count = match sent {
            Ok(()) => &mut self.handed_over,
            Err(error) => {
                self.shortage = Some(Shortage(error));
                &mut self.not_handed_over
            }
        };
        *count.entry(server.to_owned()).or_default() += connections;
    }

    /// How many connections are in the carrier.
    pub(crate) fn handed_over(&self) -> u64 {
        self.handed_over.values().sum()
    }

    /// For how many connections there was no room.
    pub(crate) fn not_handed_over(&self) -> u64 {
        self.not_handed_over.values().sum()
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
