//! What a request's handler may know of TLS.

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "proxy")]
use base64ct::{Base64, Encoding};

use crate::tls::certificate::{names, parse};

/// A request has come over TLS.
///
/// Each such request carries it as an extension, beside [`Peer`](crate::Peer); one without it has come in clear text.
///
/// # Examples
/// ```
/// use axum::Extension;
/// use lockstepd::TlsSession;
///
/// async fn greet(session: Option<Extension<TlsSession>>) -> String {
///     let Some(Extension(session)) = session else { return "Everybody can read this".to_owned() };
///     match session.client_certificate() {
///         Some(client) => format!("Hello, {}, also called {:?}", client.subject(), client.names()),
///         None => "Hello, whoever you are".to_owned(),
///     }
/// }
/// # let _ = greet;
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsSession {
    certificate: Option<ClientCertificate>,
}

/// The certificate with which a client has shown who it is, signed by one of the authorities that the server
/// [trusts](crate::Tls::require_client_certificates).
///
/// # Examples
/// ```
/// use lockstepd::{ClientCertificate, Connection};
///
/// /// Who has connected, and the certificate for a look at what else it has.
/// fn client(connection: Connection<'_>) -> Option<(String, Vec<String>, Vec<u8>)> {
///     let client: &ClientCertificate = connection.tls_session()?.client_certificate()?;
///     Some((client.subject(), client.names(), client.der().to_vec()))
/// }
/// # let _ = client;
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct ClientCertificate(Arc<[u8]>);

// === impl TlsSession ===

impl TlsSession {
    pub(crate) fn new(certificate: Option<Arc<[u8]>>) -> Self {
        Self { certificate: certificate.map(ClientCertificate) }
    }

    /// The certificate that the client has shown, if it has and the server asks for one.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_ref()
    }
}

// === impl ClientCertificate ===

impl ClientCertificate {
    /// The certificate itself, in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// It as the value of a field, RFC 9440 section 2.1.
    #[cfg(feature = "proxy")]
    pub(crate) fn field(&self) -> String {
        format!(":{}:", Base64::encode_string(&self.0))
    }

    /// Its subject, as RFC 4514 writes it: `CN=alice,O=Example`.
    #[must_use]
    pub fn subject(&self) -> String {
        parse(&self.0).map(|parsed| parsed.tbs_certificate.subject.to_string()).unwrap_or_default()
    }

    /// Its alternative names: host names, mail addresses, URIs and IP addresses.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        parse(&self.0).map(|parsed| names(&parsed)).unwrap_or_default()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate").field(&self.subject()).finish()
    }
}
