//! A connection between two requests: a socket, and what was read too far.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::ReadBuf;

use crate::connections::body_remainder::Remainder;
use crate::connections::limits::Timeout;
use crate::sockets::stream::Stream;

/// A connection between two requests.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) stream: Stream,
    /// Bytes that were read but not answered: the beginning of a request.
    pub(crate) unread: Bytes,
    /// What comes first, of `unread` and then of the stream, and belongs to the body of a request that
    /// has been answered already.
    pub(crate) skip: Option<Remainder>,
    /// What is waited for now.
    pub(crate) waiting: Timeout,
}

// === impl Idle ===

impl Idle {
    /// A connection that was just accepted.
    pub(crate) fn fresh(stream: Stream) -> Self {
        Self { stream, unread: Bytes::new(), skip: None, waiting: Timeout::FirstByte }
    }

    /// Tells whether no request follows: the connection is only seen off.
    pub(crate) fn is_in_lingering_close(&self) -> bool {
        self.discarded().is_some()
    }

    /// Says that nothing follows to a client that may still be sending a body that nobody wants; answers whether
    /// it may. It has its answer, and looks for that behind the body.
    pub(crate) fn begin_lingering_close(&mut self) -> bool {
        let owes = self.skip.is_some();
        if owes {
            // If the client is gone, that is found out.
            let _ = self.stream.shutdown();
            self.unread = Bytes::new();
            self.skip = Some(Remainder::UntilClose(0));
        }
        owes
    }

    /// How much has come, of a connection that is seen off.
    pub(crate) fn discarded(&self) -> Option<u64> {
        match self.skip {
            Some(Remainder::UntilClose(count)) => Some(count),
            Some(Remainder::Counted(_) | Remainder::Chunked(_)) | None => None,
        }
    }

    /// Tells whether another process has left it to us with nothing said that waits for an answer.
    pub(crate) fn is_taken_over(&self) -> bool {
        !self.stream.is_fresh() && self.unread.is_empty() && self.skip.is_none()
    }

    /// Waits until there is something of the next request, its end included, having skipped what
    /// belongs to the one before.
    pub(crate) fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = &mut self.skip {
            let mut scratch = [0; 4096];
            if self.unread.is_empty() {
                let mut buf = ReadBuf::new(&mut scratch);
                ready!(self.stream.poll_read(cx, &mut buf))?;
                if buf.filled().is_empty() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                let (skipped, is_end) = rest.advance(buf.filled()).map_err(io::Error::other)?;
                self.unread = Bytes::copy_from_slice(&buf.filled()[skipped..]);
                self.skip.take_if(|_| is_end);
            } else {
                let (skipped, is_end) = rest.advance(&self.unread).map_err(io::Error::other)?;
                self.unread.advance(skipped);
                self.skip.take_if(|_| is_end);
            }
        }
        loop {
            // Line ends before a request belong to none, RFC 9112 section 2.2.
            let ends = self.unread.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.unread.advance(ends);
            if !self.unread.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.stream.read_first()? {
                Some(first) => self.unread = first,
                None => return self.stream.poll_readable(cx).map(Ok),
            }
        }
    }
}
