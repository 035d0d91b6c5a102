//! Settings of TLS.

use std::path::PathBuf;
use std::str::FromStr;

use lockstepd::Address;

use super::mistakes::Mistakes;
use super::setting::settings;

settings! { #[derive(Eq, PartialEq)] TlsSettings {
    certificates: Vec<PathBuf> = "tls.certificates" {
        variable: "LOCKSTEPD_TLS_CERTIFICATES",
        value: "FILE",
        default: Default::None("none, TLS is not spoken", "/etc/lockstepd/tls.pem"),
        reload: false,
        help: "Certificates, in PEM files with those between each and a root; several separated by commas, of which \
               the name that a client asks for chooses",
        more: "The certificate first, then those between it and a root. Of several the first is for clients that ask \
               for no name, or for another. With drop-ins/tls.conf the unit names them, and `lockstepd check` needs \
               them in its environment, as the drop-in says.",
    }
    keys: Vec<PathBuf> = "tls.keys" {
        variable: "LOCKSTEPD_TLS_KEYS",
        value: "FILE",
        default: Default::None("none", "/etc/lockstepd/tls.key"),
        reload: false,
        help: "Keys of the certificates, in the same order; nobody but the service and its group may be able to read \
               them",
        more: "RSA or ECDSA, without a passphrase, each in a file of its own. A key that every user can read is refused.",
    }
    listen: Vec<Address> = "tls.listen" {
        variable: "LOCKSTEPD_TLS_LISTEN",
        value: "ADDRESS",
        default: Default::None("0.0.0.0:9443, if there are certificates", "0.0.0.0:443"),
        reload: false,
        help: "Where the public server speaks TLS, if there are certificates; sockets that systemd passes under the \
               name \"public-tls\" take the place of the addresses",
        more: "For TLS alone: public.listen = [] (drop-ins/tls.conf says what the units need for that).",
    }
    redirect: Vec<Address> = "tls.redirect" {
        variable: "LOCKSTEPD_TLS_REDIRECT",
        value: "ADDRESS",
        default: Default::None("none", "0.0.0.0:80"),
        reload: false,
        help: "Where requests in clear text are answered with 308 to the first port of --tls-listen, or to --tls-port; \
               sockets that systemd passes under the name \"redirect\" take the place of the addresses",
        more: "",
    }
    port: u16 = "tls.port" {
        variable: "LOCKSTEPD_TLS_PORT",
        value: "PORT",
        default: Default::None("that of --tls-listen", "443"),
        reload: false,
        help: "The port that clients reach TLS by, for --tls-redirect, if it is not that of --tls-listen, as behind a \
               socket unit",
        more: "",
    }
    client_authorities: PathBuf = "tls.client_authorities" {
        variable: "LOCKSTEPD_TLS_CLIENT_AUTHORITIES",
        value: "FILE",
        default: Default::None("none, clients are not asked for certificates", "/etc/lockstepd/clients.pem"),
        reload: false,
        help: "Authorities, in a PEM file, one of which has to have signed the certificate that a client of the public \
               server shows over TLS; in clear text it serves everybody (LOCKSTEPD_PUBLIC= for TLS alone)",
        more: "",
    }
    client_certificates: ClientCertificates = "tls.client_certificates" {
        variable: "LOCKSTEPD_TLS_CLIENT_CERTIFICATES",
        value: "WHICH",
        default: Default::None("require, where there are authorities", "require"),
        reload: false,
        help: "Whether clients have to show a certificate, where there are authorities: require or accept",
        more: "With accept, those without one are let in, too.",
    }
    alpn: Vec<String> = "tls.alpn" {
        variable: "LOCKSTEPD_TLS_ALPN",
        value: "PROTOCOL",
        default: Default::None("http/1.1", "h2,http/1.1"),
        reload: false,
        help: "Protocols that TLS offers (ALPN), the preferred one first",
        more: "Connections of HTTP/2 end at a restart. In clear text a client that begins with HTTP/2 is served so, \
               whatever is here.",
    }
    admin: Vec<Address> = "tls.admin" {
        variable: "LOCKSTEPD_TLS_ADMIN",
        value: "ADDRESS",
        default: Default::None("none", "0.0.0.0:9444"),
        reload: false,
        help: "Where the admin server speaks TLS, with the same certificates; its clients have to show one of \
               --tls-admin-authorities",
        more: "admin.hosts needs the name that it is asked under.",
    }
    admin_authorities: PathBuf = "tls.admin_authorities" {
        variable: "LOCKSTEPD_TLS_ADMIN_AUTHORITIES",
        value: "FILE",
        default: Default::None("none", "/etc/lockstepd/operators.pem"),
        reload: false,
        help: "Authorities, in a PEM file, of those who may use the admin server over TLS",
        more: "",
    }
}}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum ClientCertificates {
    #[default]
    Require,
    Accept,
}

// === impl TlsSettings ===

impl TlsSettings {
    /// Tells whether TLS is to be spoken.
    pub(crate) fn is_on(&self) -> bool {
        self.certificates.as_ref().is_some_and(|certificates| !certificates.is_empty())
    }

    /// Finds out whether the settings fit each other, and this program has TLS.
    pub(super) fn check(&self, mistakes: &mut Mistakes) {
        let (certificates, keys) = (count(self.certificates.as_ref()), count(self.keys.as_ref()));
        if certificates != keys {
            mistakes.add(format!(
                "tls.certificates names {} and tls.keys {}: each certificate has one key, in the same order",
                files(certificates),
                files(keys),
            ));
        } else if !self.is_on() && *self != Self::default() {
            mistakes.add(
                "there are settings of TLS, but no certificates (name them in tls.certificates, and their keys in \
                 tls.keys)",
            );
        }
        if self.admin.is_some() && self.admin_authorities.is_none() {
            mistakes.add(
                "tls.admin without tls.admin_authorities would let everybody who reaches it stop the daemon \
                 (say whose certificates its clients have to show)",
            );
        }
        if self.client_certificates.is_some() && self.client_authorities.is_none() {
            mistakes.add(
                "tls.client_certificates without tls.client_authorities would ask no client for a certificate \
                 (name the authorities that sign them)",
            );
        }
        if self.is_on() && cfg!(not(feature = "tls")) {
            mistakes.add("this lockstepd is built without TLS (build it with: cargo build --release --features tls)");
        }
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
