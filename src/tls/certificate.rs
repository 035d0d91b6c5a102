//! A server's certificate with its key, as it is read from files.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use s2n_tls::cert_chain::{Builder, CertificateChain};
use x509_cert::Certificate as Parsed;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use zeroize::Zeroizing;

/// Where a certificate and its key come from.
#[derive(Clone)]
pub(super) enum Source {
    Files { certificate: PathBuf, key: PathBuf },
    Pem { certificate: Vec<u8>, key: Zeroizing<Vec<u8>> },
}

/// A certificate that can be used.
pub(super) struct Loaded {
    pub(super) chain: CertificateChain<'static>,
    pub(super) facts: CertificateFacts,
}

/// What operators see of a certificate.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFacts {
    /// Its file, or `given by the program`.
    pub(crate) file: String,
    /// The host names that it is for.
    pub(crate) names: Vec<String>,
    /// When it expires.
    pub(crate) expires: SystemTime,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("cannot read {path}: {source}{}", remedy(source))]
    Read { path: String, source: io::Error },
    #[error("the key {path} may be read by every user of this machine (chmod o-r {path})")]
    Exposed { path: String },
    #[error(
        "{file} is no certificate in PEM: {why} (the certificate is first in it, then those between it and a root; \
         the key has a file of its own)"
    )]
    NoCertificate { file: String, why: String },
    #[error(
        "the certificate {file} cannot be used with the key {key}: {why} (see that each is in PEM, in a \
         file of its own, that the key is one of RSA or ECDSA without a passphrase, and that it is the one that the \
         certificate was made for)"
    )]
    NoPair { file: String, key: String, why: String },
    #[error("the certificate {file} has expired {} (renew it)", days_ago(*expired))]
    Expired { file: String, expired: SystemTime },
    #[error("the certificate {file} is not valid before {} (see the clock of this machine)", date(*begins))]
    Future { file: String, begins: SystemTime },
}

// === impl Source ===

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// When no client would accept it, or every user could read the key.
    pub(super) fn load(&self, now: SystemTime) -> Result<Loaded, CertificateError> {
        let (certificate, key, key_name) = match self {
            Self::Files { certificate, key } => {
                let chain = read(certificate)?;
                let private = Zeroizing::new(read(key)?);
                let mode = fs::metadata(key).map_err(|error| unreadable(key, error))?.mode();
                if mode & 0o004 != 0 {
                    return Err(CertificateError::Exposed { path: key.display().to_string() });
                }
                (chain, private, key.display().to_string())
            }
            Self::Pem { certificate, key } => {
                (certificate.clone(), key.clone(), "given by the program".to_owned())
            }
        };
        let facts = self.facts(&certificate, now)?;
        let mut builder = Builder::new().map_err(|error| self.no_pair(&key_name, &error))?;
        builder.load_pem(&certificate, &key).map_err(|error| self.no_pair(&key_name, &error))?;
        let chain = builder.build().map_err(|error| self.no_pair(&key_name, &error))?;
        Ok(Loaded { chain, facts })
    }

    fn facts(&self, pem: &[u8], now: SystemTime) -> Result<CertificateFacts, CertificateError> {
        let file = self.to_string();
        let why = |why: String| CertificateError::NoCertificate { file: file.clone(), why };
        let Some(certificates) = until_the_last(pem) else {
            return Err(why("nothing in it ends with \"-----END CERTIFICATE-----\"".to_owned()));
        };
        let chain = Parsed::load_pem_chain(certificates).map_err(|error| why(error.to_string()))?;
        let Some(own) = chain.first() else { return Err(why("there is none in it".to_owned())) };
        // One further up may have expired, as an old root does that a newer one has taken the place of.
        let expires = time(own.tbs_certificate.validity.not_after.to_unix_duration());
        if expires <= now {
            return Err(CertificateError::Expired { file, expired: expires });
        }
        let begins = time(own.tbs_certificate.validity.not_before.to_unix_duration());
        if begins > now {
            return Err(CertificateError::Future { file, begins });
        }
        Ok(CertificateFacts { file, names: names(own), expires })
    }

    fn no_pair(&self, key: &str, error: &s2n_tls::error::Error) -> CertificateError {
        let (file, key) = (self.to_string(), key.to_owned());
        CertificateError::NoPair { file, key, why: error.message().to_owned() }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { certificate, .. } => certificate.display().fmt(f),
            Self::Pem { .. } => f.write_str("given by the program"),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is up to the end of the last certificate: `load_pem_chain` takes what is behind it for the beginning of another, and
/// panics where there is nothing at all.
fn until_the_last(pem: &[u8]) -> Option<&[u8]> {
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let last = pem.windows(END.len()).rposition(|window| window == END)?;
    pem.get(..last + END.len())
}

/// Reads a file of certificates or keys.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, source: io::Error) -> CertificateError {
    CertificateError::Read { path: path.display().to_string(), source }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (a service with DynamicUser=yes reads no key file: pass it with LoadCredential=)"
        }
        io::ErrorKind::NotFound => {
            " (see the path; with LoadCredential= it is under the name of the credential)"
        }
        _ => "",
    }
}

/// The names and addresses that a certificate is for.
pub(super) fn names(certificate: &Parsed) -> Vec<String> {
    let Ok(Some((_, SubjectAltName(names)))) = certificate.tbs_certificate.get::<SubjectAltName>()
    else {
        return Vec::new();
    };
    let name = |name: &GeneralName| match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) => Some(name.to_string()),
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        GeneralName::IpAddress(octets) => match octets.as_bytes() {
            bytes if bytes.len() == 4 => {
                <[u8; 4]>::try_from(bytes).ok().map(|ip| std::net::Ipv4Addr::from(ip).to_string())
            }
            bytes => {
                <[u8; 16]>::try_from(bytes).ok().map(|ip| std::net::Ipv6Addr::from(ip).to_string())
            }
        },
        _ => None,
    };
    names.iter().filter_map(name).collect()
}

/// A certificate in DER.
pub(super) fn parse(der: &[u8]) -> Option<Parsed> {
    Parsed::from_der(der).ok()
}

fn time(since_1970: Duration) -> SystemTime {
    UNIX_EPOCH.checked_add(since_1970).unwrap_or(UNIX_EPOCH)
}

/// How long ago, in whole days.
fn days_ago(time: SystemTime) -> String {
    let days = SystemTime::now().duration_since(time).unwrap_or_default().as_secs() / 86_400;
    match days {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

fn date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}
