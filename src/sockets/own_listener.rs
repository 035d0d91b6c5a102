//! Listeners that the program brings.

use std::fmt;
use std::future::ready;
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
/// With a handshake of each client, such as that of TLS, any number of them at a time:
/// ```
/// use std::{io, net::SocketAddr, time::Duration};
///
/// use lockstepd::{Accept, Accepted, Peer};
/// use tokio::{net::TcpListener, task::JoinSet, time::timeout};
///
/// struct Tls {
///     address: SocketAddr,
///     listener: Option<TcpListener>,
///     handshakes: JoinSet<io::Result<Accepted>>,
/// }
///
/// impl Accept for Tls {
///     async fn listen(&mut self) -> io::Result<()> {
///         self.listener = Some(TcpListener::bind(self.address).await?);
///         Ok(())
///     }
///
///     async fn accept(&mut self) -> io::Result<Accepted> {
///         let listener = self.listener.as_ref().expect("it listens");
///         loop {
///             tokio::select! {
///                 Some(shaken) = self.handshakes.join_next() => return shaken?,
///                 accepted = listener.accept() => {
///                     let (socket, client) = accepted?;
///                     self.handshakes.spawn(async move {
///                         let stream = timeout(Duration::from_secs(10), handshake(socket)).await??;
///                         Ok(Accepted::stream(stream).peer(Peer::Tcp(client)))
///                     });
///                 }
///             }
///         }
///     }
/// }
/// # async fn handshake(socket: tokio::net::TcpStream) -> io::Result<tokio::net::TcpStream> { Ok(socket) }
/// # let _ = |address| Tls { address, listener: None, handshakes: JoinSet::new() };
/// ```
pub trait Accept: Send + 'static {
    /// Makes ready for clients: binds an address, for example. It is called once, before the daemon is ready, and not in
    /// the dry run of an upgrade in place, when the program before this one still has the address. Default: nothing.
    ///
    /// # Errors
    /// When it cannot be done; the start then fails.
    fn listen(&mut self) -> impl Future<Output = io::Result<()>> + Send {
        ready(Ok(()))
    }

    /// Waits for the next client.
    ///
    /// It is called again when a client has been accepted, and only then: what takes long, a TLS handshake for
    /// example, is done in tasks of the listener's own, or all other clients wait. It must not block its thread.
    ///
    /// The listener itself is not handed over. At a restart and at an upgrade in place clients are accepted until
    /// everything else is ready for that; those that wait then are still served, but who connects before the next
    /// process listens is refused or reset, and what tasks of the listener's own have not brought to an end is lost.
    ///
    /// # Errors
    /// - What is the client's fault: it is passed over. Without an errno these are `ConnectionAborted`,
    ///   `ConnectionReset`, `InvalidData`, `NotConnected`, `TimedOut` and `UnexpectedEof`.
    /// - `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`: idle connections are closed to make room, as at any other server.
    /// - `EBADF`, `EFAULT`, `EINVAL`, `ENOTSOCK`, `EOPNOTSUPP`, and `Unsupported` without an errno: the listener is broken.
    ///   It ends the server, and with it the daemon.
    ///
    /// After any other error, and after more than a hundred clients in a row that were passed over, the log warns, and the
    /// listener is asked again after a pause of 1 s at most.
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
    fn listen(&mut self) -> Listening<'_>;
    fn accept(&mut self) -> Accepting<'_>;
}

type Listening<'l> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'l>>;

pub(crate) type Accepting<'l> = Pin<Box<dyn Future<Output = io::Result<Accepted>> + Send + 'l>>;

// === impl Accepted ===

impl Accepted {
    /// A connected stream socket, of whatever family; one of tokio's is made into it by `into_std`.
    ///
    /// Its connection is as any other: without a request it is parked, and handed to the next process at a restart.
    pub fn socket(socket: impl Into<OwnedFd>) -> Self {
        Self(Kind::Socket(socket.into()))
    }

    /// Any other stream of bytes.
    ///
    /// It cannot leave the process: at a restart and at an upgrade in place its connection ends in order, with
    /// `Connection: close`. Options of a socket below it, such as `TCP_NODELAY` and keep-alive, are the program's to set.
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

    pub(crate) fn listen(&mut self) -> Listening<'_> {
        self.0.listen()
    }

    pub(crate) fn accept(&mut self) -> Accepting<'_> {
        self.0.accept()
    }
}

impl<A: Accept> AcceptBoxed for A {
    fn listen(&mut self) -> Listening<'_> {
        Box::pin(Accept::listen(self))
    }

    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(Accept::accept(self))
    }
}

impl fmt::Debug for OwnListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnListener")
    }
}
