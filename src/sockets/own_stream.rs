//! A client's connection that is no socket, but a stream that the program brings.
//!
//! Whether it has something to read can only be found out by reading, so what comes while that is asked is kept
//! for the next read.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::thread;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;

/// How many bytes are read at a time when it is asked whether there are any.
const AHEAD_MAX: usize = 2048;

/// What a server needs of a stream.
trait ByteStream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> ByteStream for S {}

/// A stream of the program's own.
pub(crate) struct OwnStream {
    stream: Pin<Box<dyn ByteStream>>,
    /// What was read, and not asked for yet.
    ahead: Bytes,
    /// The end was read, and not asked for yet.
    is_at_end: bool,
    /// Reading failed, and that was not asked for yet: the stream may not say so twice.
    failure: Option<io::Error>,
}

// === impl OwnStream ===

impl OwnStream {
    pub(crate) fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let stream = Box::pin(stream);
        Self { stream, ahead: Bytes::new(), is_at_end: false, failure: None }
    }

    /// Waits until there is something to read, the end and an error included.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.ahead.is_empty() || self.is_at_end || self.failure.is_some() {
            return Poll::Ready(());
        }
        let mut bytes = [0; AHEAD_MAX];
        let mut buf = ReadBuf::new(&mut bytes);
        match ready!(self.stream.as_mut().poll_read(cx, &mut buf)) {
            Ok(()) => {
                self.ahead = Bytes::copy_from_slice(buf.filled());
                self.is_at_end = self.ahead.is_empty();
            }
            Err(error) => self.failure = Some(error),
        }
        Poll::Ready(())
    }

    /// Tells whether there is something to read, the end not included.
    pub(super) fn has_unread(&mut self) -> bool {
        // A stream of tokio's says that there is nothing when the task has used up its turn.
        let readable = unconstrained(poll_fn(|cx| self.poll_readable(cx)));
        let _ = pin!(readable).poll(&mut Context::from_waker(Waker::noop()));
        !self.ahead.is_empty()
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Err(failure));
        }
        if self.is_at_end {
            return Poll::Ready(Ok(()));
        }
        if self.ahead.is_empty() {
            return self.stream.as_mut().poll_read(cx, buf);
        }
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, buf)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

impl Drop for OwnStream {
    /// Tells the client that nothing follows, where the stream's protocol has a way to say so: TLS takes an end
    /// without it for an attack.
    fn drop(&mut self) {
        // It may be the stream that has panicked: a second panic would end the process.
        if thread::panicking() {
            return;
        }
        // Already shut down, or the client does not read: there is nobody to tell it to.
        let _ = self.poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}

impl fmt::Debug for OwnStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnStream").field("ahead", &self.ahead).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says once that it is at its end, and then nothing.
    #[derive(Default)]
    struct Ends(bool);

    impl AsyncRead for Ends {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if std::mem::replace(&mut self.0, true) { Poll::Pending } else { Poll::Ready(Ok(())) }
        }
    }

    #[test]
    fn an_end_that_was_found_by_asking_is_told_to_who_reads() {
        let mut stream = OwnStream::new(tokio::io::join(Ends::default(), tokio::io::sink()));
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert!(stream.poll_readable(cx).is_ready());
            assert!(!stream.has_unread());
        }
        let mut bytes = [0; 8];
        let mut buf = ReadBuf::new(&mut bytes);
        assert!(matches!(stream.poll_read(cx, &mut buf), Poll::Ready(Ok(()))));
        assert!(buf.filled().is_empty());
    }
}
