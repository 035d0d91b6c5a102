//! What a server's handshakes are made with: its certificates, and the keys of its session tickets.
//!
//! A reload makes all of it anew from the files, or changes nothing.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use s2n_tls::callbacks::VerifyHostNameCallback;
use s2n_tls::cert_chain::CertificateChain;
use s2n_tls::config::{Builder, Config};
use s2n_tls::connection::Connection;
use s2n_tls::enums::{ClientAuthType, SerializationVersion};
use s2n_tls::error::Error;
use s2n_tls::security::Policy;
use s2n_tls_tokio::TlsAcceptor;

use crate::tls::certificate::{CertificateError, CertificateFacts, read};
use crate::tls::secured::Transport;
use crate::tls::settings::Tls;
use crate::tls::ticket_keys::{READ_FOR, TicketKeys, USED_FOR};

/// What a server's handshakes are made with.
pub(crate) struct Acceptor {
    tls: Tls,
    loaded: RwLock<Arc<Loaded>>,
    keys: Mutex<TicketKeys>,
    config: RwLock<Config>,
    pub(crate) handshakes: Handshakes,
}

/// Those of the servers that have TLS, by their names.
pub(crate) type Acceptors = Vec<(String, Arc<Acceptor>)>;

/// What the files have brought.
pub(crate) struct Loaded {
    chains: Vec<CertificateChain<'static>>,
    authorities: Option<Vec<u8>>,
    pub(crate) certificates: Vec<CertificateFacts>,
}

/// How handshakes have ended.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    pub(crate) full: AtomicU64,
    pub(crate) resumed: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Why there is no TLS for a server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("there is no certificate (name one, and its key)")]
    NoCertificate,
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("cannot use the authorities in {file}: {why} (it has to have certificates in PEM)")]
    Authorities { file: String, why: String },
    #[error("\"{0}\" cannot be offered by ALPN (choose of {SERVED:?}{MISSING})")]
    Protocol(String),
    #[error("cannot set TLS up: {0}")]
    Library(#[from] Error),
    #[error("the kernel gives no random bytes for session tickets: {0}")]
    Random(#[from] rustix::io::Errno),
}

/// What a handshake has come to.
pub(crate) struct Shaken {
    pub(crate) connection: Connection,
    /// In DER.
    pub(crate) certificate: Option<Arc<[u8]>>,
}

/// Any client is let in whose certificate an authority has signed: which of them may do what is for the service to say.
struct AnyName;

/// The protocols that ALPN may offer.
#[cfg(feature = "http2")]
const SERVED: [&str; 2] = ["h2", "http/1.1"];
#[cfg(not(feature = "http2"))]
const SERVED: [&str; 1] = ["http/1.1"];

/// What is said of the protocol that may be missing from them.
const MISSING: &str =
    if cfg!(feature = "http2") { "" } else { ", with the feature http2 also \"h2\"" };

/// TLS 1.3 and 1.2 with AEAD ciphers and forward secrecy, hybrid key exchange where the client has it.
const POLICY: &str = "20251014";

// === impl Acceptor ===

impl Acceptor {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be used.
    pub(crate) fn new(tls: Tls) -> Result<Self, TlsError> {
        let loaded = Loaded::of(&tls)?;
        let mut keys = TicketKeys::default();
        let config = loaded.config(&tls, &mut keys)?;
        Ok(Self {
            tls,
            loaded: RwLock::new(Arc::new(loaded)),
            keys: Mutex::new(keys),
            config: RwLock::new(config),
            handshakes: Handshakes::default(),
        })
    }

    /// Uses the keys of the process before this one as well: its clients resume their sessions.
    ///
    /// # Errors
    /// When s2n refuses them; then its own are used alone.
    pub(crate) fn take_keys(&self, before: TicketKeys) -> Result<(), TlsError> {
        let mut keys = self.keys();
        let mut all = before.followed_by(&keys);
        let config = self.loaded().config(&self.tls, &mut all)?;
        *keys = all;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// When one cannot be used.
    pub(crate) fn read_again(&self) -> Result<Loaded, TlsError> {
        let loaded = Loaded::of(&self.tls)?;
        loaded.config(&self.tls, &mut TicketKeys::default())?;
        Ok(loaded)
    }

    /// Uses what was read from here on; connections that there are go on.
    ///
    /// # Errors
    /// When s2n refuses what it has taken when it was read.
    pub(crate) fn exchange(&self, loaded: Loaded) -> Result<(), TlsError> {
        let mut keys = self.keys();
        let config = loaded.config(&self.tls, &mut keys)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// What is in force.
    pub(crate) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The keys of session tickets, for the next process.
    pub(crate) fn ticket_keys(&self) -> TicketKeys {
        self.keys().clone()
    }

    fn keys(&self) -> MutexGuard<'_, TicketKeys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the handshake of a client. The stream is left as it is when that fails, for an orderly end.
    ///
    /// # Errors
    /// When the client does not speak TLS as the server does, or shows no certificate that it should.
    pub(crate) async fn accept<S: Transport>(&self, stream: &mut S) -> Result<Shaken, Error> {
        let accepted = TlsAcceptor::new(self.current()).accept(stream).await;
        let connection = match accepted {
            Ok(stream) => stream.into_parts().0,
            Err(error) => {
                self.handshakes.failed.fetch_add(1, Ordering::Relaxed);
                return Err(error);
            }
        };
        let kind =
            if connection.resumed() { &self.handshakes.resumed } else { &self.handshakes.full };
        kind.fetch_add(1, Ordering::Relaxed);
        let certificate = self.tls.client_authority.as_ref().and_then(|_| shown(&connection));
        Ok(Shaken { connection, certificate })
    }

    /// The configuration, with another key for tickets if one is due.
    fn current(&self) -> Config {
        let mut keys = self.keys();
        let has_tickets = self.tls.client_authority.is_none();
        if has_tickets && keys.is_due(SystemTime::now()) {
            match self.loaded().config(&self.tls, &mut keys) {
                Ok(config) => {
                    *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
                }
                // The old keys are used on; s2n makes no tickets when they are too old.
                Err(error) => tracing::warn!(%error, "there is no new key for session tickets"),
            }
        }
        drop(keys);
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// The first certificate of those that the client has shown, which is its own.
fn shown(connection: &Connection) -> Option<Arc<[u8]>> {
    let chain = connection.peer_cert_chain().ok()?;
    let own = chain.iter().next()?.ok()?;
    own.der().ok().map(Arc::from)
}

// === impl Loaded ===

impl Loaded {
    fn of(tls: &Tls) -> Result<Self, TlsError> {
        if tls.sources.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        if let Some(other) = tls.protocols.iter().find(|name| !is_served(name)) {
            return Err(TlsError::Protocol(other.clone()));
        }
        let now = SystemTime::now();
        let (mut chains, mut certificates) = (Vec::new(), Vec::new());
        for source in &tls.sources {
            let loaded = source.load(now)?;
            chains.push(loaded.chain);
            certificates.push(loaded.facts);
        }
        let authorities = tls.client_authority.as_ref().map(|authority| read(&authority.file));
        Ok(Self { chains, authorities: authorities.transpose()?, certificates })
    }

    fn config(&self, tls: &Tls, keys: &mut TicketKeys) -> Result<Config, TlsError> {
        let mut builder = Builder::new();
        builder
            // A megabyte, of use to clients only.
            .with_system_certs(false)?
            .set_security_policy(&policy()?)?
            .set_serialization_version(SerializationVersion::V1)?
            // With AEAD ciphers an error tells nothing about where in a record it was found.
            .set_max_blinding_delay(0)?
            .set_application_protocol_preference(&tls.protocols)?;
        for chain in &self.chains {
            builder.load_chain(chain.clone())?;
        }
        if let (Some(authority), Some(pem)) = (&tls.client_authority, &self.authorities) {
            let refused = |error: Error| TlsError::Authorities {
                file: authority.file.display().to_string(),
                why: error.message().to_owned(),
            };
            let required = if authority.is_required {
                ClientAuthType::Required
            } else {
                ClientAuthType::Optional
            };
            builder.wipe_trust_store()?;
            builder.trust_pem(pem).map_err(refused)?;
            builder.set_client_auth_type(required)?.set_verify_host_callback(AnyName)?;
        } else {
            let now = SystemTime::now();
            keys.rotate(now)?;
            builder
                .set_ticket_key_encrypt_decrypt_lifetime(USED_FOR)?
                .set_ticket_key_decrypt_lifetime(READ_FOR)?;
            for key in keys.iter() {
                builder.add_session_ticket_key(&key.name, &key.secret, key.introduced())?;
            }
        }
        Ok(builder.build()?)
    }
}

// === impl Handshakes ===

#[cfg(feature = "admin")]
impl Handshakes {
    /// Full, resumed and failed ones.
    pub(crate) fn counts(&self) -> [u64; 3] {
        [&self.full, &self.resumed, &self.failed].map(|count| count.load(Ordering::Relaxed))
    }
}

// === impl AnyName ===

impl VerifyHostNameCallback for AnyName {
    fn verify_host_name(&self, _: &str) -> bool {
        true
    }
}

pub(super) fn policy() -> Result<Policy, Error> {
    Policy::from_version(POLICY)
}

/// Tells whether a protocol that ALPN may offer is one of those that are served.
fn is_served(protocol: &str) -> bool {
    SERVED.contains(&protocol)
}
