//! Whether a client that sends no more is there at all.
//!
//! A client that has said its last word shuts its half of the connection down, and waits for the answer; one
//! that is gone looks just the same, until something is sent to it: its machine answers that with a reset. So
//! does a keep-alive probe, once the client's kernel has forgotten the connection, a minute later.

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
    /// Watches `socket`, of which the end of what the client sends has been read. The runtime tells that for
    /// ever, and so nothing after it, but of another descriptor.
    ///
    /// # Errors
    /// When there are no more descriptors; the answer's write finds it out, too.
    pub(crate) fn watch(socket: BorrowedFd<'_>) -> io::Result<Self> {
        // To the runtime any socket is the same.
        let socket = TcpStream::from_std(net::TcpStream::from(socket.try_clone_to_owned()?))?;
        Ok(Self(Box::pin(async move {
            // An error of the runtime, which ends, is the end of waiting as well.
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
