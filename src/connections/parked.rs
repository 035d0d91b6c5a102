//! A connection between two requests: a socket, and what was read of the next request.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

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
    /// The rest of the body of a request that has been answered already. It comes first, in `unread` and then
    /// from the stream, and is skipped.
    pub(crate) skip: Option<Remainder>,
    /// What is waited for now.
    pub(crate) waiting: Timeout,
    /// `unread` begins with a request that has been read before, and went back; it has waited since then.
    pub(crate) waits_since: Option<Instant>,
}

// === impl Idle ===

impl Idle {
    /// A connection that was just accepted.
    pub(crate) fn fresh(stream: Stream) -> Self {
        let waiting = Timeout::FirstByte;
        Self { stream, unread: Bytes::new(), skip: None, waiting, waits_since: None }
    }

    /// Tells whether no request follows: what still comes is discarded until the client closes.
    pub(crate) fn is_in_lingering_close(&self) -> bool {
        self.discarded().is_some()
    }

    /// Begins a lingering close if the client may still be sending a body: it looks for its answer, which it has
    /// got, only when it has sent all of the body. Answers whether it may.
    pub(crate) fn begin_lingering_close(&mut self) -> bool {
        let owes = self.skip.is_some();
        if owes {
            self.stream.shutdown_now();
            #[cfg(feature = "tls")]
            self.stream.discard_tls();
            self.unread = Bytes::new();
            self.skip = Some(Remainder::UntilClose(0));
        }
        owes
    }

    /// Brings the connection to where it may go to another process: with TLS between two records.
    ///
    /// # Errors
    /// When it has come to its end.
    #[cfg(feature = "tls")]
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        let mut read = Vec::new();
        self.stream.settle(&mut read)?;
        if !read.is_empty() {
            self.unread = [&self.unread[..], &read].concat().into();
        }
        Ok(())
    }

    /// Notes what is waited for where a record begins to come, or has come and held no request. Answers whether the time
    /// for that begins now: a record is as much of a request as its first byte is in clear text.
    #[cfg(feature = "tls")]
    pub(crate) fn begins_record(&mut self) -> bool {
        let (has_begun, was) = (self.stream.has_begun_record(), self.waiting == Timeout::Head);
        if has_begun != was {
            self.waiting = if has_begun { Timeout::Head } else { Timeout::Idle };
        }
        has_begun && !was
    }

    /// How many bytes have been discarded, in a lingering close.
    pub(crate) fn discarded(&self) -> Option<u64> {
        match self.skip {
            Some(Remainder::UntilClose(count)) => Some(count),
            Some(Remainder::Counted(_) | Remainder::Chunked(_)) | None => None,
        }
    }

    /// Tells whether nothing of a request has been read, and nothing is to be skipped.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.unread.is_empty() && self.skip.is_none()
    }

    /// Reads what has come of a request, if it can be told at once; answers whether something has.
    ///
    /// # Errors
    /// When the client has hung up.
    pub(crate) fn read_first(&mut self) -> io::Result<bool> {
        if let Some(first) = self.stream.read_first()? {
            self.unread = first;
        }
        Ok(!self.unread.is_empty())
    }

    /// Waits for the first byte of the next request, or the end of the stream, and skips what belongs to the
    /// request before.
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
        let mut has_read = false;
        loop {
            // Line ends before a request belong to none, RFC 9112 section 2.2.
            let ends = self.unread.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.unread.advance(ends);
            if !self.unread.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // Once: a client that sends nothing but line ends has to wait for the runtime, and others have their turn.
            if has_read || !self.read_first()? {
                return self.stream.poll_readable(cx).map(Ok);
            }
            has_read = true;
        }
    }
}
