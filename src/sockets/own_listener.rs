//! Listeners that the program brings.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use rustix::io::{FdFlags, fcntl_setfd};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::sockets::own_stream::OwnStream;
use crate::sockets::peer::Peer;
use crate::sockets::stream::Stream;

/// Accepts clients in a way of the program's own: over vsock, through a tunnel, in memory.
///
/// [`Server::accept_from`](crate::Server::accept_from) takes it.
///
/// # Examples
/// In memory:
/// ```
/// use std::io;
///
/// use axum::{Router, routing::get};
/// use lockstepd::{Accept, Accepted, Daemon, Listen, Server};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
/// use tokio::sync::mpsc;
///
/// struct InMemory(mpsc::Receiver<DuplexStream>);
///
/// impl Accept for InMemory {
///     async fn accept(&mut self) -> io::Result<Accepted> {
///         match self.0.recv().await {
///             Some(client) => Ok(Accepted::stream(client)),
///             // Nobody else will come.
///             None => std::future::pending().await,
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), lockstepd::BoxError> {
/// let (clients, listener) = mpsc::channel(1);
/// let router = Router::new().route("/", get(|| async { "Hello" }));
/// let server = Server::new("memory", Listen::none(), router).accept_from(InMemory(listener));
/// let running = Daemon::new("shop").add_server(server).spawn().await?;
///
/// let (mut client, theirs) = duplex(4096);
/// clients.send(theirs).await?;
/// client.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer).await?;
/// assert!(answer.ends_with("Hello"));
/// # running.stop().await;
/// # Ok(())
/// # }
/// ```
pub trait Accept: Send + 'static {
    /// Waits for the next client.
    ///
    /// It is called again when a client has been accepted, and only then: what takes long, a TLS handshake for
    /// example, is done in tasks of the listener's own, or all other clients wait. It must not block its thread.
    ///
    /// At a restart and at an upgrade in place clients are accepted until idle connections have
    /// [lingered](crate::Daemon::linger), and then those that wait already, for a second at most. The listener itself
    /// is not handed over, and the next process listens anew. An address is best bound here, at the first call: an upgrade
    /// in place begins with a dry run of the program, which would find the address in use.
    ///
    /// # Errors
    /// An error of accept(2) has the same effect as at any other server: a client that is gone is passed over; a lack
    /// of descriptors is logged, and accepting tried again after a pause of 1 s at most; a broken listener ends the
    /// server, and with it the daemon, and so does [`Unsupported`](io::ErrorKind::Unsupported). Any other error is
    /// treated as a lack, and so are more than a hundred clients in a row that are gone.
    ///
    /// # Cancel safety
    /// It need not be cancel safe: the future is dropped only when the server ends.
    fn accept(&mut self) -> impl Future<Output = io::Result<Accepted>> + Send;
}

/// A client that was accepted, see [`Accept`].
///
/// # Examples
/// ```
/// use std::io;
/// use std::os::unix::net::UnixStream;
///
/// use lockstepd::{Accepted, Peer};
/// use tokio::io::duplex;
///
/// let (ours, _theirs) = UnixStream::pair()?;
/// let outlives_a_restart = Accepted::socket(ours);
///
/// let (ours, _theirs) = duplex(4096);
/// let client = "192.0.2.1:4000".parse().map_err(io::Error::other)?;
/// let ends_at_a_restart = Accepted::stream(ours).peer(Peer::Tcp(client));
/// # let _ = (outlives_a_restart, ends_at_a_restart);
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Debug)]
pub struct Accepted(Kind);

#[derive(Debug)]
enum Kind {
    Socket(OwnedFd),
    Stream(OwnStream, Peer),
}

/// A listener of the program's own, whose type is no longer known.
pub(crate) struct OwnListener(Box<dyn AcceptBoxed>);

/// [`Accept`], for trait objects.
trait AcceptBoxed: Send {
    fn accept(&mut self) -> Accepting<'_>;
}

pub(crate) type Accepting<'l> = Pin<Box<dyn Future<Output = io::Result<Accepted>> + Send + 'l>>;

// === impl Accepted ===

impl Accepted {
    /// A connected stream socket, of whatever family.
    ///
    /// Its connection is as any other: without a request it is parked, and handed to the next process at a restart.
    pub fn socket(socket: impl Into<OwnedFd>) -> Self {
        Self(Kind::Socket(socket.into()))
    }

    /// Any other stream of bytes.
    ///
    /// It cannot leave the process: at a restart and at an upgrade in place its connection ends in order, with
    /// `Connection: close`.
    pub fn stream(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self(Kind::Stream(OwnStream::new(stream), Peer::Other))
    }

    /// Says who the client of a [stream](Accepted::stream) is. Default [`Peer::Other`]; the kernel tells who the client
    /// of a [socket](Accepted::socket) is, whatever is said here.
    #[must_use]
    pub fn peer(self, peer: Peer) -> Self {
        match self.0 {
            Kind::Stream(stream, _) => Self(Kind::Stream(stream, peer)),
            Kind::Socket(_) => self,
        }
    }

    /// The client's connection.
    ///
    /// # Errors
    /// When the socket is not a connected stream socket; a client that hung up meanwhile is one too.
    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        match self.0 {
            Kind::Socket(socket) => {
                // accept(2) leaves it open in programs that are executed, and so in the next one after an upgrade in
                // place: its client would never see the end of the connection.
                fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
                Stream::connected(socket)
            }
            Kind::Stream(stream, peer) => Ok(Stream::own(stream, peer)),
        }
    }
}

// === impl OwnListener ===

impl OwnListener {
    pub(crate) fn new(listener: impl Accept) -> Self {
        Self(Box::new(listener))
    }

    pub(crate) fn accept(&mut self) -> Accepting<'_> {
        self.0.accept()
    }
}

impl<A: Accept> AcceptBoxed for A {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(Accept::accept(self))
    }
}

impl fmt::Debug for OwnListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnListener")
    }
}
