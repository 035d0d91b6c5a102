//! Which sockets each server gets: those passed under its name, or else its own addresses.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::fstat;
use rustix::process::{Pid, getppid};

use crate::handover::carrier::CarriedListener;
use crate::manager::store_names::{CARRIER_NAME, FILE_NAME, LISTENER_PREFIX};
use crate::sockets::address::Address;
use crate::sockets::bind::Binder;
use crate::sockets::inherit::{Descriptor, Misdirected};
use crate::sockets::listen::Listen;
use crate::sockets::listener::{Bound, ListenError, Origin, wildcard_is_dual};

/// The descriptors that this process received, sorted by use; each listener has been checked.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Sockets of the service manager.
    passed: Vec<Passed>,
    /// Sockets of the service manager that have no name yet.
    nameless: Vec<(RawFd, OwnedFd)>,
    /// Sockets that were passed to another process.
    misdirected: Option<Misdirected>,
    /// Listeners that an earlier process of this service bound, by server.
    kept: Vec<(String, Bound)>,
    /// The files of those listeners that are Unix sockets.
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
    /// A server has no socket, although the service manager passed some to other servers.
    #[error(
        "no inherited socket is named \"{server}\"; received: {received} \
         (see with systemctl status whether its socket unit has failed, or was changed while it was open; \
         set FileDescriptorName={server} in that unit, and list it in Sockets=; or configure an address)"
    )]
    #[non_exhaustive]
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
    #[non_exhaustive]
    Unknown {
        /// The descriptor's name.
        name: String,
        /// The descriptor's number.
        number: RawFd,
        /// The servers there are.
        servers: String,
    },
    /// Sockets have no names, and it cannot be told for which server they are.
    #[error(
        "{descriptors} descriptors were passed without names, as LISTEN_FDNAMES is missing; servers \
         without a configured address: {servers} (let whoever passes them name them: \
         FileDescriptorName= in socket units, --fdname= of systemd-socket-activate; or configure \
         addresses so that one server is left without)"
    )]
    #[non_exhaustive]
    Nameless {
        /// How many there are.
        descriptors: usize,
        /// The servers that could have them.
        servers: String,
    },
    /// The sockets of a server went to another process.
    #[error(
        "\"{server}\" has no socket: LISTEN_PID says that those passed are for process {pid}{whose}, and \
         this is {own} (let ExecStart= start the program itself, or a shell that starts it with exec; \
         or configure an address)"
    )]
    #[non_exhaustive]
    Misdirected {
        /// The server.
        server: String,
        /// The process, as it is written in `LISTEN_PID`.
        pid: String,
        /// What is known of that process.
        whose: &'static str,
        /// The number of this process.
        own: u32,
    },
    /// One socket was passed twice.
    #[error(
        "inherited descriptors \"{first}\" and \"{second}\" are the same socket \
         (let each socket unit have an address of its own)"
    )]
    #[non_exhaustive]
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
    #[non_exhaustive]
    Conflict {
        /// The one server.
        first: String,
        /// The other server.
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
    /// Tells whether a later start may succeed without a change of configuration or sockets.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Listen(error) if error.may_pass())
    }
}

// === impl Received ===

impl Received {
    /// Sorts inherited descriptors.
    pub(crate) fn sort(
        descriptors: Vec<Descriptor>,
        misdirected: Option<Misdirected>,
    ) -> Result<Self, SocketsError> {
        let mut received = Self { misdirected, ..Self::default() };
        for Descriptor { number, name, fd } in descriptors {
            let Some(name) = name else {
                received.nameless.push((number, fd));
                continue;
            };
            if name == CARRIER_NAME {
                received.carriers.push(fd);
            } else if name == FILE_NAME {
                received.files.push(fd);
            } else if let Some(server) = name.strip_prefix(LISTENER_PREFIX) {
                let server = server.to_owned();
                received.kept.push((server, Bound::adopt(number, &name, fd, Origin::Ourselves)?));
            } else {
                received.pass(number, name, fd)?;
            }
        }
        Ok(received)
    }

    /// Adds listeners that came in a carrier, and the files of those that are Unix sockets.
    pub(crate) fn add(
        &mut self,
        listeners: Vec<CarriedListener>,
        files: Vec<OwnedFd>,
    ) -> Result<(), SocketsError> {
        self.files.extend(files);
        for CarriedListener { server, managers, fd } in listeners {
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

    /// Gives every server its sockets, and binds those that this process has not received.
    pub(crate) async fn distribute(
        &mut self,
        servers: &[(&str, &Listen)],
        binder: &Binder<'_>,
    ) -> Result<Vec<Vec<Bound>>, SocketsError> {
        self.check(servers)?;
        if let Some(Misdirected { pid }) = &self.misdirected {
            tracing::warn!(
                listen_pid = pid,
                "sockets were passed, but to another process; binding the configured addresses",
            );
        }
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
                let plan = |address| self.plan(name, address, listen.v6only(address, servers));
                listen.addresses.iter().map(plan).collect()
            } else {
                mine.into_iter().map(|passed| Plan::Adopt(passed.bound)).collect()
            });
        }
        // Before anything is bound: an old address may be in the way of a new one.
        self.close_unused(servers, binder);
        let mut sockets: Vec<Vec<Bound>> = Vec::with_capacity(servers.len());
        let adopted = adopted(servers, &plans);
        for ((name, listen), plans) in servers.iter().zip(plans) {
            let mut mine = Vec::with_capacity(plans.len());
            for plan in plans {
                match plan.carry_out(name, listen, servers, &adopted, binder).await {
                    Ok(bound) => mine.push(bound),
                    Err(error) => {
                        // A start that fails keeps no listener open, and leaves no socket file.
                        sockets.into_iter().flatten().chain(mine).for_each(Bound::give_up);
                        return Err(name_conflict(error, &adopted));
                    }
                }
            }
            sockets.push(mine);
        }
        Ok(sockets)
    }

    /// Finds out whether [`Received::distribute`] has what it needs, without binding.
    pub(crate) fn check(&mut self, servers: &[(&str, &Listen)]) -> Result<(), SocketsError> {
        self.check_passed(servers)?;
        if let Some(Misdirected { pid }) = &self.misdirected {
            let default = servers.iter().find(|(_, listen)| !listen.explicit);
            if let Some((server, _)) = default {
                let is_parent = pid.parse().ok() == getppid().map(Pid::as_raw_nonzero);
                return Err(SocketsError::Misdirected {
                    server: (*server).to_owned(),
                    pid: pid.clone(),
                    whose: if is_parent { ", which has started this one" } else { "" },
                    own: std::process::id(),
                });
            }
        }
        check_addresses(&self.names(), servers)
    }

    /// As [`Received::check`], and finds out whether the network interfaces of addresses exist, for which a start
    /// would wait.
    pub(crate) fn check_now(&mut self, servers: &[(&str, &Listen)]) -> Result<(), SocketsError> {
        self.check(servers)?;
        let is_passed = |server| self.passed.iter().any(|passed| passed.name == server);
        let bound = servers.iter().filter(|(server, _)| !is_passed(*server));
        for (server, listen) in bound {
            for address in &listen.addresses {
                Bound::check_interface(address, server)?;
            }
        }
        Ok(())
    }

    /// How many descriptors of listeners and their files these are.
    pub(crate) fn descriptors(&self) -> usize {
        self.passed.len() + self.nameless.len() + self.kept.len() + self.files.len()
    }

    fn names(&self) -> Vec<(&str, RawFd)> {
        self.passed.iter().map(|passed| (&*passed.name, passed.number)).collect()
    }

    /// Finds out whether the service manager's sockets have the names of these servers, once each.
    pub(crate) fn check_passed(&mut self, servers: &[(&str, &Listen)]) -> Result<(), SocketsError> {
        self.name(servers)?;
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

    /// Gives sockets without names to the only server that they can be for, if there is one.
    fn name(&mut self, servers: &[(&str, &Listen)]) -> Result<(), SocketsError> {
        let nameless = std::mem::take(&mut self.nameless);
        if nameless.is_empty() {
            return Ok(());
        }
        let defaults = servers.iter().filter(|(_, listen)| !listen.explicit).map(|(name, _)| *name);
        let candidates: Vec<_> = match servers {
            [(only, listen)] if !listen.addresses.is_empty() => vec![*only],
            _ => defaults.collect(),
        };
        let [server] = candidates[..] else {
            let servers =
                if candidates.is_empty() { "none".to_owned() } else { candidates.join(", ") };
            return Err(SocketsError::Nameless { descriptors: nameless.len(), servers });
        };
        for (number, fd) in nameless {
            self.pass(number, server.to_owned(), fd)?;
        }
        Ok(())
    }

    /// Prefers a listener that an earlier process bound, if it fits: clients wait in its queue.
    fn plan<'a>(&mut self, server: &str, address: &'a Address, v6only: bool) -> Plan<'a> {
        let fits = |(name, kept): &(String, Bound)| {
            let is_open = !(v6only && kept.is_dual());
            name == server && address.fits(&kept.address) && kept.is_reachable() && is_open
        };
        match self.kept.iter().position(fits) {
            Some(index) => {
                let mut bound = self.kept.swap_remove(index).1;
                bound.address = address.of_bound(bound.address);
                Plan::Adopt(bound)
            }
            None => Plan::Bind(address),
        }
    }

    fn close_unused(&mut self, servers: &[(&str, &Listen)], binder: &Binder<'_>) {
        for (server, unused) in self.kept.drain(..) {
            if !servers.iter().any(|(name, _)| *name == server) {
                // Left in the store it would stay open, and its clients would never be answered.
                binder.forget(&server);
            }
            tracing::info!(
                server,
                address = %unused.address,
                "closing a listener that is no longer configured, or whose socket file is gone",
            );
            unused.close();
        }
    }

    fn pass(&mut self, number: RawFd, name: String, fd: OwnedFd) -> Result<(), SocketsError> {
        // A descriptor on which fstat(2) fails is no socket either: the next line answers that error.
        let inode = fstat(&fd).map_or(0, |stat| stat.st_ino);
        let bound = Bound::adopt(number, &name, fd, Origin::Manager)?;
        self.passed.push(Passed { number, name, inode, bound });
        Ok(())
    }
}

/// Where one socket of a server comes from.
#[derive(Debug)]
enum Plan<'a> {
    Adopt(Bound),
    Bind(&'a Address),
}

impl Plan<'_> {
    async fn carry_out(
        self,
        server: &str,
        listen: &Listen,
        all: &[(&str, &Listen)],
        adopted: &[(String, Address)],
        binder: &Binder<'_>,
    ) -> Result<Bound, ListenError> {
        match self {
            Self::Adopt(bound) => Ok(bound),
            Self::Bind(address) => {
                // An address that a socket of this process has does not become free by waiting.
                let is_own = adopted.iter().any(|(_, other)| blocks(other, address));
                let v6only = listen.v6only(address, all);
                binder.bind(address, server, listen.mode, v6only, !is_own).await
            }
        }
    }
}

/// The addresses of the sockets that the servers adopt, each with the server's name.
fn adopted(servers: &[(&str, &Listen)], plans: &[Vec<Plan<'_>>]) -> Vec<(String, Address)> {
    let of_server = |((name, _), plans): (&(&str, &Listen), &Vec<Plan<'_>>)| {
        let addresses = plans.iter().filter_map(|plan| match plan {
            Plan::Adopt(bound) => Some(bound.address.clone()),
            Plan::Bind(_) => None,
        });
        addresses.map(|address| ((*name).to_owned(), address)).collect::<Vec<_>>()
    };
    servers.iter().zip(plans).flat_map(of_server).collect()
}

/// Tells whether a socket on `other` keeps one on `address` from being bound.
fn blocks(other: &Address, address: &Address) -> bool {
    match other {
        Address::Tcp(_) | Address::Zoned { .. } => {
            let (one, two) = (other.covers_ipv4(address), address.covers_ipv4(other));
            one || two || other.conflicts_with(address) || both_wildcards(other, address)
        }
        Address::Unix(_) => other == address,
    }
}

/// Turns "address in use" into a conflict of two servers, if the socket that has the address was adopted.
fn name_conflict(error: ListenError, adopted: &[(String, Address)]) -> SocketsError {
    let ListenError::Bind { address, server, .. } = &error else { return error.into() };
    match adopted.iter().find(|(_, other)| error.is_in_use() && blocks(other, address)) {
        Some((first, _)) => SocketsError::Conflict {
            first: first.clone(),
            second: server.clone(),
            address: address.clone(),
        },
        None => error.into(),
    }
}

fn both_wildcards(one: &Address, other: &Address) -> bool {
    one.is_wildcard() && other.is_wildcard() && one.port() == other.port()
}

/// Checks that every server without a configured address has a passed socket, if any was passed, and that every
/// passed socket has a server.
pub(crate) fn check_names(
    passed: &[(&str, RawFd)],
    servers: &[(&str, &Listen)],
) -> Result<(), SocketsError> {
    for (server, listen) in servers {
        let is_passed = passed.iter().any(|(name, _)| name == server);
        if !passed.is_empty() && !listen.explicit && !is_passed {
            let received: Vec<_> = passed.iter().map(|(name, _)| *name).collect();
            let server = (*server).to_owned();
            return Err(SocketsError::Missing { server, received: received.join(", ") });
        }
    }
    for (name, number) in passed {
        // A server without addresses has a listener of the program's own, and takes no socket.
        let takers = servers.iter().filter(|(_, listen)| !listen.addresses.is_empty());
        if !takers.clone().any(|(server, _)| server == name) {
            let names: Vec<_> = takers.map(|(server, _)| *server).collect();
            return Err(SocketsError::Unknown {
                name: name.escape_debug().to_string(),
                number: *number,
                servers: names.join(", "),
            });
        }
    }
    Ok(())
}

/// Checks, without binding, the addresses of servers to which no socket was passed.
pub(crate) fn check_addresses(
    passed: &[(&str, RawFd)],
    servers: &[(&str, &Listen)],
) -> Result<(), SocketsError> {
    let bound = servers.iter().filter(|(server, _)| !passed.iter().any(|(name, _)| name == server));
    let mut seen: Vec<(&str, &Address, bool)> = Vec::new();
    for (server, listen) in bound {
        for address in &listen.addresses {
            let v6only = listen.v6only(address, servers);
            let is_in_the_way = |(_, other, other_v6only): &&(&str, &Address, bool)| {
                let covers = (address.covers_ipv4(other) && !v6only)
                    || (other.covers_ipv4(address) && !other_v6only);
                address.conflicts_with(other) || (covers && wildcard_is_dual())
            };
            if let Some((first, ..)) = seen.iter().find(is_in_the_way) {
                return Err(SocketsError::Conflict {
                    first: (*first).to_owned(),
                    second: (*server).to_owned(),
                    address: address.clone(),
                });
            }
            Bound::check_path(address, server)?;
            seen.push((server, address, v6only));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_for_a_server_that_has_no_address_is_refused() {
        // What it brings would get round the server's own listener, which may be one of TLS.
        let (public, own) = (Listen::try_from("127.0.0.1:0").unwrap(), Listen::none());
        let servers = [("public", &public), ("own", &own)];
        assert!(check_names(&[("public", 3)], &servers).is_ok());
        let error = check_names(&[("public", 3), ("own", 4)], &servers).unwrap_err().to_string();
        assert!(error.contains("\"own\"") && error.contains("public"), "{error}");
        assert!(check_names(&[("own", 3)], &servers[1..]).is_err());
    }
}
