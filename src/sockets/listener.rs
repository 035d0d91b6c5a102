//! Sockets that listen: passed by the service manager, or bound by this program.
//!
//! Invariants:
//! - Every socket here listens, is a stream socket, and is non-blocking.
//! - A Unix socket that is bound here has its permissions before a client can connect to it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, acceptfrom_with, sockopt};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sockets::address::Address;
use crate::sockets::socket_file::{SocketFile, is_no_socket, is_stale};
use crate::sockets::stream::Stream;
use crate::sockets::tcp::TcpOptions;
use crate::sockets::zone;

/// How many connections the kernel queues for a listener bound here; it caps this at net.core.somaxconn.
pub(crate) const BACKLOG: i32 = 4096;

/// A listening socket that no runtime knows yet.
#[derive(Debug)]
pub(crate) struct Bound {
    fd: OwnedFd,
    pub(crate) address: Address,
    pub(crate) origin: Origin,
    /// Of a Unix socket that this program bound.
    pub(crate) file: Option<Arc<SocketFile>>,
}

/// What made a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// The service manager: its backlog outlives this process.
    Manager,
    /// This program, in this process or an earlier one.
    Ourselves,
}

/// A listening socket on the runtime.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: AsyncFd<OwnedFd>,
    pub(crate) address: Address,
    pub(crate) origin: Origin,
    pub(crate) file: Option<Arc<SocketFile>>,
    /// The options that are set on it, which its connections inherit.
    tcp: Option<TcpOptions>,
    /// Connections in the queue may be older than the options, and not have them.
    has_earlier: bool,
    /// Its clients speak TLS.
    pub(crate) is_secured: bool,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// A socket could not be bound.
    #[error("cannot bind {address} for \"{server}\": {source}{}", remedy(address, source))]
    #[non_exhaustive]
    Bind {
        /// The address that was asked for.
        address: Address,
        /// The server it was meant for.
        server: String,
        /// The error of bind(2) or listen(2).
        source: io::Error,
    },
    /// A listener of the program's own cannot listen.
    #[error("cannot listen for \"{server}\": {source}")]
    #[non_exhaustive]
    Own {
        /// The server it was meant for.
        server: String,
        /// What it tells.
        source: io::Error,
    },
    /// A descriptor was passed that no server can use.
    #[error("descriptor {number} (\"{name}\") {problem}")]
    #[non_exhaustive]
    Unusable {
        /// The descriptor's number.
        number: RawFd,
        /// Its name in `LISTEN_FDNAMES`.
        name: String,
        /// What is wrong with it, and which line of the unit to change.
        problem: &'static str,
    },
    /// A listening socket could not be used.
    #[error("cannot use the listening socket {address}: {source}")]
    #[non_exhaustive]
    Adopt {
        /// Its address.
        address: Address,
        /// The error of the system call.
        source: io::Error,
    },
}

// === impl ListenError ===

impl ListenError {
    fn of_bind(address: &Address, server: &str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Bind { address: address.clone(), server: server.to_owned(), source }
    }

    /// Tells whether it may work later by itself: the address comes, the process that has it ends, or a shortage
    /// of the machine passes.
    pub(crate) fn may_pass(&self) -> bool {
        let source = match self {
            Self::Bind { source, .. } | Self::Adopt { source, .. } => source,
            // What it means only the program knows.
            Self::Own { .. } => return true,
            Self::Unusable { .. } => return false,
        };
        // Another start holds the lock of a socket file.
        if source.kind() == io::ErrorKind::ResourceBusy {
            return true;
        }
        matches!(
            Errno::from_io_error(source),
            Some(
                Errno::ADDRNOTAVAIL
                    | Errno::ADDRINUSE
                    // The interface of an IPv6 address with a scope.
                    | Errno::NODEV
                    | Errno::AGAIN
                    | Errno::MFILE
                    | Errno::NFILE
                    | Errno::NOBUFS
                    | Errno::NOMEM
            )
        )
    }

    /// Tells whether another start holds the lock of the same socket file, which takes a moment.
    pub(crate) fn is_locked(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::ResourceBusy)
    }

    /// Tells whether another socket has the address.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

/// The name of a server's sockets for TLS, in `FileDescriptorName=` and among those that are handed over.
pub(crate) fn tls_name(server: &str) -> String {
    format!("{server}-tls")
}

fn remedy(address: &Address, error: &io::Error) -> &'static str {
    if Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT) {
        return " (RestrictAddressFamilies= in the unit forbids it: let a socket unit pass the socket, \
                 and see with systemctl status whether that has failed)";
    }
    if Errno::from_io_error(error) == Some(Errno::NODEV) {
        return " (no network interface of this machine is what stands after %, see ip link)";
    }
    let is_tcp = !matches!(address, Address::Unix(_));
    match error.kind() {
        io::ErrorKind::PermissionDenied if is_tcp => {
            " (let systemd pass the socket, or grant CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::PermissionDenied => {
            " (let systemd pass the socket, or grant access to the directory)"
        }
        io::ErrorKind::AddrInUse if is_tcp => {
            " (stop whoever listens there, see ss -ltnp, or choose another address)"
        }
        io::ErrorKind::AddrInUse => {
            " (stop whoever listens there, see ss -lxp, or choose another address)"
        }
        io::ErrorKind::ResourceBusy => {
            " (another program is starting there: try again, or end it, see lslocks)"
        }
        io::ErrorKind::AlreadyExists => " (it is no socket: move it away, or choose another path)",
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has that address)",
        io::ErrorKind::NotFound => {
            " (make the directory first, for example with RuntimeDirectory=)"
        }
        _ => "",
    }
}

// === impl Bound ===

impl Bound {
    /// Binds `address` and listens.
    ///
    /// `v6only`: keep an IPv6 wildcard off the IPv4 port, for when another listener has that.
    pub(crate) fn bind(
        address: &Address,
        server: &str,
        mode: u32,
        v6only: bool,
    ) -> Result<Self, ListenError> {
        let bound = match address {
            Address::Unix(path) => {
                SocketFile::bind(path, mode).map(|(socket, file)| (socket, Some(Arc::new(file))))
            }
            _ => bind_tcp(address, v6only).map(|socket| (socket, None)),
        };
        let refused = ListenError::of_bind(address, server);
        let (socket, file) = bound.map_err(&refused)?;
        let fd = OwnedFd::from(socket);
        // With port 0 the kernel chose the port; the log has to say which.
        let address = address.of_bound(local_address(fd.as_fd()).map_err(refused)?);
        Ok(Self { fd, address, origin: Origin::Ourselves, file })
    }

    /// Finds out whether `address` could be bound, and leaves no trace.
    pub(crate) fn try_bind(
        address: &Address,
        server: &str,
        v6only: bool,
    ) -> Result<(), ListenError> {
        let tried = match address {
            Address::Tcp(_) | Address::Zoned { .. } => bind_tcp(address, v6only).map(drop),
            // A socket file without a listener can be replaced; the directory has to be there.
            Address::Unix(path) => match is_stale(path) {
                Ok(true) => Ok(()),
                Ok(false) => Err(io::ErrorKind::AddrInUse.into()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
                Err(_) => path.parent().map_or(Ok(()), |parent| fs::metadata(parent).map(drop)),
            },
        };
        tried.map_err(ListenError::of_bind(address, server))
    }

    /// Fails if something else than a socket is at the path of `address`. Whether another process listens there,
    /// or the directory is missing, is not looked at: that may have changed by the start.
    pub(crate) fn check_path(address: &Address, server: &str) -> Result<(), ListenError> {
        match address {
            Address::Unix(path) if is_no_socket(path) => {
                Err(ListenError::of_bind(address, server)(Errno::EXIST.into()))
            }
            _ => Ok(()),
        }
    }

    /// Finds out whether the network interface is there that `address` has as its zone.
    pub(crate) fn check_interface(address: &Address, server: &str) -> Result<(), ListenError> {
        let found = match address {
            Address::Tcp(tcp) => zone::check_number(*tcp),
            Address::Zoned { address, interface } => {
                zone::resolve_here(*address, interface).map(drop)
            }
            Address::Unix(_) => Ok(()),
        };
        found.map_err(ListenError::of_bind(address, server))
    }

    /// Takes a socket that was passed to this process, having checked that a server can accept on it.
    pub(crate) fn adopt(
        number: RawFd,
        name: &str,
        fd: OwnedFd,
        origin: Origin,
    ) -> Result<Self, ListenError> {
        let unusable = |problem| ListenError::Unusable { number, name: name.to_owned(), problem };
        let kind = sockopt::socket_type(&fd).map_err(|_| {
            unusable("is not a socket (pass ListenStream= sockets only, no ListenFIFO= or ListenSpecial=)")
        })?;
        if kind != SocketType::STREAM {
            return Err(unusable(
                "is not a stream socket (use ListenStream= instead of ListenDatagram= or \
                 ListenSequentialPacket= in its socket unit)",
            ));
        }
        let family = sockopt::socket_domain(&fd).ok();
        if ![Some(AddressFamily::INET), Some(AddressFamily::INET6), Some(AddressFamily::UNIX)]
            .contains(&family)
        {
            return Err(unusable(
                "is of an address family that cannot be served (ListenStream= takes an IP \
                 address with a port, or a path)",
            ));
        }
        if !sockopt::socket_acceptconn(&fd).unwrap_or(false) {
            return Err(unusable("does not listen (set Accept=no in its socket unit)"));
        }
        let address = local_address(fd.as_fd())
            .map_err(|_| unusable("has an address that cannot be read"))?;
        // systemd passes blocking sockets, and a runtime must never block on one.
        rustix::io::ioctl_fionbio(&fd, true).map_err(|error| ListenError::Adopt {
            address: address.clone(),
            source: error.into(),
        })?;
        Ok(Self { fd, address, origin, file: None })
    }

    /// Looks for its file among those that an earlier process of this program has left.
    pub(crate) fn claim_file(&mut self, files: &mut Vec<OwnedFd>) {
        if let Address::Unix(path) = &self.address {
            self.file = SocketFile::claim(path, files).map(Arc::new);
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Tells whether clients can still find it: a Unix socket's file may have been removed or replaced.
    pub(crate) fn is_reachable(&self) -> bool {
        match &self.address {
            Address::Tcp(_) | Address::Zoned { .. } => true,
            Address::Unix(_) => self.file.as_ref().is_some_and(|file| file.is_there()),
        }
    }

    /// Tells whether it is an IPv6 socket that takes IPv4 clients as well.
    pub(crate) fn is_dual(&self) -> bool {
        matches!(self.address, Address::Tcp(tcp) if tcp.is_ipv6())
            && SockRef::from(&self.fd).only_v6().is_ok_and(|only| !only)
    }

    /// Closes the socket for good, and removes its file if this program made it.
    pub(crate) fn close(self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// Closes a socket of a start that fails. If an earlier process has bound it, it lives on where it came from
    /// (systemd's store, or the process that is to be replaced), and its file stays.
    pub(crate) fn give_up(self) {
        if let Some(file) = self.file.as_ref().filter(|file| !file.is_claimed()) {
            file.remove();
        }
    }

    /// Registers the socket with the runtime that this is called in.
    pub(crate) fn register(self) -> Result<Listener, ListenError> {
        let Self { fd, address, origin, file } = self;
        #[expect(unsafe_code, reason = "the runtime's registration of any descriptor")]
        // SAFETY: the descriptor is open and owned, and the registration owns it from here on;
        // it is not replaced, and an OwnedFd always names the same descriptor.
        let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        match registered {
            Ok(socket) => {
                let (tcp, has_earlier) = (None, false);
                let is_secured = false;
                Ok(Listener { socket, address, origin, file, tcp, has_earlier, is_secured })
            }
            Err(error) => Err(ListenError::Adopt { address, source: error.into() }),
        }
    }
}

fn bind_tcp(address: &Address, v6only: bool) -> io::Result<Socket> {
    let new = |domain| Socket::new(domain, Type::STREAM.nonblocking(), None);
    let (socket, address) = match address {
        Address::Tcp(address) => (new(Domain::for_address(*address))?, *address),
        Address::Zoned { address, interface } => {
            let socket = new(Domain::IPV6)?;
            let address = zone::resolve(*address, interface, &socket)?;
            (socket, address)
        }
        Address::Unix(_) => return Err(Errno::AFNOSUPPORT.into()),
    };
    // Connections of an earlier process that are in TIME_WAIT must not keep the port.
    socket.set_reuse_address(true)?;
    if v6only && address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Tells whether an IPv6 wildcard takes IPv4 clients as well unless its socket says otherwise: net.ipv6.bindv6only.
pub(crate) fn wildcard_is_dual() -> bool {
    // Without IPv6 it does not matter.
    Socket::new(Domain::IPV6, Type::STREAM, None)
        .and_then(|socket| socket.only_v6())
        .is_ok_and(|only| !only)
}

fn local_address(fd: BorrowedFd<'_>) -> io::Result<Address> {
    let address = SockRef::from(&fd).local_addr()?;
    if let Some(tcp) = address.as_socket() {
        let interface = Some(zone::of(tcp)).filter(|zone| *zone != 0);
        return Ok(match (tcp, interface.and_then(|zone| zone::name(fd, zone))) {
            (SocketAddr::V6(mut address), Some(interface)) => {
                address.set_scope_id(0);
                Address::Zoned { address, interface }
            }
            _ => Address::Tcp(tcp),
        });
    }
    // An abstract or unnamed socket has no path; it is shown as unix:@.
    Ok(Address::Unix(address.as_pathname().map_or_else(|| PathBuf::from("@"), Path::to_owned)))
}

// === impl Listener ===

impl Listener {
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }

    /// Tells whether the service manager opened it.
    pub(crate) fn is_from_manager(&self) -> bool {
        self.origin == Origin::Manager
    }

    /// Sets these options on every connection that is accepted from here on.
    pub(crate) fn set_options(&mut self, options: TcpOptions) {
        let is_tcp = !matches!(self.address, Address::Unix(_));
        if is_tcp && self.tcp.replace(options) != Some(options) {
            options.set(self.as_fd());
            self.has_earlier = true;
        }
    }

    /// Accepts the next connection.
    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            if let Ok(accepted) = ready.try_io(|_| self.accept_now()) {
                return Poll::Ready(accepted);
            }
            // The queue is empty: later connections inherit the options.
            self.has_earlier = false;
        }
    }

    /// Ready when a client waits in the queue, which is left there.
    pub(crate) fn poll_waiting(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // An error is found again by the next accept.
            let Ok(mut ready) = ready!(self.socket.poll_read_ready(cx)) else {
                return Poll::Ready(());
            };
            let mut fds = [PollFd::new(self.socket.get_ref(), PollFlags::IN)];
            match poll(&mut fds, Some(&Timespec::default())) {
                Ok(0) => ready.clear_ready(),
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Accepts a connection that is queued already, or fails with `WouldBlock`.
    pub(crate) fn accept_now(&self) -> io::Result<Stream> {
        let stream = self.accept_stream()?;
        #[cfg(feature = "tls")]
        if self.is_secured {
            return Ok(stream.secured());
        }
        Ok(stream)
    }

    fn accept_stream(&self) -> io::Result<Stream> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match &self.address {
            Address::Tcp(_) | Address::Zoned { .. } => {
                let (fd, peer) = acceptfrom_with(self.as_fd(), flags)?;
                let peer = peer.and_then(|peer| peer.try_into().ok());
                if let (true, Some(options)) = (self.has_earlier, self.tcp) {
                    options.set(fd.as_fd());
                }
                // A client without an address has reset the connection already.
                Ok(Stream::tcp(fd, peer.ok_or(Errno::CONNABORTED)?))
            }
            Address::Unix(_) => Ok(Stream::unix(accept_with(self.as_fd(), flags)?)),
        }
    }

    /// Closes the listener for good, and removes its file if this program made it: no process takes it over.
    pub(crate) fn close(self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}
