//! Settings of TLS.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use lockstepd::{Address, Error};

use super::environment::Variables;
use super::file::{text, texts};

/// The settings of one source; `None` where it does not mention one. The flags and the file's section have the same.
#[expect(clippy::doc_markdown, reason = "clap shows these comments to operators as they are")]
#[derive(Args, Clone, Debug, Default, Eq, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsSettings {
    /// Where the public server speaks TLS, if there are certificates; sockets that systemd passes under the name
    /// "public-tls" take the place of the addresses [env: LOCKSTEPD_TLS_LISTEN] [default: 0.0.0.0:9443]
    #[arg(id = "tls-listen", long, global = true, value_name = "ADDRESS", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(crate) listen: Option<Vec<Address>>,

    /// Certificates, in PEM files with those between each and a root; several separated by commas, of which the name
    /// that a client asks for chooses [env: LOCKSTEPD_TLS_CERTIFICATES] [default: none, TLS is not spoken]
    #[arg(
        id = "tls-certificates",
        long,
        global = true,
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(crate) certificates: Option<Vec<PathBuf>>,

    /// Keys of the certificates, in the same order; nobody but the service and its group may be able to read them
    /// [env: LOCKSTEPD_TLS_KEYS] [default: none]
    #[arg(id = "tls-keys", long, global = true, value_name = "FILE", value_delimiter = ',')]
    pub(crate) keys: Option<Vec<PathBuf>>,

    /// Authorities, in a PEM file, one of which has to have signed the certificate that a client of the public server
    /// shows over TLS; in clear text it serves everybody (LOCKSTEPD_PUBLIC= for TLS alone) [env: LOCKSTEPD_TLS_CLIENT_AUTHORITIES] [default: none, clients are not asked for certificates]
    #[arg(id = "tls-client-authorities", long, global = true, value_name = "FILE")]
    pub(crate) client_authorities: Option<PathBuf>,

    /// Whether clients have to show a certificate, where there are authorities: require or accept
    /// [env: LOCKSTEPD_TLS_CLIENT_CERTIFICATES] [default: require]
    #[arg(id = "tls-client-certificates", long, global = true, value_name = "WHICH")]
    #[serde(deserialize_with = "text")]
    pub(crate) client_certificates: Option<ClientCertificates>,

    /// Protocols that TLS offers (ALPN), the preferred one first [env: LOCKSTEPD_TLS_ALPN] [default: http/1.1]
    #[arg(id = "tls-alpn", long, global = true, value_name = "PROTOCOL", value_delimiter = ',')]
    pub(crate) alpn: Option<Vec<String>>,

    /// Where requests in clear text are answered with 308 to the first port of --tls-listen, or to --tls-port; sockets
    /// that systemd passes under the name "redirect" take the place of the addresses
    /// [env: LOCKSTEPD_TLS_REDIRECT] [default: none]
    #[arg(id = "tls-redirect", long, global = true, value_name = "ADDRESS", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(crate) redirect: Option<Vec<Address>>,

    /// The port that clients reach TLS by, for --tls-redirect, if it is not that of --tls-listen, as behind a
    /// socket unit [env: LOCKSTEPD_TLS_PORT] [default: that of --tls-listen]
    #[arg(id = "tls-port", long, global = true, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// Where the admin server speaks TLS, with the same certificates; its clients have to show one of
    /// --tls-admin-authorities [env: LOCKSTEPD_TLS_ADMIN] [default: none]
    #[arg(id = "tls-admin", long, global = true, value_name = "ADDRESS", value_delimiter = ',')]
    #[serde(deserialize_with = "texts")]
    pub(crate) admin: Option<Vec<Address>>,

    /// Authorities, in a PEM file, of those who may use the admin server over TLS
    /// [env: LOCKSTEPD_TLS_ADMIN_AUTHORITIES] [default: none]
    #[arg(id = "tls-admin-authorities", long, global = true, value_name = "FILE")]
    pub(crate) admin_authorities: Option<PathBuf>,
}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum ClientCertificates {
    #[default]
    Require,
    Accept,
}

// === impl TlsSettings ===

impl TlsSettings {
    pub(super) fn from_env(variables: &mut Variables) -> Result<Self, Error> {
        Ok(Self {
            listen: variables.list("LOCKSTEPD_TLS_LISTEN")?,
            certificates: variables.list("LOCKSTEPD_TLS_CERTIFICATES")?,
            keys: variables.list("LOCKSTEPD_TLS_KEYS")?,
            client_authorities: variables
                .one("LOCKSTEPD_TLS_CLIENT_AUTHORITIES", PathBuf::from_str)?,
            client_certificates: variables
                .one("LOCKSTEPD_TLS_CLIENT_CERTIFICATES", ClientCertificates::from_str)?,
            alpn: variables.list("LOCKSTEPD_TLS_ALPN")?,
            redirect: variables.list("LOCKSTEPD_TLS_REDIRECT")?,
            port: variables.one("LOCKSTEPD_TLS_PORT", u16::from_str)?,
            admin: variables.list("LOCKSTEPD_TLS_ADMIN")?,
            admin_authorities: variables
                .one("LOCKSTEPD_TLS_ADMIN_AUTHORITIES", PathBuf::from_str)?,
        })
    }

    /// Takes each setting that is absent here from `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            certificates: self.certificates.or(other.certificates),
            keys: self.keys.or(other.keys),
            client_authorities: self.client_authorities.or(other.client_authorities),
            client_certificates: self.client_certificates.or(other.client_certificates),
            alpn: self.alpn.or(other.alpn),
            redirect: self.redirect.or(other.redirect),
            port: self.port.or(other.port),
            admin: self.admin.or(other.admin),
            admin_authorities: self.admin_authorities.or(other.admin_authorities),
        }
    }

    /// Tells whether TLS is to be spoken.
    pub(crate) fn is_on(&self) -> bool {
        self.certificates.as_ref().is_some_and(|certificates| !certificates.is_empty())
    }

    /// Finds out whether the settings fit each other.
    ///
    /// # Errors
    /// When they do not, or this program has no TLS.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refused = |why: String| Err(Error::Configuration(why));
        let (certificates, keys) = (count(self.certificates.as_ref()), count(self.keys.as_ref()));
        if certificates != keys {
            return refused(format!(
                "tls.certificates names {} and tls.keys {}: each certificate has one key, in the same order",
                files(certificates),
                files(keys),
            ));
        }
        if !self.is_on() && *self != Self::default() {
            return refused(
                "there are settings of TLS, but no certificates (name them in tls.certificates, and their keys in \
                 tls.keys)"
                    .to_owned(),
            );
        }
        if self.admin.is_some() && self.admin_authorities.is_none() {
            return refused(
                "tls.admin without tls.admin_authorities would let everybody who reaches it stop the daemon \
                 (say whose certificates its clients have to show)"
                    .to_owned(),
            );
        }
        if self.client_certificates.is_some() && self.client_authorities.is_none() {
            return refused(
                "tls.client_certificates without tls.client_authorities would ask no client for a certificate \
                 (name the authorities that sign them)"
                    .to_owned(),
            );
        }
        if self.is_on() && cfg!(not(feature = "tls")) {
            return refused(
                "this lockstepd is built without TLS (build it with: cargo build --release --features tls)"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

fn count<T>(list: Option<&Vec<T>>) -> usize {
    list.map_or(0, Vec::len)
}

fn files(count: usize) -> String {
    match count {
        0 => "none".to_owned(),
        1 => "one file".to_owned(),
        count => format!("{count} files"),
    }
}

// === impl ClientCertificates ===

impl FromStr for ClientCertificates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "require" => Ok(Self::Require),
            "accept" => Ok(Self::Accept),
            other => Err(format!("\"{}\" is neither require nor accept", other.escape_debug())),
        }
    }
}
