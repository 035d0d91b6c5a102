//! The addresses of a server, from whatever names one.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};

use crate::sockets::address::{Address, InvalidAddress};

/// Which sockets a server gets when the service manager passes none for it.
///
/// # Examples
/// ```
/// use lockstepd::{Address, Listen};
///
/// // From the configuration of the program, or else built in.
/// let configured: Vec<Address> = vec!["unix:/run/shop.sock".parse()?];
/// let listen = if configured.is_empty() {
///     Listen::by_default(vec!["0.0.0.0:8080".parse()?])
/// } else {
///     Listen::on(configured)
/// };
/// // Every user may connect. Without this the mode is `Listen::DEFAULT_MODE`.
/// let listen = listen.mode(0o666);
/// # let _ = listen;
/// # Ok::<(), lockstepd::InvalidAddress>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    pub(crate) addresses: Vec<Address>,
    /// Set by an operator on purpose, as opposed to a default: such an address is bound even
    /// where other servers got their sockets from the service manager.
    pub(crate) explicit: bool,
    /// The permissions of Unix sockets that the daemon binds itself.
    pub(crate) mode: u32,
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

    /// No address at all: for a server whose clients come through a listener of the program's own, see
    /// [`Server::accept_from`](crate::Server::accept_from). Sockets that the service manager passes under its name are
    /// refused: what they bring would get round that listener.
    #[must_use]
    pub fn none() -> Self {
        Self::on(Vec::new())
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

    /// An address, or several with commas between them, as the program's `--public` has them. A path that has a
    /// comma itself is given as a [`Path`].
    fn try_from(text: &str) -> Result<Self, InvalidAddress> {
        Ok(Self::by_default(text.split(',').map(str::parse).collect::<Result<_, _>>()?))
    }
}

impl TryFrom<&Path> for Listen {
    type Error = InvalidAddress;

    /// A Unix socket with this path.
    fn try_from(path: &Path) -> Result<Self, InvalidAddress> {
        Ok(Self::by_default(vec![path.try_into()?]))
    }
}

impl TryFrom<PathBuf> for Listen {
    type Error = InvalidAddress;

    fn try_from(path: PathBuf) -> Result<Self, InvalidAddress> {
        Self::try_from(path.as_path())
    }
}

impl From<Address> for Listen {
    fn from(address: Address) -> Self {
        Self::by_default(vec![address])
    }
}

impl From<Vec<Address>> for Listen {
    fn from(addresses: Vec<Address>) -> Self {
        Self::by_default(addresses)
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Address::from(address).into()
    }
}

impl From<SocketAddrV4> for Listen {
    fn from(address: SocketAddrV4) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<SocketAddrV6> for Listen {
    fn from(address: SocketAddrV6) -> Self {
        SocketAddr::from(address).into()
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Listen {
    /// An IP address and a port, such as `(Ipv4Addr::LOCALHOST, 8080)` or `([127, 0, 0, 1], 8080)`.
    fn from(address: (I, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl TryFrom<String> for Listen {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        Self::try_from(text.as_str())
    }
}

impl TryFrom<&String> for Listen {
    type Error = InvalidAddress;

    fn try_from(text: &String) -> Result<Self, InvalidAddress> {
        Self::try_from(text.as_str())
    }
}

impl TryFrom<&PathBuf> for Listen {
    type Error = InvalidAddress;

    fn try_from(path: &PathBuf) -> Result<Self, InvalidAddress> {
        Self::try_from(path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_server_listens_on_whatever_names_an_address() {
        let [tcp, unix] =
            ["127.0.0.1:80", "unix:/run/x.sock"].map(|text| Listen::try_from(text).unwrap());
        let v4 = Ipv4Addr::LOCALHOST;
        let same: [Listen; 6] = [
            SocketAddr::from((v4, 80)).into(),
            SocketAddrV4::new(v4, 80).into(),
            SocketAddrV6::new(v4.to_ipv6_mapped(), 80, 0, 0).into(),
            (v4, 80).into(),
            ([127, 0, 0, 1], 80).into(),
            (IpAddr::V4(v4), 80).into(),
        ];
        assert!(same.iter().all(|listen| *listen == tcp), "{same:?}");
        assert_eq!(Listen::try_from(PathBuf::from("/run/x.sock")), Ok(unix.clone()));
        assert_eq!(Listen::try_from(&PathBuf::from("/run/x.sock")), Ok(unix.clone()));
        assert_eq!(Listen::try_from(Path::new("/run/x.sock")), Ok(unix));
        assert_eq!(Listen::try_from(&"127.0.0.1:80".to_owned()), Ok(tcp));
        let error = Listen::try_from(Path::new("x.sock")).unwrap_err().to_string();
        assert_eq!(
            error,
            "\"x.sock\" is not an address: a path begins with / (write /run/name.sock)"
        );
    }

    #[test]
    fn commas_separate_addresses_as_in_arguments() {
        let two = Listen::try_from("127.0.0.1:80, unix:/run/x.sock").unwrap();
        let texts: Vec<_> = two.addresses.iter().map(Address::to_string).collect();
        assert_eq!(texts, ["127.0.0.1:80", "unix:/run/x.sock"]);
        let error = Listen::try_from("127.0.0.1:80,:81").unwrap_err().to_string();
        assert!(error.starts_with("\":81\" is not") && error.contains("0.0.0.0:81"), "{error}");
        assert!(Listen::try_from("127.0.0.1:80,").is_err());
        let path = Listen::try_from(Path::new("/run/a,b")).unwrap();
        assert_eq!(path.addresses, [Address::Unix("/run/a,b".into())]);
    }
}
