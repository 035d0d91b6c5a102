//! Whose word is taken for where a request comes from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::sockets::peer::Peer;

/// A proxy in front of the daemon whose `Forwarded` and `X-Forwarded-*` fields are kept: `192.0.2.1`, `10.0.0.0/8`,
/// or `unix` for every client of a Unix socket.
///
/// # Examples
/// ```
/// use lockstepd::{Proxy, TrustedProxy};
///
/// let balancers: TrustedProxy = "10.0.0.0/8".parse()?;
/// let proxy = Proxy::to("unix:/run/shop/app.sock").trusted_proxies([balancers]);
/// # let _ = proxy;
/// # Ok::<(), lockstepd::InvalidTrustedProxy>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TrustedProxy(Trusted);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trusted {
    Network(IpNet),
    Unix,
}

/// A trusted proxy that cannot be understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{0}\" is no address or network (write 192.0.2.1, 10.0.0.0/8, 2001:db8::/32 or unix)")]
pub struct InvalidTrustedProxy(String);

// === impl TrustedProxy ===

impl TrustedProxy {
    /// Tells whether `peer` is one of these.
    pub(super) fn is(&self, peer: Peer) -> bool {
        match (self.0, peer) {
            (Trusted::Unix, Peer::Unix(_)) => true,
            (Trusted::Network(network), Peer::Tcp(address)) => {
                network.contains(&address.ip().to_canonical())
            }
            _ => false,
        }
    }
}

impl FromStr for TrustedProxy {
    type Err = InvalidTrustedProxy;

    fn from_str(text: &str) -> Result<Self, InvalidTrustedProxy> {
        let address = |text: &str| text.parse::<IpAddr>().ok();
        let trusted = if text == "unix" {
            Some(Trusted::Unix)
        } else if let Some(address) = address(text) {
            Some(Trusted::Network(address.to_canonical().into()))
        } else {
            text.parse().ok().map(Trusted::Network)
        };
        trusted.map(Self).ok_or_else(|| InvalidTrustedProxy(text.escape_debug().to_string()))
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Trusted::Unix => f.write_str("unix"),
            Trusted::Network(network) => network.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_a_network_and_unix_are_told_apart() {
        let peer = |text: &str| Peer::Tcp(text.parse().unwrap());
        for (trusted, inside, outside) in [
            ("192.0.2.1", "192.0.2.1:9", "192.0.2.2:9"),
            ("10.0.0.0/8", "10.255.0.1:9", "11.0.0.1:9"),
            ("2001:db8::/32", "[2001:db8::1]:9", "[2001:db9::1]:9"),
            ("::ffff:192.0.2.1", "192.0.2.1:9", "[::1]:9"),
        ] {
            let trusted: TrustedProxy = trusted.parse().unwrap();
            assert!(trusted.is(peer(inside)), "{trusted} {inside}");
            assert!(!trusted.is(peer(outside)), "{trusted} {outside}");
            assert!(!trusted.is(Peer::Unix(None)), "{trusted}");
        }
        let unix: TrustedProxy = "unix".parse().unwrap();
        assert!(
            unix.is(Peer::Unix(None)) && !unix.is(peer("127.0.0.1:9")) && !unix.is(Peer::Other)
        );
    }

    #[test]
    fn what_is_neither_is_refused_with_the_forms_that_are() {
        for text in ["", "10.0.0.0/33", "example.com", "10.0.0.1:80", "Unix"] {
            let error = text.parse::<TrustedProxy>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("(write 192.0.2.1"), "{error}");
        }
    }
}
