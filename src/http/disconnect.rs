//! Whether a client that sends no more is still there.
//!
//! A client may shut its sending half down after the last request, and wait for the answer. One that has closed
//! the connection looks the same until something is sent to it: its kernel answers that with a reset. It answers
//! a keep-alive probe in the same way, once it has forgotten the connection, about a minute later.

use std::fmt;
use std::io;
use std::net;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Waits for a reset.
pub(crate) struct Disconnect(Pin<Box<dyn Future<Output = ()> + Send>>);

// === impl Disconnect ===

impl Disconnect {
    /// Watches `socket`, of which the end of what the client sends has been read, through another descriptor: for
    /// the first the runtime has that end to report, and no later event.
    ///
    /// # Errors
    /// When there are no more descriptors; then the write of the answer finds out.
    pub(crate) fn watch(socket: BorrowedFd<'_>) -> io::Result<Self> {
        // As a TCP socket, whatever it is: the runtime treats all alike.
        let socket = TcpStream::from_std(net::TcpStream::from(socket.try_clone_to_owned()?))?;
        Ok(Self(Box::pin(async move {
            // Fails only when the runtime ends, which ends the wait as well.
            let _ = socket.ready(Interest::ERROR).await;
        })))
    }

    /// Ready once the client is gone.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disconnect")
    }
}
