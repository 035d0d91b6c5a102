//! Where a server listens, as an operator writes it: `0.0.0.0:9090`, `[::]:80`, `unix:/run/x.sock`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

/// An address that cannot be understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" is not an address (write 0.0.0.0:9090, [::]:9090 or unix:/run/name.sock)")]
pub struct InvalidAddress(String);

/// Which sockets a server gets when the service manager passes none for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    pub(crate) addresses: Vec<Address>,
    /// Set by an operator on purpose, as opposed to a default: such an address is bound even
    /// where other servers got their sockets from the service manager.
    pub(crate) explicit: bool,
    /// The permissions of Unix sockets that we bind ourselves.
    pub(crate) mode: u32,
}

// === impl Address ===

impl Address {
    /// Tells whether a listener on `bound` is what this address asks for; port 0 asks for any.
    pub(crate) fn fits(&self, bound: &Self) -> bool {
        match (self, bound) {
            (Self::Tcp(asked), Self::Tcp(bound)) if asked.port() == 0 => asked.ip() == bound.ip(),
            _ => self == bound,
        }
    }

    /// The port, where there is one.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.escape_debug().to_string());
        if let Some(path) = text.strip_prefix("unix:") {
            // sun_path holds 108 bytes with its terminator, unix(7).
            return if path.starts_with('/') && path.len() < 108 && !path.contains('\0') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(invalid())
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| invalid())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl Listen ===

impl Listen {
    /// The permissions of a Unix socket bound by ourselves, unless said otherwise.
    pub const DEFAULT_MODE: u32 = 0o660;

    /// Addresses that an operator chose: bound unless the service manager passes sockets of the
    /// server's name.
    #[must_use]
    pub fn on(addresses: Vec<Address>) -> Self {
        Self { addresses, explicit: true, mode: Self::DEFAULT_MODE }
    }

    /// Addresses built into the program: bound only if the service manager passes no socket at
    /// all. Where it passes some, a server without one is a mistake in the unit.
    #[must_use]
    pub fn by_default(addresses: Vec<Address>) -> Self {
        Self { addresses, explicit: false, mode: Self::DEFAULT_MODE }
    }

    /// Tells whether an IPv6 wildcard has to keep off the IPv4 port, which is another address here.
    pub(crate) fn v6only(&self, address: &Address) -> bool {
        let has_ipv4_port = |other: &Address| {
            matches!(other, Address::Tcp(tcp) if tcp.is_ipv4()) && other.port() == address.port()
        };
        self.addresses.iter().any(has_ipv4_port)
    }

    /// Sets the permissions of Unix sockets that we bind ourselves. Default 0660.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }
}

impl TryFrom<&str> for Listen {
    type Error = InvalidAddress;

    fn try_from(text: &str) -> Result<Self, InvalidAddress> {
        Ok(Self::by_default(vec![text.parse()?]))
    }
}

impl TryFrom<String> for Listen {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        Self::try_from(text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for text in ["0.0.0.0:9090", "[::]:80", "127.0.0.1:0", "unix:/run/x.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_forms_that_are() {
        for text in ["", "9090", ":9090", "localhost:9090", "unix:", "unix:x.sock", "1.2.3.4"] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("unix:/run/name.sock"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_an_address_reads_as_it_is_shown(text in "(unix:/?)?\\PC{0,120}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }

        #[test]
        fn every_socket_address_reads_as_it_is_shown(ip: IpAddr, port: u16) {
            let address = Address::Tcp(SocketAddr::new(ip, port));
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn every_path_that_fits_reads_as_it_is_shown(path in "/[^\0]{0,26}") {
            let address = Address::Unix(PathBuf::from(path));
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}
