//! The certificates and handshakes of servers with TLS, in `/status` and `/metrics`.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::log::rfc3339;
use crate::tls::acceptor::{Acceptor, Acceptors};

/// TLS of a server.
#[derive(Debug, Serialize)]
pub(super) struct TlsStatus<'a> {
    server: &'a str,
    certificates: Vec<CertificateStatus>,
    handshakes: HandshakesStatus,
}

#[derive(Debug, Serialize)]
struct CertificateStatus {
    /// The file, or `given by the program`.
    certificate: String,
    names: Vec<String>,
    #[serde(serialize_with = "rfc3339")]
    expires_at: SystemTime,
}

#[derive(Debug, Serialize)]
struct HandshakesStatus {
    full: u64,
    resumed: u64,
    failed: u64,
}

// === impl TlsStatus ===

impl<'a> TlsStatus<'a> {
    /// That of each server that has TLS.
    pub(super) fn all(acceptors: &'a Acceptors) -> Vec<Self> {
        let status = |(server, acceptor): &'a (String, Arc<Acceptor>)| {
            let loaded = acceptor.loaded();
            let certificates = loaded.certificates.iter().map(|facts| CertificateStatus {
                certificate: facts.file.clone(),
                names: facts.names.clone(),
                expires_at: facts.expires,
            });
            let [full, resumed, failed] = acceptor.handshakes.counts();
            let handshakes = HandshakesStatus { full, resumed, failed };
            Self { server, certificates: certificates.collect(), handshakes }
        };
        acceptors.iter().map(status).collect()
    }
}
