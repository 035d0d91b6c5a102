//! What a running program tells the one that is to replace it in a dry run: the listeners that it would hand over.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::handover::assignment::{SocketsError, check_addresses, check_names};
use crate::sockets::address::Address;
use crate::sockets::listen::Listen;
use crate::sockets::listener::Bound;
use crate::sockets::socket_file::SocketFiles;

/// The listeners that a running program would hand over, as a text for the environment: the carrier's version and
/// a line for each listener.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Announcement {
    pub(crate) carrier: u8,
    pub(crate) listeners: Vec<AnnouncedListener>,
}

/// A listener that would be handed over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AnnouncedListener {
    pub(crate) server: String,
    /// The service manager opened it, not the program.
    pub(crate) managers: bool,
    /// As a text: a Unix socket without a name has none that could be parsed.
    pub(crate) address: String,
}

/// An announcement that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("what the running program would leave is written in a way that is not known")]
pub(crate) struct InvalidAnnouncement;

// === impl Announcement ===

impl Announcement {
    /// How many descriptors the listeners take that the program has bound itself; for a Unix socket its file is
    /// one more.
    pub(crate) fn own_descriptors(&self) -> usize {
        let own = self.listeners.iter().filter(|listener| !listener.managers);
        own.map(|listener| 1 + usize::from(listener.has_file())).sum()
    }

    /// How many descriptors all listeners take.
    pub(crate) fn descriptors(&self) -> usize {
        let managers = self.listeners.iter().filter(|listener| listener.managers).count();
        managers + self.own_descriptors()
    }

    /// Only the listeners that clients can reach: a socket file may have been removed or replaced.
    pub(crate) fn reachable(&self, files: &SocketFiles) -> Self {
        let is_reachable =
            |listener: &&AnnouncedListener| match listener.address.strip_prefix("unix:") {
                Some(path) if listener.has_file() => files.are_at(Path::new(path)),
                _ => true,
            };
        let listeners = self.listeners.iter().filter(is_reachable).cloned().collect();
        Self { carrier: self.carrier, listeners }
    }

    /// Finds out whether the servers could start with these listeners, and bind the addresses that are missing.
    pub(crate) fn check(&self, servers: &[(&str, &Listen)]) -> Result<(), SocketsError> {
        let managers = self.listeners.iter().filter(|listener| listener.managers);
        let passed: Vec<_> = managers.map(|listener| (&*listener.server, -1)).collect();
        check_names(&passed, servers)?;
        check_addresses(&passed, servers)?;
        let own = || self.listeners.iter().filter(|listener| !listener.managers);
        for (server, listen) in servers {
            if passed.iter().any(|(name, _)| name == server) {
                continue;
            }
            for address in &listen.addresses {
                let fits = |listener: &AnnouncedListener| {
                    listener.server == *server
                        && listener.address.parse().is_ok_and(|announced| address.fits(&announced))
                };
                if own().any(fits) {
                    continue;
                }
                let is_in_the_way = |listener: &AnnouncedListener| {
                    listener.address.parse().is_ok_and(|announced: Address| match address {
                        Address::Unix(_) => announced == *address,
                        _ => announced.port() == address.port(),
                    })
                };
                match Bound::try_bind(address, server, listen.v6only(address, servers)) {
                    // It fits no server any more: the new program closes it before it binds.
                    Err(error) if error.is_in_use() && own().any(is_in_the_way) => {}
                    tried => tried?,
                }
            }
        }
        Ok(())
    }
}

// === impl AnnouncedListener ===

impl AnnouncedListener {
    /// Tells whether it is a Unix socket whose file the program has made.
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
    fn an_announcement_is_parsed_as_it_was_written() {
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
        fn every_announcement_is_parsed_as_it_was_written(
            carrier: u8,
            listeners in prop::collection::vec(("[a-z0-9_-]{1,9}", any::<bool>(), "\\PC{0,30}"), 0..5),
        ) {
            let listener = |(server, managers, address)| AnnouncedListener { server, managers, address };
            let listeners = listeners.into_iter().map(listener).collect();
            let announcement = Announcement { carrier, listeners };
            prop_assert_eq!(announcement.to_string().parse::<Announcement>().unwrap(), announcement);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(carrier )?(\\PC|\n){0,60}") {
            // Either result will do.
            let _ = text.parse::<Announcement>();
        }
    }
}
