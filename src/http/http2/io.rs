//! The socket as hyper's HTTP/2 sees it.
//!
//! hyper writes a frame's head and its content apart, and the kernel would be asked twice for each. So what it writes
//! is gathered until it flushes, which it does whenever it has nothing more to write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::streams::Streams;
use crate::connections::limits::Timeout;
use crate::connections::parked::Idle;

/// How many bytes are gathered at most: two frames of the largest size that hyper sends.
const OUTBOX_MAX: usize = 2 * (16 << 10) + 18;

/// A connection's socket, lent to hyper; it is given back when hyper drops this.
#[derive(Debug)]
pub(super) struct Io {
    idle: Option<Idle>,
    outbox: BytesMut,
    streams: Arc<Streams>,
}

// === impl Io ===

impl Io {
    pub(super) fn new(idle: Idle, streams: Arc<Streams>) -> Self {
        Self { idle: Some(idle), outbox: BytesMut::new(), streams }
    }

    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { idle: Some(idle), outbox, streams } = self else { return Poll::Ready(lost()) };
        while !outbox.is_empty() {
            let written = idle.stream.poll_write(cx, outbox);
            streams.written(written.is_pending());
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => outbox.advance(length),
            }
        }
        // A connection may be idle for long.
        *outbox = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { idle: Some(idle), streams, .. } = &mut *self else {
            return Poll::Ready(lost());
        };
        let before = buf.filled().len();
        if idle.unread.is_empty() {
            ready!(idle.stream.poll_read(cx, buf))?;
        } else {
            let length = idle.unread.len().min(buf.remaining());
            buf.put_slice(&idle.unread.split_to(length));
        }
        streams.read(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.outbox.len() + buf.len() > OUTBOX_MAX {
            ready!(self.poll_outbox(cx))?;
        }
        let length = buf.len().min(OUTBOX_MAX);
        self.outbox.extend_from_slice(&buf[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outbox(cx))?;
        let Self { idle: Some(idle), streams, .. } = &mut *self else {
            return Poll::Ready(lost());
        };
        let flushed = idle.stream.poll_flush(cx);
        streams.flushed(flushed.is_ready());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outbox(cx))?;
        match &mut self.idle {
            Some(idle) => idle.stream.poll_shutdown(cx),
            None => Poll::Ready(lost()),
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if let Some(Idle { stream, .. }) = self.idle.take() {
            let (unread, waiting) = (Bytes::new(), Timeout::Idle);
            let idle = Idle { stream, unread, skip: None, waiting, waits_since: None };
            self.streams.give_back(idle);
        }
    }
}

/// The socket is there until this is dropped.
fn lost<T>() -> io::Result<T> {
    Err(io::ErrorKind::NotConnected.into())
}
