//! The application's address, and connections to it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::proxy::connection::Connection;
use crate::proxy::pool::Pool;
use crate::sockets::address::Address;
use crate::sockets::stream::Stream;

/// An address, and the connections to it.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// An error says what is wrong with it.
    pub(crate) address: Result<Address, String>,
    /// HTTP/2 is spoken there, with prior knowledge.
    pub(crate) is_http2: bool,
    pub(super) pool: Arc<Pool>,
}

// === impl Upstream ===

impl Upstream {
    pub(super) fn new(address: Result<Address, String>, is_http2: bool) -> Arc<Self> {
        Arc::new(Self { address, is_http2, pool: Arc::default() })
    }

    /// Tells whether connections to the other are as good as those to this.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.address == other.address && self.is_http2 == other.is_http2
    }

    pub(super) fn is_unix(&self) -> bool {
        matches!(self.address, Ok(Address::Unix(_)))
    }

    /// How many connections are kept.
    #[cfg(any(feature = "admin", test))]
    pub(crate) fn kept(&self) -> usize {
        self.pool.len()
    }

    /// A fresh connection.
    ///
    /// # Errors
    /// When the application does not listen, its queue is full (`EAGAIN` on a Unix socket), or it does not answer
    /// within `limit`.
    pub(super) async fn connect(&self, limit: Duration) -> io::Result<Connection> {
        let address = self.address.as_ref().map_err(|error| io::Error::other(error.clone()))?;
        let fd = match (address, address.tcp()) {
            (Address::Unix(path), _) => connect_unix(path)?,
            (_, Some(address)) => timeout(limit, connect_tcp(address))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                .map_err(explained)?,
            (_, None) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let stream = Stream::connected(fd)?;
        #[cfg(feature = "http2")]
        if self.is_http2 {
            return Connection::http2(stream, self.is_unix()).await;
        }
        Connection::new(stream, self.is_unix()).await
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Ok(address) => address.fmt(f),
            Err(error) => error.fmt(f),
        }
    }
}

/// Says what is to be done where the service manager forbids ports.
fn explained(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(libc::EAFNOSUPPORT) {
        let text = "the unit allows no ports (see packaging/drop-ins/tcp-application.conf)";
        return io::Error::new(error.kind(), text);
    }
    error
}

/// Connects at once, or not at all: a Unix socket's queue has room or not.
fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

async fn connect_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream.into_std()?.into())
}
