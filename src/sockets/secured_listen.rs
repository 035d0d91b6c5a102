//! Where a server listens for TLS.

use crate::sockets::listen::Listen;
use crate::sockets::listener::tls_name;
use crate::tls::settings::Tls;

/// TLS of a server as it is declared.
#[derive(Debug)]
pub(crate) struct SecuredListen {
    /// The name of its sockets.
    pub(crate) name: String,
    pub(crate) listen: Result<Listen, String>,
    pub(crate) tls: Tls,
}

// === impl SecuredListen ===

impl SecuredListen {
    pub(crate) fn new<L>(server: &str, listen: L, tls: Tls) -> Self
    where
        L: TryInto<Listen, Error: ToString>,
    {
        let listen = listen.try_into().map_err(|error| error.to_string());
        Self { name: tls_name(server), listen, tls }
    }
}
