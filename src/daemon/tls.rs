//! TLS of the servers: read at the start, exchanged at a reload, and its keys for the next process.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;

use crate::daemon::builder::Daemon;
use crate::daemon::declared::DeclaredListen;
use crate::daemon::error::Error;
use crate::daemon::running::Running;
use crate::daemon::start::register;
use crate::log::message_id;
use crate::sockets::listener::{Bound, Listener};
use crate::sockets::secured_listen::SecuredListen;
use crate::tls::acceptor::{Acceptor, Acceptors, Loaded, TlsError};
use crate::tls::settings::Tls;
use crate::tls::ticket_keys::TicketKeys;

/// From when on the log warns of a certificate that expires.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);

// === impl DeclaredListen ===

impl<'d> From<&'d SecuredListen> for DeclaredListen<'d> {
    fn from(tls: &'d SecuredListen) -> Self {
        Self { name: &tls.name, listen: &tls.listen, has_own: false }
    }
}

// === impl Daemon ===

impl Daemon {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// When some cannot be used.
    pub(crate) fn acceptors(&self) -> Result<Acceptors, Error> {
        let declared = self.declared_tls().map(|(server, tls)| {
            let acceptor = Acceptor::new(tls.clone()).map_err(unusable(server))?;
            Ok((server.to_owned(), Arc::new(acceptor)))
        });
        declared.collect()
    }

    /// Gives each server what its handshakes are made with; sessions of the process before this one, whose `keys` these are,
    /// are resumed.
    pub(crate) fn set_acceptors(&mut self, acceptors: &Acceptors, keys: Vec<(String, TicketKeys)>) {
        let of = |server: &str| {
            let named = acceptors.iter().find(|(name, _)| name == server);
            named.map(|(_, acceptor)| Arc::clone(acceptor))
        };
        for (server, keys) in keys {
            if let Some(Err(error)) = of(&server).map(|acceptor| acceptor.take_keys(keys)) {
                tracing::warn!(server, %error, "no session of the process before this one is resumed");
            }
        }
        for server in &mut self.servers {
            let acceptor = of(&server.name);
            server.set_acceptor(acceptor);
        }
        #[cfg(feature = "admin")]
        {
            self.admin.acceptor = of(Self::ADMIN);
        }
    }

    fn declared_tls(&self) -> impl Iterator<Item = (&str, &Tls)> {
        let servers = self.servers.iter();
        let servers = servers.filter_map(|server| Some((&*server.name, &server.tls.as_ref()?.tls)));
        #[cfg(feature = "admin")]
        let servers = servers.chain(self.admin.tls.iter().map(|tls| (Self::ADMIN, &tls.tls)));
        servers
    }
}

/// The listeners of a server, and behind them those for TLS, if it has any.
pub(crate) fn with_secured(
    mut listeners: Vec<Listener>,
    is_secured: bool,
    sockets: &mut impl Iterator<Item = Vec<Bound>>,
) -> Result<Vec<Listener>, Error> {
    if is_secured {
        for mut listener in register(sockets.next())? {
            listener.is_secured = true;
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

fn unusable(server: &str) -> impl Fn(TlsError) -> Error {
    move |error| Error::Configuration(format!("no TLS for \"{server}\": {error}"))
}

// === impl Running ===

impl Running {
    /// The keys of session tickets, by server, for the next process.
    pub(crate) fn ticket_keys(&self) -> Vec<(String, TicketKeys)> {
        let keys =
            |(server, acceptor): &(String, Arc<Acceptor>)| (server.clone(), acceptor.ticket_keys());
        self.acceptors.iter().map(keys).collect()
    }

    /// Reads certificates and keys anew, for [`Running::exchange_certificates`].
    ///
    /// # Errors
    /// When some cannot be used; then those before stay in force.
    pub(crate) async fn read_certificates(&self) -> Result<Vec<Loaded>, String> {
        let acceptors = self.acceptors.clone();
        let read = spawn_blocking(move || {
            let read = |(server, acceptor): &(String, Arc<Acceptor>)| {
                acceptor.read_again().map_err(|error| unusable(server)(error).to_string())
            };
            acceptors.iter().map(read).collect()
        });
        read.await.unwrap_or_else(|panic| Err(format!("reading certificates failed: {panic}")))
    }

    pub(crate) fn exchange_certificates(&self, read: Vec<Loaded>) {
        for ((server, acceptor), loaded) in self.acceptors.iter().zip(read) {
            if let Err(error) = acceptor.exchange(loaded) {
                tracing::error!(server, %error, "the certificates before stay in force");
            }
        }
        self.look_at_certificates();
    }

    /// Warns of certificates that expire soon.
    pub(crate) fn look_at_certificates(&self) {
        let now = SystemTime::now();
        for (server, acceptor) in &self.acceptors {
            for facts in &acceptor.loaded().certificates {
                let left = facts.expires.duration_since(now).unwrap_or_default();
                if left < WARN_BEFORE {
                    tracing::warn!(
                        message_id = message_id::CERTIFICATE_EXPIRES,
                        server,
                        certificate = facts.file,
                        names = facts.names.join(", "),
                        days_left = left.as_secs() / 86_400,
                        "a certificate expires soon (renew it, then reload or restart)",
                    );
                }
            }
        }
    }
}
