//! The socket as hyper sees it; each read and write is noted in the connection's activity.
//!
//! Answers to requests that came together leave together: hyper flushes after each of them, and such
//! a flush is put off until hyper asks for more input and there is none. hyper's own way to do so,
//! `pipeline_flush`, is not used: it holds an answer back while the beginning of another request
//! waits behind it, and it buffers a streamed body without bound. Writes are not vectored: hyper puts
//! head and body into one buffer, which costs less than keeping them apart.
//!
//! In the same way a second read of a fresh connection is put off until nothing else is left to do: if its first
//! request was also its last, it never has to be registered with the runtime.
//!
//! Invariants:
//! - A flush is put off only where hyper is going to read, and so to come back here, without being
//!   woken ([`Activity::may_put_off`]).
//! - No more than [`OUTBOX_MAX`] bytes are put off; larger writes go straight to the socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connections::parked::Idle;
use crate::connections::registry::Registration;
use crate::http::activity::Activity;
use crate::http::connection::joined;
use crate::http::disconnect::{ARE_YOU_THERE, Disconnect};

/// How many bytes wait for the next write to the socket at most.
const OUTBOX_MAX: usize = 16 << 10;

/// A connection's socket, lent to hyper.
#[derive(Debug)]
pub(crate) struct Io {
    pub(crate) idle: Idle,
    pub(crate) activity: Arc<Activity>,
    /// What hyper has written and the socket has not.
    outbox: BytesMut,
    /// Watches for a reset, once the client has shut its sending half down.
    gone: Option<Disconnect>,
    /// Last: of an upgraded connection the socket is closed before it stops to count as open.
    pub(crate) registration: Registration,
}

// === impl Io ===

impl Io {
    pub(crate) fn new(idle: Idle, activity: Arc<Activity>, registration: Registration) -> Self {
        if let Some(since) = idle.waits_since {
            activity.has_waited_since(since);
        }
        Self { idle, activity, outbox: BytesMut::new(), gone: None, registration }
    }

    /// Ready with an error once a client that sends no more is gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gone.is_none() {
            // Without it the write of the answer finds out.
            let asks = self.idle.stream.peer().tcp().is_some();
            let socket = self.idle.stream.socket();
            self.gone = socket.and_then(|socket| Disconnect::watch(socket, asks).ok());
        }
        let Some(gone) = &mut self.gone else { return Poll::Pending };
        if gone.poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if gone.poll_ask(cx).is_ready() && self.activity.may_be_told_to_continue() {
            self.put_off(ARE_YOU_THERE);
            // What does not go now goes with the answer.
            if let Poll::Ready(Err(error)) = self.poll_outbox(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Pending
    }

    /// Puts off some last words: they come behind what was put off before.
    pub(crate) fn put_off(&mut self, words: &[u8]) {
        self.outbox.extend_from_slice(words);
    }

    /// Writes what was put off.
    pub(crate) fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let written = self.idle.stream.poll_write(cx, &self.outbox);
            self.activity.written(written.is_pending());
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                // The common case, and it keeps the room for the next answer.
                all if all == self.outbox.len() => self.outbox.clear(),
                some => self.outbox.advance(some),
            }
        }
        let flushed = self.idle.stream.poll_flush(cx);
        if flushed.is_pending() {
            self.activity.written(true);
        }
        ready!(flushed)?;
        self.activity.flushed();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let unread = &mut self.idle.unread;
        if unread.is_empty() {
            if self.idle.stream.is_unregistered() && self.activity.put_off_reading() {
                return Poll::Pending;
            }
            // A change of the mode wakes the task.
            let is_deaf = self.activity.must_not_read();
            let read = if is_deaf { Poll::Pending } else { self.idle.stream.poll_read(cx, buf) };
            self.activity.read(read.is_pending());
            if read.is_pending() && !self.outbox.is_empty() {
                if let Poll::Ready(Err(error)) = self.poll_outbox(cx) {
                    return Poll::Ready(Err(error));
                }
            }
            ready!(read)?;
            if buf.filled().len() == before && self.activity.put_off_half_close() {
                return self.poll_gone(cx);
            }
        } else {
            buf.put_slice(&unread.split_to(unread.len().min(buf.remaining())));
        }
        let heard = self.activity.received(&buf.filled()[before..]);
        if heard.is_err() {
            if self.activity.wire().is_http2() {
                // It is for who speaks that.
                let read = Bytes::copy_from_slice(&buf.filled()[before..]);
                self.idle.unread = joined(read, std::mem::take(&mut self.idle.unread));
            }
            buf.set_filled(before);
        }
        Poll::Ready(
            heard.map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed)),
        )
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.activity.writes(buf);
        let direct = buf.len() > OUTBOX_MAX || !self.activity.is_buffered();
        if !self.outbox.is_empty() && (direct || self.outbox.len() + buf.len() > OUTBOX_MAX) {
            ready!(self.poll_outbox(cx))?;
        }
        if direct {
            let written = self.idle.stream.poll_write(cx, buf);
            self.activity.written(written.is_pending());
            return written;
        }
        self.outbox.extend_from_slice(buf);
        self.activity.unflushed();
        Poll::Ready(Ok(buf.len()))
    }

    /// hyper flushes when its own buffer is empty.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.outbox.is_empty() && self.activity.may_put_off() {
            return Poll::Ready(Ok(()));
        }
        self.poll_outbox(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outbox(cx))?;
        // Otherwise the connection's task closes the socket, at once or with a lingering close.
        if self.activity.is_switching() {
            return self.idle.stream.poll_shutdown(cx);
        }
        Poll::Ready(Ok(()))
    }
}
