//! Whether a client that sends no more is still there.
//!
//! A client may shut its sending half down after the last request, and wait for the answer. One that has closed
//! the connection looks the same until something is sent to it: its kernel answers that with a reset. So a client whose
//! request takes long is sent `100 Continue`, which one that is there discards (RFC 9110, 15.2.1). Of a Unix socket the
//! kernel tells by itself that the other end is closed.

use std::fmt;
use std::io;
use std::net;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// For how long a request has no answer before its client is sent something: most have one earlier, and some who shut
/// their half down are scripts that expect nothing else.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// What is sent.
pub(crate) const ARE_YOU_THERE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Waits for the client to be gone.
pub(crate) struct Disconnect {
    gone: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Until the client is to be sent something; none: it has been, or need not be.
    ask: Option<Pin<Box<Sleep>>>,
}

// === impl Disconnect ===

impl Disconnect {
    /// Watches `socket`, of which the end of what the client sends has been read, through another descriptor: for
    /// the first the runtime has that end to report, and no later event. `asks`: only a client that is sent something
    /// can be told from one that is gone.
    ///
    /// # Errors
    /// When there are no more descriptors; then the write of the answer finds out.
    pub(crate) fn watch(socket: BorrowedFd<'_>, asks: bool) -> io::Result<Self> {
        // As a TCP socket, whatever it is: the runtime treats all alike.
        let socket = TcpStream::from_std(net::TcpStream::from(socket.try_clone_to_owned()?))?;
        let ask = asks.then(|| Box::pin(sleep(ASK_AFTER)));
        Ok(Self { gone: Box::pin(gone(socket)), ask })
    }

    /// Ready once the client is gone.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.gone.as_mut().poll(cx)
    }

    /// Ready once, when the client is to be sent something.
    pub(crate) fn poll_ask(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.ask.take_if(|ask| ask.as_mut().poll(cx).is_ready());
        if due.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Waits until nothing can be sent any more: TCP tells of a reset, and a Unix socket that the other end is closed.
async fn gone(socket: TcpStream) {
    // Fails only when the runtime ends, which ends the wait as well.
    while let Ok(ready) = socket.ready(Interest::ERROR | Interest::WRITABLE).await {
        if ready.is_error() || ready.is_write_closed() {
            return;
        }
        // Has the runtime wait for the next event.
        let blocked = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = socket.try_io(Interest::WRITABLE, blocked);
    }
}

impl fmt::Debug for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disconnect")
    }
}
