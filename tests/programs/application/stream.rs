//! Unix and TCP sockets, as if they were the same.

use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;
use std::{fs, path::Path};

/// A listening socket.
pub(crate) enum Listener {
    Unix(UnixListener, String),
    Tcp(TcpListener),
}

/// A client's socket.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

// === impl Listener ===

impl Listener {
    /// Listens on `unix:PATH`, in place of a socket that another process has left there, or `IP:PORT`.
    pub(crate) fn bind(address: &str) -> io::Result<Self> {
        let Some(path) = address.strip_prefix("unix:") else {
            return Ok(Self::Tcp(TcpListener::bind(address)?));
        };
        if fs::metadata(Path::new(path)).is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        Ok(Self::Unix(UnixListener::bind(path)?, address.to_owned()))
    }

    pub(crate) fn address(&self) -> io::Result<String> {
        match self {
            Self::Unix(_, address) => Ok(address.clone()),
            Self::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
        }
    }

    pub(crate) fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(listener, _) => Stream::Unix(listener.accept()?.0),
            Self::Tcp(listener) => {
                let stream = listener.accept()?.0;
                // Each write is a piece of its own on the wire.
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        })
    }

    /// Ends [`accept`](Self::accept), for good.
    pub(crate) fn end(&self) {
        let socket: BorrowedFd<'_> = match self {
            Self::Unix(listener, _) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        };
        // It fails only where it has been done before.
        let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
    }
}

// === impl Stream ===

impl Stream {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }

    pub(crate) fn set_read_timeout(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(time),
            Self::Tcp(stream) => stream.set_read_timeout(time),
        }
    }

    /// Wakes its reader; nothing more comes in.
    pub(crate) fn end_reading(&self) {
        self.shut_down(Shutdown::Read);
    }

    pub(crate) fn end_writing(&self) {
        self.shut_down(Shutdown::Write);
    }

    fn shut_down(&self, how: Shutdown) {
        // It fails where the peer has gone, which a read or write tells, too.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(how),
            Self::Tcp(stream) => stream.shutdown(how),
        };
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
