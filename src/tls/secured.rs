//! A connection's TLS: before the handshake, open, or parked as bytes.
//!
//! ```text
//!  Expected ── handshake ──► Open ◄── read, written, shut down ── Parked
//!                              └────── nothing to read ────────────►
//! ```
//!
//! # Source
//! RFC 8446 sections 4.6.3 (`KeyUpdate`) and 6.1 (`close_notify`).

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker, ready};
use std::thread;

use s2n_tls::config::{Builder, Config};
use s2n_tls::connection::Connection;
use s2n_tls::enums::{PeerKeyUpdate, SerializationVersion};
use s2n_tls_tokio::TlsStream;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use zeroize::Zeroize;

use crate::tls::acceptor::policy;

/// What a connection needs of the stream below it.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Waits until there is something to read, the end and an error included.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A connection that speaks TLS, or is going to.
pub(crate) struct Secured<S: Transport> {
    state: State<S>,
    /// What the client has shown at the handshake, in DER.
    certificate: Option<Arc<[u8]>>,
    /// Since when the rest of a record has been waited for, to leave the process.
    within_record_since: Option<Instant>,
    /// A write has not come to its end. s2n has encrypted some of its bytes already: it has to be repeated with them.
    is_within_write: bool,
}

enum State<S: Transport> {
    /// Nothing of the handshake has been read.
    Expected(S),
    Open(TlsStream<Below<S>>),
    Parked(S, Saved),
    /// While one becomes the other, and when that has failed.
    Lost,
}

/// The stream below an open connection.
struct Below<S> {
    stream: S,
    /// Something has come that was no data, and nothing has been sent since: it may have asked for other keys, and that
    /// is answered before the next data.
    was_control: bool,
    /// Something has been read since that was asked last.
    has_read: bool,
}

/// The state of a connection between two records. It is key material.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Saved {
    bytes: Vec<u8>,
    /// The client may have asked for other keys, and has not been told that they are used from here on.
    owes_key_update: bool,
}

/// Where a connection stands, for the next process.
#[derive(Deserialize, Serialize)]
pub(crate) struct Carried {
    /// None: the handshake has not begun.
    saved: Option<Saved>,
    certificate: Option<Vec<u8>>,
}

/// The most plaintext of one record.
const RECORD_MAX: usize = 16 << 10;

/// What connections have after their handshake: no certificates, and no tickets, which they have had.
static CONTINUED: LazyLock<Result<Config, s2n_tls::error::Error>> = LazyLock::new(|| {
    let mut builder = Builder::new();
    builder
        .set_security_policy(&policy()?)?
        .set_serialization_version(SerializationVersion::V1)?
        .set_max_blinding_delay(0)?;
    builder.build()
});

// === impl Secured ===

impl<S: Transport> Secured<S> {
    /// A connection whose handshake has not begun.
    pub(crate) fn expected(stream: S) -> Self {
        Self::new(State::Expected(stream), None)
    }

    /// A connection of another process.
    pub(crate) fn carried(stream: S, carried: Carried) -> Self {
        let state = match carried.saved {
            Some(saved) => State::Parked(stream, saved),
            None => State::Expected(stream),
        };
        Self::new(state, carried.certificate.map(Arc::from))
    }

    fn new(state: State<S>, certificate: Option<Arc<[u8]>>) -> Self {
        Self { state, certificate, within_record_since: None, is_within_write: false }
    }

    /// Goes on with what the handshake has come to.
    pub(crate) fn shaken(&mut self, connection: Connection, certificate: Option<Arc<[u8]>>) {
        if let State::Expected(stream) = std::mem::replace(&mut self.state, State::Lost) {
            self.state = State::Open(TlsStream::from_parts(connection, Below::new(stream)));
            self.certificate = certificate;
        }
    }

    /// Tells whether the handshake has not been brought to its end.
    pub(crate) fn is_expected(&self) -> bool {
        matches!(self.state, State::Expected(_))
    }

    /// The certificate that the client has shown, in DER.
    pub(crate) fn certificate(&self) -> Option<&Arc<[u8]>> {
        self.certificate.as_ref()
    }

    /// The stream below.
    pub(crate) fn stream(&self) -> Option<&S> {
        match &self.state {
            State::Expected(stream) | State::Parked(stream, _) => Some(stream),
            State::Open(stream) => Some(&stream.get_ref().stream),
            State::Lost => None,
        }
    }

    /// The stream below, for reading what is in the kernel; who reads from an open or parked one breaks it.
    pub(crate) fn stream_mut(&mut self) -> Option<&mut S> {
        match &mut self.state {
            State::Expected(stream) | State::Parked(stream, _) => Some(stream),
            State::Open(stream) => Some(&mut stream.get_mut().stream),
            State::Lost => None,
        }
    }

    /// The stream below, taken out.
    pub(crate) fn take_stream(&mut self) -> Option<S> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Expected(stream) | State::Parked(stream, _) => Some(stream),
            State::Open(stream) => Some(stream.into_parts().1.stream),
            State::Lost => None,
        }
    }

    /// Tells whether there is something to read that is not in the kernel any more.
    pub(crate) fn has_buffered(&self) -> bool {
        matches!(&self.state, State::Open(stream) if stream.as_ref().peek_len() > 0)
    }

    /// Waits until there is something to read, and is parked meanwhile.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_buffered() {
            return Poll::Ready(());
        }
        let Some(stream) = self.stream_mut() else { return Poll::Ready(()) };
        ready_or(stream.poll_readable(cx), || {
            self.park();
        })
    }

    /// Ready once the connection is parked, or its handshake has not begun: then it may go to another process. What
    /// has to be read for that goes to `unread`: the rest of one record.
    ///
    /// # Errors
    /// When the connection is at its end.
    pub(crate) fn poll_settled(
        &mut self,
        cx: &mut Context<'_>,
        unread: &mut Vec<u8>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.is_expected() || self.park() {
                return Poll::Ready(Ok(()));
            }
            let mut bytes = vec![0; RECORD_MAX];
            let mut buf = ReadBuf::new(&mut bytes);
            match self.poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Ok(())) => unread.extend_from_slice(buf.filled()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // What has come may have been no data, and the last of its record.
                Poll::Pending if self.park() => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    self.within_record_since.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Since when the rest of a record has been waited for, if it is.
    pub(crate) fn within_record_since(&self) -> Option<Instant> {
        self.within_record_since
    }

    /// What the next process has to know; none unless it is [settled](Secured::poll_settled).
    pub(crate) fn carry(&self) -> Option<Carried> {
        let saved = match &self.state {
            State::Expected(_) => None,
            State::Parked(_, saved) => Some(saved.clone()),
            State::Open(_) | State::Lost => return None,
        };
        Some(Carried { saved, certificate: self.certificate.as_ref().map(|der| der.to_vec()) })
    }

    /// Tells whether a write has not come to its end.
    pub(crate) fn is_within_write(&self) -> bool {
        self.is_within_write
    }

    /// Takes an open connection apart, if it is between two records; answers whether it is parked.
    fn park(&mut self) -> bool {
        if self.is_within_write {
            return false;
        }
        let State::Open(stream) = &self.state else {
            return matches!(self.state, State::Parked(..));
        };
        let owes_key_update = stream.get_ref().was_control;
        let Some(saved) = Saved::of(stream.as_ref(), owes_key_update) else { return false };
        if let State::Open(stream) = std::mem::replace(&mut self.state, State::Lost) {
            self.state = State::Parked(stream.into_parts().1.stream, saved);
        }
        true
    }

    /// The open connection, put together again if it was parked.
    fn open(&mut self) -> io::Result<&mut TlsStream<Below<S>>> {
        if let State::Parked(_, saved) = &self.state {
            let connection = saved.connection()?;
            if let State::Parked(stream, _) = std::mem::replace(&mut self.state, State::Lost) {
                let below = Below::new(stream);
                self.state = State::Open(TlsStream::from_parts(connection, below));
            }
        }
        match &mut self.state {
            State::Open(stream) => Ok(stream),
            State::Expected(_) | State::Parked(..) | State::Lost => Err(lost()),
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.open()?;
        stream.get_mut().has_read = false;
        let polled = Pin::new(&mut *stream).poll_read(cx, buf);
        let below = stream.get_mut();
        // s2n reads on until there is data, or nothing more.
        below.was_control |= below.has_read && polled.is_pending();
        if polled.is_ready() {
            self.within_record_since = None;
        }
        polled
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.open()?;
        let polled = Pin::new(&mut *stream).poll_write(cx, buf);
        if polled.is_ready() {
            stream.get_mut().was_control = false;
        }
        self.is_within_write = polled.is_pending();
        polled
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Open(stream) => Pin::new(stream).poll_flush(cx),
            // What is parked has nothing left to send.
            State::Expected(_) | State::Parked(..) | State::Lost => Poll::Ready(Ok(())),
        }
    }

    /// Tells the client that nothing follows, and shuts the sending half of the stream below down.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let State::Expected(stream) = &mut self.state {
            return Pin::new(stream).poll_shutdown(cx);
        }
        Pin::new(self.open()?).poll_shutdown(cx)
    }
}

/// Answers `polled`, after `pending` if it is not ready.
fn ready_or<T>(polled: Poll<T>, pending: impl FnOnce()) -> Poll<T> {
    if polled.is_pending() {
        pending();
    }
    Poll::Ready(ready!(polled))
}

impl<S: Transport> Drop for Secured<S> {
    /// Tells the client that nothing follows: an end without that may be an attack. Of a parked connection this is
    /// not done, as another process may have it.
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        if let State::Open(stream) = &mut self.state {
            // Already shut down, or the client does not read: there is nobody to tell it to.
            let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl<S: Transport> fmt::Debug for Secured<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Expected(_) => "Expected",
            State::Open(_) => "Open",
            State::Parked(..) => "Parked",
            State::Lost => "Lost",
        };
        f.debug_tuple("Secured").field(&state).finish()
    }
}

// === impl Below ===

impl<S> Below<S> {
    fn new(stream: S) -> Self {
        Self { stream, was_control: false, has_read: false }
    }
}

impl<S: Transport> AsyncRead for Below<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.has_read |= buf.filled().len() > before;
        polled
    }
}

impl<S: Transport> AsyncWrite for Below<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

// === impl Saved ===

impl Saved {
    /// None where the connection is within a record, or has come to its end.
    fn of(connection: &Connection, owes_key_update: bool) -> Option<Self> {
        let bytes = vec![0; connection.serialization_length().ok()?];
        let mut saved = Self { bytes, owes_key_update };
        connection.serialize(&mut saved.bytes).ok()?;
        Some(saved)
    }

    fn connection(&self) -> io::Result<Connection> {
        let config = CONTINUED.as_ref().map_err(io::Error::other)?;
        let mut connection = Connection::new_server();
        connection.set_config(config.clone())?;
        connection.deserialize(&self.bytes)?;
        if self.owes_key_update {
            // TLS 1.2 knows no other keys.
            let _ = connection.request_key_update(PeerKeyUpdate::KeyUpdateNotRequested);
        }
        Ok(connection)
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Saved {
    /// Without the bytes: they are keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Saved")
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carried")
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the TLS connection cannot go on")
}
