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
use zeroize::Zeroize;

use crate::tls::acceptor::policy;
use crate::tls::records::{Records, Unfinished};

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
    /// Something has come that was no data, and nothing has been sent since: it may have asked for other keys, and that is
    /// answered before the next data.
    owes_key_update: bool,
}

enum State<S: Transport> {
    /// Nothing of the handshake has been read.
    Expected(S),
    /// Boxed: a parked connection does not keep the room for it.
    Open(Box<TlsStream<Records<S>>>),
    Parked(S, Saved),
    /// While one becomes the other, and when that has failed.
    Lost,
}

/// The state of a connection between two records. It is key material.
#[derive(Clone, Deserialize, Serialize)]
struct Saved {
    bytes: Box<[u8]>,
    /// Boxed: most of the time there is nothing.
    unfinished: Option<Box<Unfinished>>,
}

/// Where a connection stands, for the next process.
#[derive(Deserialize, Serialize)]
pub(crate) struct Carried {
    /// None: the handshake has not begun.
    saved: Option<Saved>,
    certificate: Option<Vec<u8>>,
    owes_key_update: bool,
}

/// The most plaintext of one record.
const RECORD_MAX: usize = 16 << 10;

/// What connections have after their handshake: no certificates, and no tickets, which they have had.
static CONTINUED: LazyLock<Result<Config, s2n_tls::error::Error>> = LazyLock::new(|| {
    let mut builder = Builder::new();
    builder
        .with_system_certs(false)?
        .set_security_policy(&policy()?)?
        .set_serialization_version(SerializationVersion::V1)?
        .set_max_blinding_delay(0)?;
    builder.build()
});

// === impl Secured ===

impl<S: Transport> Secured<S> {
    /// A connection whose handshake has not begun.
    pub(crate) fn expected(stream: S) -> Self {
        Self { state: State::Expected(stream), certificate: None, owes_key_update: false }
    }

    /// A connection of another process.
    pub(crate) fn carried(stream: S, carried: Carried) -> Self {
        let Carried { saved, certificate, owes_key_update } = carried;
        let state = match saved {
            Some(saved) => State::Parked(stream, saved),
            None => State::Expected(stream),
        };
        Self { state, certificate: certificate.map(Arc::from), owes_key_update }
    }

    /// Goes on with what the handshake has come to.
    pub(crate) fn shaken(&mut self, connection: Connection, certificate: Option<Arc<[u8]>>) {
        if let State::Expected(stream) = std::mem::replace(&mut self.state, State::Lost) {
            let records = Records::new(stream, Unfinished::default());
            self.state = State::Open(Box::new(TlsStream::from_parts(connection, records)));
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

    /// The stream below, for the handshake, and to wait for it; who reads from an open or parked one breaks it.
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
            State::Open(stream) => Some(stream.into_parts().1.into_parts().0),
            State::Lost => None,
        }
    }

    /// Tells whether there is something to read that is not in the kernel any more.
    pub(crate) fn has_buffered(&self) -> bool {
        match &self.state {
            State::Open(stream) => {
                (**stream).as_ref().peek_len() > 0 || stream.get_ref().has_record()
            }
            State::Parked(_, saved) => {
                saved.unfinished.as_ref().is_some_and(|unfinished| unfinished.record().is_some())
            }
            State::Expected(_) | State::Lost => false,
        }
    }

    /// Tells whether a record has begun to come.
    pub(crate) fn has_begun_record(&self) -> bool {
        match &self.state {
            State::Open(stream) => stream.get_ref().has_come(),
            State::Parked(_, Saved { unfinished, .. }) => {
                unfinished.as_ref().is_some_and(|unfinished| unfinished.has_come())
            }
            State::Expected(_) | State::Lost => false,
        }
    }

    /// Waits until there is something to read, and is parked meanwhile.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What the client has not taken yet goes out as soon as it can; an error is found again by a read.
        let _ = self.poll_drain(cx);
        if self.has_buffered() {
            return Poll::Ready(());
        }
        let Some(stream) = self.stream_mut() else { return Poll::Ready(()) };
        let readable = stream.poll_readable(cx);
        if readable.is_pending() {
            self.park();
        }
        readable
    }

    /// Writes what the stream below has not taken yet.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Open(stream) => stream.get_mut().poll_drain(cx),
            State::Parked(stream, saved) => match &mut saved.unfinished {
                Some(unfinished) => unfinished.poll_drain(stream, cx),
                None => Poll::Ready(Ok(())),
            },
            State::Expected(_) | State::Lost => Poll::Ready(Ok(())),
        }
    }

    /// Parks the connection, so that it may go to another process. What has been decrypted already, the rest of a
    /// record, goes to `unread`.
    ///
    /// # Errors
    /// When it has come to its end, in one direction at least: then s2n cannot be taken apart.
    pub(crate) fn settle(&mut self, unread: &mut Vec<u8>) -> io::Result<()> {
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            if self.is_expected() || self.park() {
                return Ok(());
            }
            let has_rest = matches!(&self.state, State::Open(it) if (**it).as_ref().peek_len() > 0);
            let mut bytes = vec![0; RECORD_MAX];
            let mut buf = ReadBuf::new(&mut bytes);
            match self.poll_read(cx, &mut buf) {
                Poll::Ready(read) if has_rest => read?,
                _ => return Err(lost()),
            }
            unread.extend_from_slice(buf.filled());
        }
    }

    /// What the next process has to know; none unless it is [settled](Secured::settle).
    pub(crate) fn carry(&self) -> Option<Carried> {
        let saved = match &self.state {
            State::Expected(_) => None,
            State::Parked(_, saved) => Some(saved.clone()),
            State::Open(_) | State::Lost => return None,
        };
        let certificate = self.certificate.as_ref().map(|der| der.to_vec());
        Some(Carried { saved, certificate, owes_key_update: self.owes_key_update })
    }

    /// Tells whether there is nothing to read or to write that is not in the kernel; it is parked then.
    pub(crate) fn rests(&mut self) -> bool {
        self.is_expected()
            || (self.park()
                && matches!(&self.state, State::Parked(_, saved) if saved.unfinished.is_none()))
    }

    /// Takes an open connection apart, if there is nothing decrypted in it; answers whether it is parked.
    fn park(&mut self) -> bool {
        let State::Open(stream) = &self.state else {
            return matches!(self.state, State::Parked(..));
        };
        let Some(bytes) = serialized((**stream).as_ref()) else { return false };
        if let State::Open(stream) = std::mem::replace(&mut self.state, State::Lost) {
            let (stream, unfinished) = stream.into_parts().1.into_parts();
            let unfinished = (!unfinished.is_empty()).then(|| Box::new(unfinished));
            self.state = State::Parked(stream, Saved { bytes, unfinished });
        }
        true
    }

    /// The open connection, put together again if it was parked.
    fn open(&mut self) -> io::Result<&mut TlsStream<Records<S>>> {
        if let State::Parked(_, saved) = &self.state {
            let connection = saved.connection(self.owes_key_update)?;
            if let State::Parked(stream, mut saved) =
                std::mem::replace(&mut self.state, State::Lost)
            {
                let unfinished = saved.unfinished.take().map_or_else(Unfinished::default, |it| *it);
                let records = Records::new(stream, unfinished);
                self.state = State::Open(Box::new(TlsStream::from_parts(connection, records)));
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
        stream.get_mut().count_anew();
        let before = buf.filled().len();
        let polled = Pin::new(&mut *stream).poll_read(cx, buf);
        // s2n reads on until there is data, or nothing more.
        let with_data = usize::from(buf.filled().len() > before);
        self.owes_key_update |= stream.get_ref().records() > with_data;
        polled
    }

    /// Writes one record at most, once the stream below has taken the last: so that no more than one waits for it.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.open()?;
        ready!(stream.get_mut().poll_drain(cx))?;
        let written = Pin::new(stream).poll_write(cx, &buf[..buf.len().min(RECORD_MAX)]);
        self.owes_key_update &= !matches!(written, Poll::Ready(Ok(_)));
        written
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(cx)
    }

    /// Tells the client that nothing follows, and shuts the sending half of the stream below down.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let State::Expected(stream) = &mut self.state {
            return Pin::new(stream).poll_shutdown(cx);
        }
        Pin::new(self.open()?).poll_shutdown(cx)
    }
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
            let _ = Pin::new(&mut **stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
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

// === impl Saved ===

impl Saved {
    fn connection(&self, owes_key_update: bool) -> io::Result<Connection> {
        let config = CONTINUED.as_ref().map_err(io::Error::other)?;
        let mut connection = Connection::new_server();
        connection.set_config(config.clone())?;
        connection.deserialize(&self.bytes)?;
        if owes_key_update {
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

/// A connection's state in bytes; none where something decrypted is in it, or it has come to its end.
fn serialized(connection: &Connection) -> Option<Box<[u8]>> {
    let mut bytes = vec![0; connection.serialization_length().ok()?].into_boxed_slice();
    connection.serialize(&mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Debug for Carried {
    /// Without the bytes: they are keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Carried")
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the TLS connection cannot go on")
}
