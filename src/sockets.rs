//! Which sockets each server gets: those passed under its name, or else its own addresses.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::str::FromStr;

use rustix::fs::fstat;

use crate::address::{Address, Listen};
use crate::bind::Binder;
use crate::handover::{CARRIER_NAME, FILE_NAME, LISTENER_PREFIX, Left};
use crate::inherit::Descriptor;
use crate::listen::{Bound, ListenError, Origin};
use crate::socket_file::SocketFiles;

/// What was left to this process, sorted by use, each listener having been checked.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    /// Sockets of the service manager.
    passed: Vec<Passed>,
    /// Listeners that an earlier life of this program bound, by server.
    kept: Vec<(String, Bound)>,
    /// The files of those that are Unix sockets.
    files: Vec<OwnedFd>,
    /// Carriers of connections.
    pub(crate) carriers: Vec<OwnedFd>,
}

#[derive(Debug)]
struct Passed {
    number: RawFd,
    name: String,
    inode: u64,
    bound: Bound,
}

/// Why the servers cannot have their sockets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketsError {
    /// A server has no socket although others have theirs from the service manager.
    #[error(
        "no inherited socket is named \"{server}\"; received: {received} \
         (set FileDescriptorName={server} in its socket unit and list that in Sockets=, \
         see with systemctl status whether that unit has failed, or configure an address)"
    )]
    Missing {
        /// The server.
        server: String,
        /// The names that were passed.
        received: String,
    },
    /// A socket is meant for a server that does not exist.
    #[error(
        "no server is named \"{name}\" as inherited descriptor {number} is; servers: {servers} \
         (correct FileDescriptorName= in its socket unit)"
    )]
    Unknown {
        /// The descriptor's name.
        name: String,
        /// The descriptor's number.
        number: RawFd,
        /// The servers there are.
        servers: String,
    },
    /// One socket was passed twice.
    #[error(
        "inherited descriptors \"{first}\" and \"{second}\" are the same socket \
         (let each socket unit have an address of its own)"
    )]
    Duplicate {
        /// The name of the one.
        first: String,
        /// The name of the other.
        second: String,
    },
    /// Two listeners are to have one address.
    #[error(
        "\"{first}\" and \"{second}\" cannot both listen on {address} (give one of them another)"
    )]
    Conflict {
        /// The server that has it.
        first: String,
        /// The server that wants it, too.
        second: String,
        /// The address.
        address: Address,
    },
    /// A socket cannot be used.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

// === impl SocketsError ===

impl SocketsError {
    /// Tells whether it may work later without anybody's doing.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Listen(error) if error.may_pass())
    }
}

// === impl Legacy ===

impl Legacy {
    /// Sorts inherited descriptors.
    pub(crate) fn sort(descriptors: Vec<Descriptor>) -> Result<Self, SocketsError> {
        let mut legacy = Self::default();
        for Descriptor { number, name, fd } in descriptors {
            if name == CARRIER_NAME {
                legacy.carriers.push(fd);
            } else if name == FILE_NAME {
                legacy.files.push(fd);
            } else if let Some(server) = name.strip_prefix(LISTENER_PREFIX) {
                let server = server.to_owned();
                legacy.kept.push((server, Bound::adopt(number, &name, fd, Origin::Ourselves)?));
            } else {
                legacy.pass(number, name, fd)?;
            }
        }
        Ok(legacy)
    }

    /// Adds listeners that came in a carrier, and the files of those that are Unix sockets.
    pub(crate) fn add(&mut self, left: Vec<Left>, files: Vec<OwnedFd>) -> Result<(), SocketsError> {
        self.files.extend(files);
        for Left { server, managers, fd } in left {
            let number = fd.as_raw_fd();
            if managers {
                self.pass(number, server, fd)?;
            } else {
                let bound = Bound::adopt(number, &server, fd, Origin::Ourselves)?;
                self.kept.push((server, bound));
            }
        }
        Ok(())
    }

    /// Gives every server its sockets, binding where none was left.
    pub(crate) async fn distribute(
        &mut self,
        servers: &[(&str, &Listen)],
        binder: &Binder<'_>,
    ) -> Result<Vec<Vec<Bound>>, SocketsError> {
        self.check(servers)?;
        for (_, kept) in &mut self.kept {
            kept.claim_file(&mut self.files);
        }
        let mut plans: Vec<Vec<Plan<'_>>> = Vec::with_capacity(servers.len());
        for (name, listen) in servers {
            let (mine, others) = std::mem::take(&mut self.passed)
                .into_iter()
                .partition::<Vec<_>, _>(|passed| passed.name == *name);
            self.passed = others;
            if !mine.is_empty() && listen.explicit {
                tracing::info!(
                    server = name,
                    "sockets from the service manager take the place of configured addresses",
                );
            }
            plans.push(if mine.is_empty() {
                listen.addresses.iter().map(|address| self.plan(name, address)).collect()
            } else {
                mine.into_iter().map(|passed| Plan::Left(passed.bound)).collect()
            });
        }
        // Before anything is bound: an old address may be in the way of a new one.
        self.close_unused();
        let mut sockets: Vec<Vec<Bound>> = Vec::with_capacity(servers.len());
        for ((name, listen), plans) in servers.iter().zip(plans) {
            let mut mine = Vec::with_capacity(plans.len());
            for plan in plans {
                match plan.carry_out(name, listen, binder).await {
                    Ok(bound) => mine.push(bound),
                    Err(error) => {
                        // A start that fails leaves nothing behind.
                        sockets.into_iter().flatten().chain(mine).for_each(Bound::close);
                        return Err(error.into());
                    }
                }
            }
            sockets.push(mine);
        }
        Ok(sockets)
    }

    /// Finds out whether [`Legacy::distribute`] has what it needs, without binding.
    pub(crate) fn check(&self, servers: &[(&str, &Listen)]) -> Result<(), SocketsError> {
        self.check_passed(servers)?;
        check_addresses(&self.names(), servers)
    }

    /// How many descriptors it holds for listeners.
    pub(crate) fn descriptors(&self) -> usize {
        self.passed.len() + self.kept.len() + self.files.len()
    }

    fn names(&self) -> Vec<(&str, RawFd)> {
        self.passed.iter().map(|passed| (&*passed.name, passed.number)).collect()
    }

    /// Finds out whether the service manager's sockets are those of these servers.
    pub(crate) fn check_passed(&self, servers: &[(&str, &Listen)]) -> Result<(), SocketsError> {
        check_names(&self.names(), servers)?;
        for (index, passed) in self.passed.iter().enumerate() {
            let same = |earlier: &&Passed| earlier.inode == passed.inode;
            if let Some(earlier) = self.passed[..index].iter().find(same) {
                return Err(SocketsError::Duplicate {
                    first: earlier.name.clone(),
                    second: passed.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// A listener of an earlier life where it fits: its queue of clients goes on.
    fn plan<'a>(&mut self, server: &str, address: &'a Address) -> Plan<'a> {
        let fits = |(name, kept): &(String, Bound)| {
            name == server && address.fits(&kept.address) && kept.is_reachable()
        };
        match self.kept.iter().position(fits) {
            Some(index) => Plan::Left(self.kept.swap_remove(index).1),
            None => Plan::Bind(address),
        }
    }

    fn close_unused(&mut self) {
        for (server, unused) in self.kept.drain(..) {
            tracing::info!(
                server,
                address = %unused.address,
                "closing a listener that is no longer configured, or whose socket file is gone",
            );
            unused.close();
        }
    }

    fn pass(&mut self, number: RawFd, name: String, fd: OwnedFd) -> Result<(), SocketsError> {
        // A descriptor that cannot be asked is no socket either, which the next line says.
        let inode = fstat(&fd).map_or(0, |stat| stat.st_ino);
        let bound = Bound::adopt(number, &name, fd, Origin::Manager)?;
        self.passed.push(Passed { number, name, inode, bound });
        Ok(())
    }
}

/// Where one socket of a server comes from.
#[derive(Debug)]
enum Plan<'a> {
    Left(Bound),
    Bind(&'a Address),
}

impl Plan<'_> {
    async fn carry_out(
        self,
        server: &str,
        listen: &Listen,
        binder: &Binder<'_>,
    ) -> Result<Bound, ListenError> {
        match self {
            Self::Left(bound) => Ok(bound),
            Self::Bind(address) => binder.bind(address, server, listen).await,
        }
    }
}

/// Checks that every server that needs a passed socket has one, and no socket is without a server.
fn check_names(passed: &[(&str, RawFd)], servers: &[(&str, &Listen)]) -> Result<(), SocketsError> {
    for (server, listen) in servers {
        let is_passed = passed.iter().any(|(name, _)| name == server);
        if !passed.is_empty() && !listen.explicit && !is_passed {
            let received: Vec<_> = passed.iter().map(|(name, _)| *name).collect();
            let server = (*server).to_owned();
            return Err(SocketsError::Missing { server, received: received.join(", ") });
        }
    }
    for (name, number) in passed {
        if !servers.iter().any(|(server, _)| server == name) {
            let names: Vec<_> = servers.iter().map(|(server, _)| *server).collect();
            return Err(SocketsError::Unknown {
                name: name.escape_debug().to_string(),
                number: *number,
                servers: names.join(", "),
            });
        }
    }
    Ok(())
}

/// Checks, without binding, the addresses of servers to which none was passed.
fn check_addresses(
    passed: &[(&str, RawFd)],
    servers: &[(&str, &Listen)],
) -> Result<(), SocketsError> {
    let bound = servers.iter().filter(|(server, _)| !passed.iter().any(|(name, _)| name == server));
    let mut seen: Vec<(&str, &Address)> = Vec::new();
    for (server, listen) in bound {
        for address in &listen.addresses {
            if let Some((first, _)) = seen.iter().find(|(_, other)| address.conflicts_with(other)) {
                return Err(SocketsError::Conflict {
                    first: (*first).to_owned(),
                    second: (*server).to_owned(),
                    address: address.clone(),
                });
            }
            Bound::check_path(address, server)?;
            seen.push((server, address));
        }
    }
    Ok(())
}

// === impl Heritage ===

/// What a running program would leave to the one that takes its place, as a text for the
/// environment: the carrier's version and a line for each listener.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Heritage {
    pub(crate) carrier: u8,
    pub(crate) listeners: Vec<Announced>,
}

/// A listener that would be left.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Announced {
    pub(crate) server: String,
    pub(crate) managers: bool,
    /// As it is shown: that of a socket without a name is no address.
    pub(crate) address: String,
}

/// A heritage that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("what the running program would leave is written in a way that is not known")]
pub(crate) struct InvalidHeritage;

impl Heritage {
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
        let is_reachable = |listener: &&Announced| match listener.address.strip_prefix("unix:") {
            Some(path) if listener.has_file() => files.are_at(Path::new(path)),
            _ => true,
        };
        let listeners = self.listeners.iter().filter(is_reachable).cloned().collect();
        Self { carrier: self.carrier, listeners }
    }

    /// Finds out whether servers could start from this heritage, and bind what it lacks.
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
                let kept = |left: &Announced| {
                    left.server == *server
                        && left.address.parse().is_ok_and(|left| address.fits(&left))
                };
                if ours().any(kept) {
                    continue;
                }
                let in_our_way = |left: &Announced| {
                    left.address.parse().is_ok_and(|left: Address| match address {
                        Address::Tcp(_) => left.port() == address.port(),
                        Address::Unix(_) => left == *address,
                    })
                };
                match Bound::try_bind(address, server, listen.v6only(address)) {
                    // The running program will have closed it by then.
                    Err(error) if error.is_in_use() && ours().any(in_our_way) => {}
                    tried => tried?,
                }
            }
        }
        Ok(())
    }
}

// === impl Announced ===

impl Announced {
    /// Tells whether it is a Unix socket whose file is the program's.
    pub(crate) fn has_file(&self) -> bool {
        !self.managers && self.address.starts_with("unix:/")
    }
}

impl fmt::Display for Heritage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "carrier {}", self.carrier)?;
        for Announced { server, managers, address } in &self.listeners {
            let opened_by = if *managers { "manager" } else { "program" };
            write!(f, "\n{opened_by} {server} {address}")?;
        }
        Ok(())
    }
}

impl FromStr for Heritage {
    type Err = InvalidHeritage;

    fn from_str(text: &str) -> Result<Self, InvalidHeritage> {
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
            Some(Announced { server: server.to_owned(), managers, address: address.to_owned() })
        };
        Ok(Self {
            carrier: carrier.ok_or(InvalidHeritage)?,
            listeners: lines.map(listener).collect::<Option<_>>().ok_or(InvalidHeritage)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_heritage_reads_as_it_is_written() {
        let listener = |server: &str, managers, address: &str| Announced {
            server: server.to_owned(),
            managers,
            address: address.to_owned(),
        };
        let heritage = Heritage {
            carrier: 1,
            listeners: vec![
                listener("public", true, "[::]:80"),
                listener("admin", false, "unix:/run/with space/x.sock"),
            ],
        };
        assert_eq!(heritage.to_string().parse::<Heritage>().unwrap(), heritage);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_heritage_reads_as_it_is_written(
            carrier: u8,
            listeners in prop::collection::vec(("[a-z0-9_-]{1,9}", any::<bool>(), "\\PC{0,30}"), 0..5),
        ) {
            let listener = |(server, managers, address)| Announced { server, managers, address };
            let listeners = listeners.into_iter().map(listener).collect();
            let heritage = Heritage { carrier, listeners };
            prop_assert_eq!(heritage.to_string().parse::<Heritage>().unwrap(), heritage);
        }

        #[test]
        fn no_text_is_more_than_an_invalid_heritage(text in "(carrier )?(\\PC|\n){0,60}") {
            // That it comes back is all there is to see.
            let _ = text.parse::<Heritage>();
        }
    }
}
