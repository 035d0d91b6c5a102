//! A client's connection as a byte stream, TCP or Unix.
//!
//! A fresh connection is not registered with the runtime: most clients have sent their request by the time
//! they are accepted, and if it is their only one, no task ever waits for them. It is registered when there is
//! something to wait for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketType, getpeername, send, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::consume_budget;

use crate::sockets::peer::{Credentials, Peer};
use crate::sockets::tcp::TcpOptions;

/// A connected stream socket.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    peer: Peer,
}

#[derive(Debug)]
enum Socket {
    /// Not registered with the runtime.
    Fresh(OwnedFd),
    Tcp(TcpStream),
    Unix(UnixStream),
    /// The runtime refused to register it, which ends the connection.
    Lost,
}

/// How many bytes are read of a fresh connection at a time: a usual request is shorter.
const FIRST_READ: usize = 2048;

// === impl Stream ===

impl Stream {
    /// A TCP connection that was just accepted.
    pub(crate) fn tcp(fd: OwnedFd, peer: SocketAddr) -> Self {
        Self { socket: Socket::Fresh(fd), peer: Peer::Tcp(canonical(peer)) }
    }

    /// A connection to a Unix socket that was just accepted.
    pub(crate) fn unix(fd: OwnedFd) -> Self {
        let peer = Peer::Unix(Credentials::of(fd.as_fd()));
        Self { socket: Socket::Fresh(fd), peer }
    }

    /// Takes a connected socket from another process.
    ///
    /// # Errors
    /// When it is not a connected TCP or Unix stream; a client that hung up meanwhile is one too.
    pub(crate) fn adopt(fd: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_type(&fd)? != SocketType::STREAM {
            return Err(io::Error::other("not a stream socket"));
        }
        rustix::io::ioctl_fionbio(&fd, true)?;
        let mut stream = match sockopt::socket_domain(&fd)? {
            AddressFamily::UNIX => Self::unix(fd),
            AddressFamily::INET | AddressFamily::INET6 => {
                let peer = getpeername(&fd)?.and_then(|peer| peer.try_into().ok());
                Self::tcp(fd, peer.ok_or(io::ErrorKind::NotConnected)?)
            }
            _ => return Err(io::Error::other("neither a TCP nor a Unix socket")),
        };
        stream.register()?;
        Ok(stream)
    }

    /// Sets the options of a connection that was taken over.
    pub(crate) fn renew_options(&self, options: TcpOptions) {
        if let Peer::Tcp(_) = self.peer {
            options.renew(self.as_fd());
        }
    }

    /// Registers the socket with the runtime.
    fn register(&mut self) -> io::Result<()> {
        self.socket = match std::mem::replace(&mut self.socket, Socket::Lost) {
            Socket::Fresh(fd) => match self.peer {
                Peer::Tcp(_) => Socket::Tcp(TcpStream::from_std(fd.into())?),
                Peer::Unix(_) => Socket::Unix(UnixStream::from_std(fd.into())?),
            },
            known => known,
        };
        Ok(())
    }

    /// Tells whether the connection is not registered with the runtime.
    pub(crate) fn is_fresh(&self) -> bool {
        matches!(self.socket, Socket::Fresh(_))
    }

    /// What the client of a fresh connection has sent already; if nothing, the connection is registered with the
    /// runtime.
    ///
    /// # Errors
    /// When the client has hung up.
    pub(crate) fn read_first(&mut self) -> io::Result<Option<Bytes>> {
        let Socket::Fresh(fd) = &self.socket else { return Ok(None) };
        let mut bytes = [0; FIRST_READ];
        match retry_on_intr(|| read(fd, &mut bytes)) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => Ok(Some(Bytes::copy_from_slice(&bytes[..length]))),
            Err(Errno::AGAIN) => self.register().map(|()| None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Fresh(fd) => fd.as_fd(),
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
            Socket::Lost => unreachable!("a connection whose socket was lost has ended"),
        }
    }

    /// Tells whether the peer has sent something that has not been read.
    pub(crate) fn has_unread(&self) -> bool {
        !matches!(self.socket, Socket::Lost)
            && rustix::io::ioctl_fionread(self.as_fd()).is_ok_and(|bytes| bytes > 0)
    }

    /// Waits until there is something to read, the peer's hang-up included.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_fresh() && self.register().is_err() {
            return Poll::Ready(());
        }
        // An error of the runtime is found again by the read that follows.
        match &self.socket {
            Socket::Tcp(stream) => stream.poll_read_ready(cx).map(drop),
            Socket::Unix(stream) => stream.poll_read_ready(cx).map(drop),
            Socket::Fresh(_) | Socket::Lost => Poll::Ready(()),
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_fresh() {
            ready!(poll_turn(cx));
            if self.read_fresh(buf)? {
                return Poll::Ready(Ok(()));
            }
        }
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Fresh(_) | Socket::Lost => Poll::Ready(Err(lost())),
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Socket::Fresh(fd) = &self.socket {
            ready!(poll_turn(cx));
            match retry_on_intr(|| send(fd, buf, SendFlags::NOSIGNAL)) {
                Ok(length) => return Poll::Ready(Ok(length)),
                Err(Errno::AGAIN) => self.register()?,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Fresh(_) | Socket::Lost => Poll::Ready(Err(lost())),
        }
    }

    /// Reads from a fresh connection; answers whether it did. If not, the connection is registered with the
    /// runtime by now.
    #[cold]
    fn read_fresh(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let Socket::Fresh(fd) = &self.socket else { return Ok(false) };
        let mut bytes = [0; FIRST_READ];
        let most = buf.remaining().min(FIRST_READ);
        match retry_on_intr(|| read(fd, &mut bytes[..most])) {
            Ok(length) => {
                buf.put_slice(&bytes[..length]);
                Ok(true)
            }
            Err(Errno::AGAIN) => self.register().map(|()| false),
            Err(error) => Err(error.into()),
        }
    }

    /// Shuts the sending half down: nothing follows.
    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        if matches!(self.socket, Socket::Lost) {
            return Err(lost());
        }
        Ok(rustix::net::shutdown(self.as_fd(), Shutdown::Write)?)
    }
}

/// The client's address as IPv4 where it is: to an IPv6 socket the IPv4 client 1.2.3.4 is `::ffff:1.2.3.4`.
pub(crate) fn canonical(mut peer: SocketAddr) -> SocketAddr {
    if let IpAddr::V4(own) = peer.ip().to_canonical() {
        peer.set_ip(own.into());
    }
    peer
}

/// Ready until the task has used up its budget, as sockets that are registered with the runtime are: a client
/// that always has something to send, or to receive, must not keep a thread to itself.
fn poll_turn(cx: &mut Context<'_>) -> Poll<()> {
    pin!(consume_budget()).poll(cx)
}

fn lost() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream as StdStream;

    use super::*;

    #[tokio::test]
    async fn a_fresh_connection_lets_others_have_their_turn() {
        let (ours, mut theirs) = StdStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.write_all(&vec![b'x'; 64 << 10]).unwrap();
        let mut stream = Stream::unix(ours.into());
        poll_fn(|cx| {
            let mut bytes = [0; 64];
            while stream.poll_read(cx, &mut ReadBuf::new(&mut bytes)).is_ready() {}
            Poll::Ready(())
        })
        .await;
        assert!(stream.has_unread(), "one client had the thread until it had nothing more to say");
    }
}
