//! A client's connection as a byte stream: a socket, or a stream that the program brings.
//!
//! A fresh connection is not registered with the runtime: most clients have sent their request by the time
//! they are accepted, and if it is their only one, no task ever waits for them. It is registered when there is
//! something to wait for. One that is parked is not registered any more.

#[cfg(feature = "tls")]
mod secured;

use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(feature = "proxy")]
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
#[cfg(feature = "proxy")]
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketType, getpeername, send, sockopt};
#[cfg(feature = "proxy")]
use tokio::io::Interest;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::consume_budget;

use crate::sockets::own_stream::OwnStream;
use crate::sockets::peer::{Credentials, Peer};
use crate::sockets::tcp::TcpOptions;
#[cfg(feature = "tls")]
use crate::tls::secured::Secured;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    peer: Peer,
    /// It has been in the set of parked connections, and the kernel remembers.
    pub(crate) has_been_parked: bool,
}

#[derive(Debug)]
enum Socket {
    /// Not registered with the runtime.
    Unregistered(OwnedFd),
    Tcp(TcpStream),
    /// Of any family but TCP's: the runtime treats all alike.
    Unix(UnixStream),
    /// No socket.
    Own(Box<OwnStream>),
    /// A socket that TLS is spoken on.
    #[cfg(feature = "tls")]
    Tls(Box<Secured<Stream>>),
    /// The runtime refused to register it, which ends the connection.
    Lost,
}

/// How many bytes are read of a fresh connection at a time: a usual request is shorter.
const FIRST_READ: usize = 2048;

// === impl Stream ===

impl Stream {
    /// A TCP connection that was just accepted.
    pub(crate) fn tcp(fd: OwnedFd, peer: SocketAddr) -> Self {
        Self::of(Socket::Unregistered(fd), Peer::Tcp(canonical(peer)))
    }

    /// A connection to a Unix socket that was just accepted.
    pub(crate) fn unix(fd: OwnedFd) -> Self {
        let peer = Peer::Unix(Credentials::of(fd.as_fd()));
        Self::of(Socket::Unregistered(fd), peer)
    }

    /// A connected socket of another family, vsock for example.
    fn other(fd: OwnedFd) -> Self {
        Self::of(Socket::Unregistered(fd), Peer::Other)
    }

    /// A stream of the program's own.
    pub(crate) fn own(stream: OwnStream, peer: Peer) -> Self {
        let peer = match peer {
            Peer::Tcp(address) => Peer::Tcp(canonical(address)),
            Peer::Unix(_) | Peer::Other => peer,
        };
        Self::of(Socket::Own(Box::new(stream)), peer)
    }

    fn of(socket: Socket, peer: Peer) -> Self {
        Self { socket, peer, has_been_parked: false }
    }

    /// A socket that something else than a [`Listener`](crate::sockets::listener::Listener) has accepted.
    ///
    /// # Errors
    /// When it is not a connected stream socket; a client that hung up meanwhile is one too.
    pub(crate) fn connected(fd: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_type(&fd)? != SocketType::STREAM {
            return Err(not_a_stream());
        }
        Self::adopt(fd)
    }

    /// Takes a connected stream socket from a process of this program. There may be ten thousand: no question more than
    /// necessary.
    ///
    /// # Errors
    /// When its client has hung up meanwhile.
    pub(crate) fn adopt(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        if let Some(peer) = getpeername(&fd)?.and_then(|peer| SocketAddr::try_from(peer).ok()) {
            return Ok(Self::tcp(fd, peer));
        }
        match sockopt::socket_domain(&fd)? {
            AddressFamily::INET | AddressFamily::INET6 => Err(io::ErrorKind::NotConnected.into()),
            AddressFamily::UNIX => Ok(Self::unix(fd)),
            _ => Ok(Self::other(fd)),
        }
    }

    /// Takes one end of a tunnel from another process. Both halves may have been shut down by now, and still have
    /// something to read; then the socket does not know its peer any more.
    ///
    /// # Errors
    /// When it is not a stream socket.
    pub(crate) fn adopt_end(fd: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_type(&fd)? != SocketType::STREAM {
            return Err(not_a_stream());
        }
        rustix::io::ioctl_fionbio(&fd, true)?;
        let mut stream = match sockopt::socket_domain(&fd)? {
            AddressFamily::INET | AddressFamily::INET6 => {
                match getpeername(&fd).ok().flatten().and_then(|peer| peer.try_into().ok()) {
                    Some(peer) => Self::tcp(fd, peer),
                    None => Self::other(fd),
                }
            }
            AddressFamily::UNIX => Self::unix(fd),
            _ => Self::other(fd),
        };
        stream.register()?;
        Ok(stream)
    }

    /// Sets the options of a connection that was taken over.
    pub(crate) fn renew_options(&self, options: TcpOptions) {
        if let (Peer::Tcp(_), Some(socket)) = (self.peer, self.socket()) {
            options.renew(socket);
        }
    }

    /// Registers the socket with the runtime.
    fn register(&mut self) -> io::Result<()> {
        self.socket = match std::mem::replace(&mut self.socket, Socket::Lost) {
            Socket::Unregistered(fd) => match self.peer {
                Peer::Tcp(_) => Socket::Tcp(TcpStream::from_std(fd.into())?),
                Peer::Unix(_) | Peer::Other => Socket::Unix(UnixStream::from_std(fd.into())?),
            },
            known => known,
        };
        Ok(())
    }

    /// Tells whether the connection is not registered with the runtime.
    pub(crate) fn is_unregistered(&self) -> bool {
        matches!(self.socket, Socket::Unregistered(_))
    }

    /// Takes the socket from the runtime; answers whether something else may watch it now. That is so of a socket with
    /// nothing above it that was read, or has to be written.
    pub(crate) fn unregister(&mut self) -> bool {
        let fd = match std::mem::replace(&mut self.socket, Socket::Lost) {
            Socket::Tcp(stream) => stream.into_std().map(OwnedFd::from),
            Socket::Unix(stream) => stream.into_std().map(OwnedFd::from),
            #[cfg(feature = "tls")]
            Socket::Tls(mut secured) => {
                let is_unregistered =
                    secured.rests() && secured.stream_mut().is_some_and(Self::unregister);
                self.socket = Socket::Tls(secured);
                return is_unregistered;
            }
            other => {
                self.socket = other;
                return self.is_unregistered();
            }
        };
        // An error leaves it lost: what follows finds that out.
        if let Ok(fd) = fd {
            self.socket = Socket::Unregistered(fd);
        }
        self.is_unregistered()
    }

    /// What the client has sent already, of a connection that is not registered with the runtime.
    ///
    /// # Errors
    /// When the client has hung up.
    pub(crate) fn read_first(&self) -> io::Result<Option<Bytes>> {
        let Socket::Unregistered(fd) = &self.socket else { return Ok(None) };
        let mut bytes = [0; FIRST_READ];
        match retry_on_intr(|| read(fd, &mut bytes)) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => Ok(Some(Bytes::copy_from_slice(&bytes[..length]))),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// Its socket; a stream of the program's own has none.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.socket {
            Socket::Unregistered(fd) => Some(fd.as_fd()),
            Socket::Tcp(stream) => Some(stream.as_fd()),
            Socket::Unix(stream) => Some(stream.as_fd()),
            #[cfg(feature = "tls")]
            Socket::Tls(secured) => secured.stream()?.socket(),
            Socket::Own(_) | Socket::Lost => None,
        }
    }

    /// Tells whether the peer has sent something that has not been read. A task that waits for something to read has
    /// to ask for that anew.
    pub(crate) fn has_unread(&mut self) -> bool {
        match &mut self.socket {
            Socket::Own(stream) => stream.has_unread(),
            #[cfg(feature = "tls")]
            Socket::Tls(secured) if secured.has_buffered() || secured.has_begun_record() => true,
            _ => self
                .socket()
                .is_some_and(|fd| rustix::io::ioctl_fionread(fd).is_ok_and(|bytes| bytes > 0)),
        }
    }

    /// Waits until there is something to read, the peer's hang-up included.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_unregistered() && self.register().is_err() {
            return Poll::Ready(());
        }
        // An error of the runtime is found again by the read that follows.
        match &mut self.socket {
            Socket::Tcp(stream) => stream.poll_read_ready(cx).map(drop),
            Socket::Unix(stream) => stream.poll_read_ready(cx).map(drop),
            Socket::Own(stream) => {
                ready!(poll_turn(cx));
                stream.poll_readable(cx)
            }
            #[cfg(feature = "tls")]
            Socket::Tls(secured) => secured.poll_readable(cx),
            Socket::Unregistered(_) | Socket::Lost => Poll::Ready(()),
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_unregistered() {
            ready!(poll_turn(cx));
            if self.read_unregistered(buf)? {
                return Poll::Ready(Ok(()));
            }
        }
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Own(stream) => {
                ready!(poll_turn(cx));
                stream.poll_read(cx, buf)
            }
            #[cfg(feature = "tls")]
            Socket::Tls(secured) => secured.poll_read(cx, buf),
            Socket::Unregistered(_) | Socket::Lost => Poll::Ready(Err(lost())),
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Socket::Unregistered(fd) = &self.socket {
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
            Socket::Own(stream) => {
                ready!(poll_turn(cx));
                stream.poll_write(cx, buf)
            }
            #[cfg(feature = "tls")]
            Socket::Tls(secured) => secured.poll_write(cx, buf),
            Socket::Unregistered(_) | Socket::Lost => Poll::Ready(Err(lost())),
        }
    }

    /// Reads from a fresh connection; answers whether it did. If not, the connection is registered with the
    /// runtime by now.
    #[cold]
    fn read_unregistered(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let Socket::Unregistered(fd) = &self.socket else { return Ok(false) };
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

    /// Ready once the peer of a Unix socket has read everything that was written, and at once for any other, of which
    /// that cannot be known. Never ready where the peer's end is closed: what was in its queue is thrown away then, and
    /// only a read tells whether there was anything.
    #[cfg(feature = "proxy")]
    pub(crate) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Socket::Unix(stream) = &mut self.socket else { return Poll::Ready(()) };
        let is_taken = || match unread_by_peer(stream.as_fd()) {
            Ok(bytes) if bytes < SMALLEST_UNREAD && !is_closed_by_peer(stream.as_fd()) => Ok(()),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        };
        // The kernel tells that the socket is writable whenever the peer has read something. What is known of that is
        // forgotten by the first look, unless the peer's end is closed: that is known for ever.
        for _ in 0..2 {
            if ready!(stream.poll_write_ready(cx)).is_err() {
                break;
            }
            if stream.try_io(Interest::WRITABLE, is_taken).is_ok() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Sends what the stream has kept back; a socket keeps nothing back.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Own(stream) => stream.poll_flush(cx),
            #[cfg(feature = "tls")]
            Socket::Tls(secured) => secured.poll_flush(cx),
            Socket::Unregistered(_) | Socket::Tcp(_) | Socket::Unix(_) | Socket::Lost => {
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Shuts the sending half down: nothing follows.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Own(stream) => return stream.poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Socket::Tls(secured) => return secured.poll_shutdown(cx),
            _ => {}
        }
        let Some(socket) = self.socket() else { return Poll::Ready(Err(lost())) };
        Poll::Ready(rustix::net::shutdown(socket, Shutdown::Write).map_err(io::Error::from))
    }

    /// As [`Stream::poll_shutdown`], where nobody waits for it: a stream of the program's own that cannot do it at
    /// once does it when it is dropped, or not at all.
    pub(crate) fn shutdown_now(&mut self) {
        // If the client is gone, the next read fails.
        let _ = self.poll_shutdown(&mut Context::from_waker(Waker::noop()));
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

fn not_a_stream() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "not a stream socket")
}

/// The least that [`unread_by_peer`] tells while something is unread. It is not 0 at once when all has been read: the
/// kernel wakes us before it takes the last byte of its account off, and not again afterwards.
#[cfg(feature = "proxy")]
const SMALLEST_UNREAD: libc::c_int = 256;

/// Tells whether the peer's end of a Unix socket is closed; whether it was reset is left for the next read to say.
#[cfg(feature = "proxy")]
fn is_closed_by_peer(socket: BorrowedFd<'_>) -> bool {
    let mut watched = [PollFd::new(&socket, PollFlags::empty())];
    let polled = retry_on_intr(|| rustix::event::poll(&mut watched, Some(&Timespec::default())));
    polled.is_err() || watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// How many bytes of memory hold what the peer of a Unix socket has not read, `SIOCOUTQ`.
#[cfg(feature = "proxy")]
fn unread_by_peer(socket: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    let mut bytes: libc::c_int = 0;
    #[expect(unsafe_code, reason = "no crate here has this request")]
    // SAFETY: the descriptor is open, and the kernel writes one integer, to a variable that outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(bytes) } else { Err(io::Error::last_os_error()) }
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

    #[tokio::test]
    async fn a_stream_of_the_programs_own_lets_others_have_their_turn() {
        let own = tokio::io::repeat(b'x');
        let own = tokio::io::join(own, tokio::io::sink());
        let mut stream = Stream::own(OwnStream::new(own), Peer::Other);
        let reads = poll_fn(|cx| {
            let mut bytes = [0; 64];
            let mut reads = 0;
            while reads < 100_000 && stream.poll_read(cx, &mut ReadBuf::new(&mut bytes)).is_ready()
            {
                reads += 1;
            }
            Poll::Ready(reads)
        })
        .await;
        assert!(reads < 100_000, "one client had the thread for ever");
    }

    #[tokio::test]
    async fn what_is_unread_is_found_by_a_task_that_has_used_up_its_turn() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, b"xyz").await.unwrap();
        let mut stream = Stream::own(OwnStream::new(ours), Peer::Other);
        let has_unread = poll_fn(|cx| {
            while poll_turn(cx).is_ready() {}
            Poll::Ready(stream.has_unread())
        });
        assert!(has_unread.await);
        let mut bytes = [0; 64];
        let mut read = async |length| {
            let mut buf = ReadBuf::new(&mut bytes[..length]);
            poll_fn(|cx| stream.poll_read(cx, &mut buf)).await.unwrap();
            buf.filled().to_vec()
        };
        assert_eq!((read(2).await, read(2).await), (b"xy".to_vec(), b"z".to_vec()));
        drop(theirs);
        assert_eq!(read(2).await, b"");
    }
}
