//! A connection between two requests: a socket, and what was read too far.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

use crate::limits::Waiting;
use crate::stream::Stream;

/// A connection between two requests.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) stream: Stream,
    /// Bytes that were read but not answered: the beginning of a request.
    pub(crate) unread: Bytes,
    /// How many bytes come first, of `unread` and then of the stream, that belong to the body of
    /// a request that has been answered already.
    pub(crate) skip: u64,
    /// What is waited for now.
    pub(crate) waiting: Waiting,
}

// === impl Idle ===

impl Idle {
    /// A connection that was just accepted.
    pub(crate) fn fresh(stream: Stream) -> Self {
        Self { stream, unread: Bytes::new(), skip: 0, waiting: Waiting::FirstByte }
    }

    /// Waits until there is something of the next request, its end included, having skipped what
    /// belongs to the one before.
    pub(crate) fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let unread = u64::try_from(self.unread.len()).unwrap_or(u64::MAX);
        let skipped = self.skip.min(unread);
        self.skip -= skipped;
        self.unread.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
        while self.skip > 0 {
            let mut scratch = [0; 4096];
            let most = usize::try_from(self.skip).unwrap_or(usize::MAX).min(scratch.len());
            let mut buf = ReadBuf::new(&mut scratch[..most]);
            ready!(self.stream.poll_read(cx, &mut buf))?;
            match buf.filled().len() as u64 {
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                read => self.skip -= read,
            }
        }
        if self.unread.is_empty() {
            match self.stream.read_first()? {
                Some(first) => self.unread = first,
                None => return self.stream.poll_readable(cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}
