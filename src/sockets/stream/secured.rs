//! TLS on a client's connection, as its stream has it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, recv};
use s2n_tls::error::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Socket, Stream};
use crate::tls::acceptor::{Acceptor, Shaken};
use crate::tls::secured::{Carried, Secured, Transport};
use crate::tls::session::TlsSession;

// === impl Stream ===

impl Stream {
    /// The same connection, on which TLS is going to be spoken.
    pub(crate) fn secured(self) -> Self {
        let peer = self.peer;
        Self::of(Socket::Tls(Box::new(Secured::expected(self))), peer)
    }

    /// A connection of another process, with its TLS.
    pub(crate) fn carried(self, carried: Carried) -> Self {
        let peer = self.peer;
        Self::of(Socket::Tls(Box::new(Secured::carried(self, carried))), peer)
    }

    /// What the next process has to know of its TLS; none unless it is [settled](Stream::settle).
    pub(crate) fn carry(&self) -> Option<Carried> {
        self.tls().and_then(Secured::carry)
    }

    /// Tells whether TLS is spoken on it.
    pub(crate) fn is_secured(&self) -> bool {
        self.tls().is_some()
    }

    /// Tells a client that nothing follows: with TLS it does not take the end of the connection for that, and parked
    /// ones are closed without a word.
    pub(crate) fn say_end(&mut self) {
        if self.is_secured() {
            self.shutdown_now();
        }
    }

    /// Tells whether a handshake has to come first.
    pub(crate) fn expects_handshake(&self) -> bool {
        self.tls().is_some_and(Secured::is_expected)
    }

    /// Tells whether a record has begun to come, the next request's most likely.
    pub(crate) fn has_begun_record(&self) -> bool {
        self.tls().is_some_and(Secured::has_begun_record)
    }

    /// What there is to know of its TLS; none if it has none.
    pub(crate) fn tls_session(&self) -> Option<TlsSession> {
        self.tls().map(|tls| TlsSession::new(tls.certificate().cloned()))
    }

    /// The first byte that the client has sent, if it has; it stays to be read.
    ///
    /// # Errors
    /// When the client has closed the connection.
    pub(crate) fn first_byte(&self) -> io::Result<Option<u8>> {
        let (mut first, socket) = ([0], self.socket().ok_or(io::ErrorKind::NotConnected)?);
        match retry_on_intr(|| recv(socket, &mut first, RecvFlags::PEEK)) {
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(Some(first[0])),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the handshake.
    ///
    /// # Errors
    /// When it fails; the connection below is then as it was, for an orderly end.
    pub(crate) async fn shake(&mut self, acceptor: &Acceptor) -> Result<(), Error> {
        let Socket::Tls(secured) = &mut self.socket else { return Ok(()) };
        let Some(stream) = secured.stream_mut() else { return Ok(()) };
        let Shaken { connection, certificate } = acceptor.accept(stream).await?;
        secured.shaken(connection, certificate);
        Ok(())
    }

    /// Waits until there is something to read, without being parked.
    pub(crate) fn poll_first_request(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.socket {
            Socket::Tls(secured) if !secured.has_buffered() => {
                secured.stream_mut().map_or(Poll::Ready(()), |stream| stream.poll_readable(cx))
            }
            _ => Poll::Ready(()),
        }
    }

    /// See [`Secured::settle`]; a stream without TLS may leave at any time.
    pub(crate) fn settle(&mut self, unread: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tls(secured) => secured.settle(unread),
            _ => Ok(()),
        }
    }

    /// Goes on without TLS: what comes from here on is only discarded, or the client does not speak TLS at all.
    pub(crate) fn discard_tls(&mut self) {
        if let Socket::Tls(secured) = &mut self.socket {
            self.socket = secured.take_stream().map_or(Socket::Lost, |stream| stream.socket);
        }
    }

    fn tls(&self) -> Option<&Secured<Self>> {
        match &self.socket {
            Socket::Tls(secured) => Some(secured),
            _ => None,
        }
    }
}

impl Transport for Stream {
    /// Without the runtime where that is not necessary, see [`Stream::read_first`].
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_unregistered() && !matches!(self.first_byte(), Ok(None)) {
            return Poll::Ready(());
        }
        Self::poll_readable(self, cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Self::poll_read(&mut self, cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write(&mut self, cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(&mut self, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(&mut self, cx)
    }
}
