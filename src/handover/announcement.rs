//! What a running program would leave to the one that takes its place, and whether that could start from it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::handover::assignment::{SocketsError, check_addresses, check_names};
use crate::sockets::address::{Address, Listen};
use crate::sockets::listener::Bound;
use crate::sockets::socket_file::SocketFiles;

/// What a running program would leave to the one that takes its place, as a text for the
/// environment: the carrier's version and a line for each listener.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Announcement {
    pub(crate) carrier: u8,
    pub(crate) listeners: Vec<AnnouncedListener>,
}

/// A listener that would be left.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AnnouncedListener {
    pub(crate) server: String,
    pub(crate) managers: bool,
    /// As it is shown: that of a socket without a name is no address.
    pub(crate) address: String,
}

/// An announcement that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("what the running program would leave is written in a way that is not known")]
pub(crate) struct InvalidAnnouncement;

// === impl Announcement ===

impl Announcement {
    /// How many descriptors the listeners take that the program has bound by itself; of a Unix socket its
    /// file, too.
    pub(crate) fn own_descriptors(&self) -> usize {
        let own = self.listeners.iter().filter(|listener| !listener.managers);
        own.map(|listener| 1 + usize::from(listener.has_file())).sum()
    }

    /// How many descriptors all listeners take.
    pub(crate) fn descriptors(&self) -> usize {
        let managers = self.listeners.iter().filter(|listener| listener.managers).count();
        managers + self.own_descriptors()
    }

    /// The part of it that clients can find: a socket file may have been removed or replaced.
    pub(crate) fn reachable(&self, files: &SocketFiles) -> Self {
        let is_reachable =
            |listener: &&AnnouncedListener| match listener.address.strip_prefix("unix:") {
                Some(path) if listener.has_file() => files.are_at(Path::new(path)),
                _ => true,
            };
        let listeners = self.listeners.iter().filter(is_reachable).cloned().collect();
        Self { carrier: self.carrier, listeners }
    }

    /// Finds out whether servers could start from this announcement, and bind what it lacks.
    pub(crate) fn check(&self, servers: &[(&str, &Listen)]) -> Result<(), SocketsError> {
        let managers = self.listeners.iter().filter(|listener| listener.managers);
        let passed: Vec<_> = managers.map(|listener| (&*listener.server, -1)).collect();
        check_names(&passed, servers)?;
        check_addresses(&passed, servers)?;
        let ours = || self.listeners.iter().filter(|listener| !listener.managers);
        for (server, listen) in servers {
            if passed.iter().any(|(name, _)| name == server) {
                continue;
            }
            for address in &listen.addresses {
                let kept = |left: &AnnouncedListener| {
                    left.server == *server
                        && left.address.parse().is_ok_and(|left| address.fits(&left))
                };
                if ours().any(kept) {
                    continue;
                }
                let in_our_way = |left: &AnnouncedListener| {
                    left.address.parse().is_ok_and(|left: Address| match address {
                        Address::Unix(_) => left == *address,
                        _ => left.port() == address.port(),
                    })
                };
                match Bound::try_bind(address, server, listen.v6only(address, servers)) {
                    // The running program will have closed it by then.
                    Err(error) if error.is_in_use() && ours().any(in_our_way) => {}
                    tried => tried?,
                }
            }
        }
        Ok(())
    }
}

// === impl AnnouncedListener ===

impl AnnouncedListener {
    /// Tells whether it is a Unix socket whose file is the program's.
    pub(crate) fn has_file(&self) -> bool {
        !self.managers && self.address.starts_with("unix:/")
    }
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "carrier {}", self.carrier)?;
        for AnnouncedListener { server, managers, address } in &self.listeners {
            let opened_by = if *managers { "manager" } else { "program" };
            write!(f, "\n{opened_by} {server} {address}")?;
        }
        Ok(())
    }
}

impl FromStr for Announcement {
    type Err = InvalidAnnouncement;

    fn from_str(text: &str) -> Result<Self, InvalidAnnouncement> {
        let mut lines = text.lines();
        let carrier = lines.next().and_then(|line| line.strip_prefix("carrier ")?.parse().ok());
        let listener = |line: &str| {
            let (opened_by, rest) = line.split_once(' ')?;
            let (server, address) = rest.split_once(' ')?;
            let managers = match opened_by {
                "manager" => true,
                "program" => false,
                _ => return None,
            };
            Some(AnnouncedListener {
                server: server.to_owned(),
                managers,
                address: address.to_owned(),
            })
        };
        Ok(Self {
            carrier: carrier.ok_or(InvalidAnnouncement)?,
            listeners: lines.map(listener).collect::<Option<_>>().ok_or(InvalidAnnouncement)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_heritage_reads_as_it_is_written() {
        let listener = |server: &str, managers, address: &str| AnnouncedListener {
            server: server.to_owned(),
            managers,
            address: address.to_owned(),
        };
        let announcement = Announcement {
            carrier: 1,
            listeners: vec![
                listener("public", true, "[::]:80"),
                listener("admin", false, "unix:/run/with space/x.sock"),
            ],
        };
        assert_eq!(announcement.to_string().parse::<Announcement>().unwrap(), announcement);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_heritage_reads_as_it_is_written(
            carrier: u8,
            listeners in prop::collection::vec(("[a-z0-9_-]{1,9}", any::<bool>(), "\\PC{0,30}"), 0..5),
        ) {
            let listener = |(server, managers, address)| AnnouncedListener { server, managers, address };
            let listeners = listeners.into_iter().map(listener).collect();
            let announcement = Announcement { carrier, listeners };
            prop_assert_eq!(announcement.to_string().parse::<Announcement>().unwrap(), announcement);
        }

        #[test]
        fn no_text_is_more_than_an_invalid_heritage(text in "(carrier )?(\\PC|\n){0,60}") {
            // That it comes back is all there is to see.
            let _ = text.parse::<Announcement>();
        }
    }
}
