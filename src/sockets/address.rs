//! Where a server listens, as an operator writes it: `0.0.0.0:9090`, `[::]:80`, `[fe80::1%eth0]:80`,
//! `unix:/run/x.sock`.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::str::FromStr;

use crate::sockets::stream::canonical;
use crate::sockets::zone;

/// How many bytes the path of a Unix socket may have, its terminator included, unix(7).
const SUN_PATH: usize = 108;

/// An address to listen on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// An IPv6 address on the network interface of a name, and a port.
    Zoned {
        /// The address and the port.
        address: SocketAddrV6,
        /// The interface; that it is there is found out when the address is bound.
        interface: String,
    },
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

/// An address that cannot be understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "\"{text}\" is not an address{problem} (write 0.0.0.0:9090, [::]:9090 or unix:/run/name.sock)"
)]
pub struct InvalidAddress {
    text: String,
    problem: &'static str,
}

/// Which sockets a server gets when the service manager passes none for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    pub(crate) addresses: Vec<Address>,
    /// Set by an operator on purpose, as opposed to a default: such an address is bound even
    /// where other servers got their sockets from the service manager.
    pub(crate) explicit: bool,
    /// The permissions of Unix sockets that the daemon binds itself.
    pub(crate) mode: u32,
}

// === impl Address ===

impl Address {
    /// Tells whether a listener on `bound` is what this address asks for; port 0 asks for any.
    pub(crate) fn fits(&self, bound: &Self) -> bool {
        match (self.resolved(), bound.resolved()) {
            (Some(asked), Some(bound)) => {
                let is_same = asked.ip() == bound.ip() && zone::of(asked) == zone::of(bound);
                is_same && (asked.port() == 0 || asked.port() == bound.port())
            }
            _ => self == bound,
        }
    }

    /// Tells whether it is every address of a family.
    pub(crate) fn is_wildcard(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.ip().is_unspecified())
    }

    /// Tells whether it is the IPv6 wildcard, and `other` one IPv4 address, with the same port.
    pub(crate) fn covers_ipv4(&self, other: &Self) -> bool {
        let (Self::Tcp(one), Self::Tcp(other)) = (self, other) else { return false };
        let is_ipv4 = other.is_ipv4() && !other.ip().is_unspecified();
        let is_dual = one.is_ipv6() && one.ip().is_unspecified() && one.port() != 0;
        is_dual && is_ipv4 && one.port() == other.port()
    }

    /// Tells whether two listeners could not have these addresses at the same time. An IPv4 and an IPv6 address
    /// are not compared here: whether they conflict depends on more than the addresses.
    pub(crate) fn conflicts_with(&self, other: &Self) -> bool {
        let (Some(one), Some(other)) = (self.resolved(), other.resolved()) else {
            return self == other;
        };
        let is_ipv4 = |address: SocketAddr| address.ip().to_canonical().is_ipv4();
        let is_wildcard = |address: SocketAddr| address.ip().is_unspecified();
        let overlap = one == other
            || (is_ipv4(one) == is_ipv4(other) && (is_wildcard(one) || is_wildcard(other)));
        one.port() != 0 && one.port() == other.port() && overlap
    }

    /// The port, where there is one.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Zoned { address, .. } => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// The IP address, where there is one.
    #[cfg(feature = "admin")]
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Zoned { address, .. } => Some((*address.ip()).into()),
            Self::Unix(_) => None,
        }
    }

    /// The address as it is written, with the port that a socket on it has got.
    pub(crate) fn of_bound(&self, bound: Self) -> Self {
        let mut shown = self.clone();
        match (&mut shown, bound.port()) {
            (Self::Tcp(address), Some(port)) => address.set_port(port),
            (Self::Zoned { address, .. }, Some(port)) => address.set_port(port),
            _ => return bound,
        }
        shown
    }

    /// The IP address with the number that its zone has now; none where the interface is not there.
    fn resolved(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Zoned { address, interface } => zone::resolve_here(*address, interface).ok(),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        // After the comma of a list.
        let text = text.trim_start_matches(' ');
        let read = match text.strip_prefix("unix:") {
            Some(path) => read_path(path),
            None => read_ip(&zone_in_brackets(text)),
        };
        read.map_err(|problem| InvalidAddress { text: text.escape_debug().to_string(), problem })
    }
}

fn read_path(path: &str) -> Result<Address, &'static str> {
    if !path.starts_with('/') {
        Err(": a path begins with /")
    } else if path.len() >= SUN_PATH {
        Err(": a socket's path has 107 bytes at most")
    } else if path.contains('\0') {
        Err(": a path has no zero byte")
    } else {
        Ok(Address::Unix(PathBuf::from(path)))
    }
}

/// Turns `[IP]:PORT%ZONE`, as it is in socket units, into `[IP%ZONE]:PORT`.
fn zone_in_brackets(text: &str) -> Cow<'_, str> {
    let split = text.split_once("]:").and_then(|(ip, rest)| Some((ip, rest.split_once('%')?)));
    match split {
        Some((ip, (port, zone))) => format!("{ip}%{zone}]:{port}").into(),
        None => text.into(),
    }
}

fn read_ip(text: &str) -> Result<Address, &'static str> {
    let address = match text.parse::<SocketAddr>() {
        // ::ffff:1.2.3.4 is the same as 1.2.3.4.
        Ok(address) => Address::Tcp(canonical(address)),
        Err(_) => read_zoned(text).ok_or_else(|| problem_of(text))?,
    };
    let (ip, has_zone) = match &address {
        Address::Tcp(SocketAddr::V6(address)) => (address.ip(), address.scope_id() != 0),
        Address::Zoned { address, .. } => (address.ip(), true),
        _ => return Ok(address),
    };
    // The kernel would ignore the zone.
    if has_zone && ip.is_unspecified() { Err(": [::] has no zone") } else { Ok(address) }
}

/// Reads `[IP%INTERFACE]:PORT`.
fn read_zoned(text: &str) -> Option<Address> {
    let (inside, port) = text.strip_prefix('[')?.rsplit_once("]:")?;
    let (ip, interface) = inside.split_once('%')?;
    let ip: Ipv6Addr = ip.parse().ok()?;
    // Without the name the text has to be an address.
    let is_address = format!("[{ip}]:{port}").parse::<SocketAddr>().is_ok();
    if !is_address || ip.to_ipv4_mapped().is_some() || !zone::is_name(interface) {
        return None;
    }
    let address = SocketAddrV6::new(ip, port.parse().ok()?, 0, 0);
    Some(Address::Zoned { address, interface: interface.to_owned() })
}

/// What is wrong with a text that is no IP address with a port.
fn problem_of(text: &str) -> &'static str {
    let port = text.rsplit_once(':').map(|(_, port)| port);
    if text.parse::<IpAddr>().is_ok() {
        ": the port is missing"
    } else if text.contains('%') {
        ": after % comes the name or the number of a network interface"
    } else if text.starts_with('/') {
        ": a path comes after unix:"
    } else if port.is_some_and(|port| port.parse::<u16>().is_ok()) {
        ": an IP address comes before the port, no name"
    } else {
        ""
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Zoned { address, interface } => {
                write!(f, "[{}%{interface}]:{}", address.ip(), address.port())
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl Listen ===

impl Listen {
    /// The permissions of a Unix socket that the daemon binds itself, unless said otherwise.
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

    /// Tells whether an IPv6 wildcard, `address`, has to leave the IPv4 port of the same number alone: because
    /// this server has an IPv4 address with that port, or one of `all` servers the IPv4 wildcard.
    pub(crate) fn v6only(&self, address: &Address, all: &[(&str, &Self)]) -> bool {
        let has_ipv4_port = |other: &&Address| {
            matches!(other, Address::Tcp(tcp) if tcp.is_ipv4()) && other.port() == address.port()
        };
        let others = all.iter().flat_map(|(_, listen)| &listen.addresses);
        let wildcards = others.filter(|other| other.is_wildcard());
        self.addresses.iter().chain(wildcards).any(|other| has_ipv4_port(&other))
    }

    /// Sets the permissions of Unix sockets that the daemon binds itself. Default 0660.
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for text in [
            "0.0.0.0:9090",
            "[::]:80",
            "127.0.0.1:0",
            "unix:/run/x.sock",
            "[fe80::1%eth0]:80",
            "[fe80::1%2]:80",
            "[::1%br-lan.7@x]:0",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_zone_may_stand_where_socket_units_have_it() {
        for (written, shown) in
            [("[fe80::1]:80%eth0", "[fe80::1%eth0]:80"), ("[fe80::1]:80%2", "[fe80::1%2]:80")]
        {
            assert_eq!(written.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn an_ipv4_address_is_one_however_it_is_written() {
        let address = "[::ffff:127.0.0.1]:80".parse::<Address>();
        assert_eq!(address, "127.0.0.1:80".parse());
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_forms_that_are() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, problem) in [
            ("", "is not an address ("),
            ("9090", "is not an address ("),
            (":9090", "no name"),
            ("localhost:9090", "no name"),
            ("unix:", "begins with /"),
            ("unix:x.sock", "begins with /"),
            ("1.2.3.4", "port is missing"),
            ("[::1]", "is not an address ("),
            ("/run/x.sock", "after unix:"),
            ("[fe80::1%]:80", "after %"),
            ("[fe80::1%sixteen-letters-]:80", "after %"),
            ("[fe80::1%99999999999]:80", "after %"),
            ("[fe80::1%eth0]:+80", "after %"),
            ("[fe80::1%eth0]:65536", "after %"),
            ("[fe80::1%a b]:80", "after %"),
            ("127.0.0.1%lo:80", "after %"),
            ("[fe80::1]:80%", "after %"),
            ("[fe80::1%lo]:80%lo", "after %"),
            ("[::]:80%lo", "has no zone"),
            ("[::%eth0]:80", "has no zone"),
            ("[::%2]:80", "has no zone"),
            (&long, "107 bytes"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("unix:/run/name.sock"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_an_address_reads_as_it_is_shown(
            text in "(unix:/?)?\\PC{0,120}|\\[(fe80::|::)1?%\\PC{0,17}\\]:[0-9]{1,5}",
        ) {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }

        #[test]
        fn every_socket_address_reads_as_it_is_shown(ip: IpAddr, port: u16) {
            let address = Address::Tcp(SocketAddr::new(ip.to_canonical(), port));
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn every_path_that_fits_reads_as_it_is_shown(path in "/[^\0]{0,26}") {
            let address = Address::Unix(PathBuf::from(path));
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}
