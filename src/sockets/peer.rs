//! The client at the other end of a connection, and the connection as the program sees it.

use std::fmt;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use socket2::SockRef;

use crate::sockets::address::Address;
#[cfg(feature = "tls")]
use crate::tls::session::TlsSession;

/// The client at the other end of a connection.
///
/// # Examples
/// ```
/// use axum::Extension;
/// use lockstepd::{Credentials, Peer};
///
/// async fn greet(Extension(peer): Extension<Peer>) -> String {
///     if let Some(address) = peer.tcp() {
///         return format!("Hello, {}", address.ip());
///     }
///     match peer.credentials() {
///         Some(Credentials { uid: 0, .. }) => "Hello, root".to_owned(),
///         Some(other) => format!("Hello, user {}", other.uid),
///         None => "Hello, whoever you are".to_owned(),
///     }
/// }
/// # let _ = greet;
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP client. One that came over IPv4 has an IPv4 address, whatever the listener's is.
    Tcp(SocketAddr),
    /// A client of a Unix socket, which has no address; none where the kernel does not tell its credentials.
    Unix(Option<Credentials>),
    /// A client that came through a listener of the program's own, see [`Accept`](crate::Accept), and has neither.
    Other,
}

/// The process that connected to a Unix socket, as it was then.
///
/// In a user namespace of its own (`PrivateUsers=yes`) a daemon sees all users and groups but root's and its own as
/// 65534, and in a PID namespace a process of another as 0.
///
/// # Source
/// `SO_PEERCRED` in unix(7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Credentials {
    /// The process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A client's connection, as the function sees it that [`Server::on_connect`](crate::Server::on_connect) takes.
///
/// # Examples
/// ```
/// use axum::{Router, http::Extensions};
/// use lockstepd::{Connection, Server};
///
/// fn made(connection: Connection<'_>) -> Extensions {
///     let client = (connection.peer_path(), connection.peer().credentials());
///     tracing::debug!(address = ?connection.local_address(), ?client, "connected");
///     if let Some(socket) = connection.socket() {
///         tracing::debug!(descriptor = ?socket, "it has a socket");
///     }
///     Extensions::new()
/// }
///
/// let server = Server::new("public", "unix:/run/shop.sock", Router::new()).on_connect(made);
/// # let _ = server;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Connection<'c> {
    peer: Peer,
    socket: Option<BorrowedFd<'c>>,
    #[cfg(feature = "tls")]
    session: Option<&'c TlsSession>,
}

// === impl Peer ===

impl Peer {
    /// The address of a TCP client.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::Other => None,
        }
    }

    /// The credentials of a client of a Unix socket.
    #[must_use]
    pub fn credentials(&self) -> Option<Credentials> {
        match self {
            Self::Unix(credentials) => *credentials,
            Self::Tcp(_) | Self::Other => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(_) => f.write_str("unix"),
            Self::Other => f.write_str("other"),
        }
    }
}

// === impl Credentials ===

impl Credentials {
    /// Those of the peer of a Unix socket. rustix's function for it has no process number 0.
    pub(crate) fn of(socket: BorrowedFd<'_>) -> Option<Self> {
        let mut peer = MaybeUninit::<libc::ucred>::uninit();
        let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).ok()?;
        #[expect(unsafe_code, reason = "no crate here reads the option as the kernel writes it")]
        // SAFETY: the descriptor is open, and both pointers are to variables that outlive the call; the kernel writes
        // no more than `length` bytes.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                peer.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result != 0 || usize::try_from(length) != Ok(size_of::<libc::ucred>()) {
            return None;
        }
        #[expect(unsafe_code, reason = "the kernel has written it")]
        // SAFETY: all of it has been written, and it consists of integers.
        let peer = unsafe { peer.assume_init() };
        Some(Self { pid: peer.pid.unsigned_abs(), uid: peer.uid, gid: peer.gid })
    }
}

// === impl Connection ===

impl<'c> Connection<'c> {
    pub(crate) fn new(peer: Peer, socket: Option<BorrowedFd<'c>>) -> Self {
        Self {
            peer,
            socket,
            #[cfg(feature = "tls")]
            session: None,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn over_tls(mut self, session: Option<&'c TlsSession>) -> Self {
        self.session = session;
        self
    }

    /// What there is to know of its TLS; none where the client speaks in clear text.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_session(&self) -> Option<&'c TlsSession> {
        self.session
    }

    /// The client.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The address that the client has connected to: where a listener has every address of the machine, which one.
    /// None for a Unix socket without a path, and for what has no address of these kinds.
    #[must_use]
    pub fn local_address(&self) -> Option<Address> {
        let local = SockRef::from(self.socket.as_ref()?).local_addr().ok()?;
        match local.as_socket() {
            Some(tcp) => Some(tcp.into()),
            None => local.as_pathname().map(|path| Address::Unix(path.to_owned())),
        }
    }

    /// Its socket, to ask for whatever else it knows, such as the number of a virtual machine with vsock. None for a
    /// [stream](crate::Accepted::stream) of the program's own.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'c>> {
        self.socket
    }

    /// The path that the client of a Unix socket has bound its own socket to, which few do.
    #[must_use]
    pub fn peer_path(&self) -> Option<PathBuf> {
        let peer = SockRef::from(self.socket.as_ref()?).peer_addr().ok()?;
        peer.as_pathname().map(Path::to_owned)
    }
}
