//! Where a server listens, as an operator writes it: `0.0.0.0:9090`, `[::]:80`, `[fe80::1%eth0]:80`,
//! `unix:/run/x.sock`.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::sockets::stream::canonical;
use crate::sockets::zone;

/// How many bytes the path of a Unix socket may have, its terminator included, unix(7).
const SUN_PATH: usize = 108;

/// An address to listen on.
///
/// # Examples
/// ```
/// use lockstepd::Address;
///
/// let address: Address = "unix:/run/shop.sock".parse()?;
/// assert_eq!(address, Address::Unix("/run/shop.sock".into()));
/// assert_eq!(address.tcp(), None);
/// # Ok::<(), lockstepd::InvalidAddress>(())
/// ```
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
///
/// # Examples
/// ```
/// use lockstepd::{Address, InvalidAddress};
///
/// let error: InvalidAddress = "8080".parse::<Address>().unwrap_err();
/// assert!(error.to_string().starts_with("\"8080\" is not an address"));
/// ```
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{text}\" is not an address{problem} (write {advice})")]
pub struct InvalidAddress {
    text: String,
    problem: &'static str,
    /// What could be written instead.
    advice: String,
}

// === impl Address ===

impl Address {
    /// The IP address and port of an address that has these; for a test that binds port 0, with the port that it
    /// has got. For a zone that is known by its interface's name: as if it had none.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Zoned { address, .. } => Some((*address).into()),
            Self::Unix(_) => None,
        }
    }

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
        self.tcp().map(|address| address.port())
    }

    /// The IP address, where there is one.
    #[cfg(feature = "admin")]
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.tcp().map(|address| address.ip())
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
        read.map_err(|problem| InvalidAddress {
            text: text.escape_debug().to_string(),
            problem,
            advice: advice(text).unwrap_or_else(|| FORMS.to_owned()),
        })
    }
}

fn read_path(path: impl AsRef<Path>) -> Result<Address, &'static str> {
    let path = path.as_ref();
    let bytes = path.as_os_str().as_bytes();
    if !path.is_absolute() {
        Err(": a path begins with /")
    } else if bytes.len() >= SUN_PATH {
        Err(": a socket's path has 107 bytes at most")
    } else if bytes.contains(&0) {
        Err(": a path has no zero byte")
    } else {
        Ok(Address::Unix(path.to_owned()))
    }
}

/// The forms of an address.
const FORMS: &str = "0.0.0.0:9090, [::]:9090 or unix:/run/name.sock";

/// The address that is probably meant by what other programs take for one.
fn advice(text: &str) -> Option<String> {
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.split('/').next()?;
        return rest
            .parse::<Address>()
            .map_or_else(|_| advice(rest), |address| Some(address.to_string()));
    }
    if text.starts_with('/') {
        return read_path(text).ok().map(|address| address.to_string());
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
        return Some(SocketAddr::new(ip, 9090).to_string());
    }
    let (name, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))?;
    let ip = match name {
        "" | "*" => Ipv4Addr::UNSPECIFIED,
        "localhost" => Ipv4Addr::LOCALHOST,
        _ => return None,
    };
    Some(SocketAddr::new(ip.into(), port).to_string())
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

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(canonical(address))
    }
}

impl TryFrom<&str> for Address {
    type Error = InvalidAddress;

    fn try_from(text: &str) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl TryFrom<String> for Address {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl TryFrom<&Path> for Address {
    type Error = InvalidAddress;

    /// The path of a Unix socket.
    fn try_from(path: &Path) -> Result<Self, InvalidAddress> {
        read_path(path).map_err(|problem| InvalidAddress {
            text: path.display().to_string().escape_debug().to_string(),
            problem,
            advice: "/run/name.sock".to_owned(),
        })
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
            assert!(error.contains(problem) && error.contains("(write "), "{error}");
        }
    }

    #[test]
    fn what_other_programs_take_for_an_address_is_refused_with_the_one_that_is_meant() {
        for (text, meant) in [
            ("localhost:3000", "127.0.0.1:3000"),
            (":3000", "0.0.0.0:3000"),
            ("*:3000", "0.0.0.0:3000"),
            ("3000", "0.0.0.0:3000"),
            ("http://127.0.0.1:3000", "127.0.0.1:3000"),
            ("https://localhost:3000/path", "127.0.0.1:3000"),
            ("tcp://[::]:80", "[::]:80"),
            ("/run/x.sock", "unix:/run/x.sock"),
            ("::1", "[::1]:9090"),
            ("[::1]", "[::1]:9090"),
            ("1.2.3.4", "1.2.3.4:9090"),
            ("shop.example:80", FORMS),
            ("localhost:65536", FORMS),
            ("localhost", FORMS),
            ("unix:x.sock", FORMS),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.ends_with(&format!("(write {meant})")), "{error}");
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
