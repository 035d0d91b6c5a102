//! TLS of a server as the program declares it.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::tls::certificate::Source;

/// Certificates for a server's TLS, see [`Server::tls`](crate::Server::tls).
///
/// TLS 1.3 and 1.2, with ciphers that authenticate what they encrypt, and a key exchange that quantum computers do
/// not break where the client has one.
///
/// # Examples
/// ```
/// use axum::Router;
/// use lockstepd::{Daemon, Server, Tls};
///
/// let tls = Tls::new()
///     .certificate("/etc/shop/shop.example.pem", "/etc/shop/shop.example.key")
///     .certificate("/etc/shop/old.example.pem", "/etc/shop/old.example.key");
/// let server = Server::new("public", "0.0.0.0:8080", Router::new()).tls("0.0.0.0:8443", tls);
/// let daemon = Daemon::new("shop").add_server(server);
/// # let _ = daemon;
/// ```
#[derive(Clone, Debug)]
#[must_use = "certificates do nothing until a server has them"]
pub struct Tls {
    pub(super) sources: Vec<Source>,
    pub(super) client_authority: Option<ClientAuthority>,
    pub(super) protocols: Vec<String>,
}

/// Whose certificates clients may show.
#[derive(Clone, Debug)]
pub(super) struct ClientAuthority {
    pub(super) file: PathBuf,
    /// Without one there is no connection.
    pub(super) is_required: bool,
}

// === impl Tls ===

impl Tls {
    /// TLS without a certificate yet; it has to have one.
    pub fn new() -> Self {
        let protocols = vec!["http/1.1".to_owned()];
        Self { sources: Vec::new(), client_authority: None, protocols }
    }

    /// Adds a certificate and its key, in PEM files: the certificate first, then those between it and a root.
    ///
    /// Which of several a client gets is told by the names in them. One that asks for no name, or for none of
    /// them, gets the first. Files are read at the start and at each reload; a reload that finds one that cannot be used
    /// changes nothing. Nobody but the service, or its group, may be able to read the key.
    pub fn certificate(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        let (certificate, key) = (certificate.as_ref().to_owned(), key.as_ref().to_owned());
        self.sources.push(Source::Files { certificate, key });
        self
    }

    /// As [`Tls::certificate`], with the content of the files, for a program that keeps them elsewhere.
    pub fn certificate_pem(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        let (certificate, key) = (certificate.into(), Zeroizing::new(key.into()));
        self.sources.push(Source::Pem { certificate, key });
        self
    }

    /// Serves only clients that show a certificate of one of the authorities in this PEM file (mTLS). Each of their requests
    /// carries it, see [`ClientCertificate`](crate::ClientCertificate).
    ///
    /// Such sessions are not resumed: each connection shows the certificate anew.
    pub fn require_client_certificates(mut self, authorities: impl AsRef<Path>) -> Self {
        let file = authorities.as_ref().to_owned();
        self.client_authority = Some(ClientAuthority { file, is_required: true });
        self
    }

    /// As [`Tls::require_client_certificates`], but clients may come without one.
    ///
    /// # Examples
    /// ```
    /// use lockstepd::Tls;
    ///
    /// let tls = Tls::new().certificate("cert.pem", "key.pem");
    /// let closed = tls.clone().require_client_certificates("staff.pem");
    /// let open = tls.clone().accept_client_certificates("staff.pem").protocols(["http/1.1"]);
    /// let from_memory = Tls::new().certificate_pem("-----BEGIN CERT…", "-----BEGIN PRIV…");
    /// # let _ = (closed, open, from_memory);
    /// ```
    pub fn accept_client_certificates(mut self, authorities: impl AsRef<Path>) -> Self {
        let file = authorities.as_ref().to_owned();
        self.client_authority = Some(ClientAuthority { file, is_required: false });
        self
    }

    /// Sets the protocols that are offered by ALPN, the preferred one first. Default: `http/1.1`.
    pub fn protocols<P: Into<String>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.protocols = protocols.into_iter().map(Into::into).collect();
        self
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}
