//! The servers, their sockets, and what was taken over, as log, STATUS and admin server show them.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::connections::registry::Registry;
use crate::sockets::address::Address;
use crate::sockets::listener::{Listener, tls_name};

/// A server with its sockets.
#[derive(Clone, Debug)]
pub(crate) struct ServerOverview {
    pub(crate) registry: Arc<Registry>,
    pub(crate) sockets: Vec<SocketOverview>,
    /// How many listeners of the program's own there are besides.
    pub(crate) own_listeners: usize,
    addresses: Vec<Address>,
}

/// A listening socket.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SocketOverview {
    pub(crate) address: String,
    /// What opened it: `systemd` or `lockstepd`.
    pub(crate) opened_by: &'static str,
    /// Its clients speak TLS.
    pub(crate) tls: bool,
}

/// What the process before this one handed over.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "admin", derive(Serialize))]
#[cfg_attr(not(feature = "admin"), expect(dead_code, reason = "only the admin server shows it"))]
pub(crate) struct HandOver {
    /// `restart`, through the service manager, or `upgrade`, in place.
    pub(crate) way: &'static str,
    pub(crate) connections: usize,
    /// Connections whose clients had hung up by then.
    pub(crate) gone: usize,
    #[cfg_attr(feature = "admin", serde(serialize_with = "crate::log::rfc3339"))]
    pub(crate) time: SystemTime,
    /// How long the process before this one took to bring its servers to rest; absent if it could
    /// not tell.
    pub(crate) drain_seconds: Option<f64>,
    /// How many requests it cut off; absent if it could not tell.
    pub(crate) requests_cut_off: Option<u64>,
}

/// The word for sockets that the service manager opened.
const SYSTEMD: &str = "systemd";

// === impl ServerOverview ===

impl ServerOverview {
    pub(crate) fn new(
        registry: &Arc<Registry>,
        listeners: &[Listener],
        own_listeners: usize,
    ) -> Self {
        Self {
            own_listeners,
            registry: Arc::clone(registry),
            sockets: listeners.iter().map(SocketOverview::of).collect(),
            addresses: listeners.iter().map(|listener| listener.address.clone()).collect(),
        }
    }

    /// The server's name and addresses.
    pub(crate) fn bound(&self) -> (String, Vec<Address>) {
        (self.registry.server().to_owned(), self.addresses.clone())
    }

    /// Tells whether systemd has opened all of its sockets, and so starts the daemon again for the next client.
    pub(crate) fn is_socket_activated(&self) -> bool {
        self.own_listeners == 0 && self.sockets.iter().all(SocketOverview::is_from_manager)
    }
}

// === impl SocketOverview ===

impl SocketOverview {
    fn of(listener: &Listener) -> Self {
        Self {
            address: listener.address.to_string(),
            opened_by: if listener.is_from_manager() { SYSTEMD } else { "lockstepd" },
            tls: listener.is_secured,
        }
    }

    /// The name of the server's sockets that it is one of.
    pub(crate) fn server_name(&self, server: &str) -> String {
        if self.tls { tls_name(server) } else { server.to_owned() }
    }

    /// Tells whether the service manager opened it.
    pub(crate) fn is_from_manager(&self) -> bool {
        self.opened_by == SYSTEMD
    }
}

impl fmt::Display for SocketOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address, if self.tls { " (TLS)" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_cannot_start_the_daemon_for_a_client_of_a_listener_of_its_own() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        assert!(!ServerOverview::new(&registry, &[], 1).is_socket_activated());
    }
}
