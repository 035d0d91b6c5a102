//! What lies between a connection's TLS and its stream: s2n is given whole records only, and gives away whole ones.
//!
//! So s2n is always between two records, and can be taken apart at any time. What has come of the next record, and what
//! the client has not taken of the last, are encrypted bytes, and go along as they are.
//!
//! # Source
//! RFC 8446 section 5.1: a record's head has five bytes, of which the last two are the length of what follows.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::tls::secured::Transport;

/// The stream below an open connection.
pub(super) struct Records<S> {
    pub(super) stream: S,
    unfinished: Unfinished,
    /// How many bytes of what has come are the rest of a record that s2n is being given.
    given: usize,
    /// How many records s2n has been given since it was asked last.
    count: usize,
}

/// Encrypted bytes that are under way.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct Unfinished {
    /// What has come, and s2n has not been given.
    incoming: BytesMut,
    /// What s2n has given away, and the stream has not taken.
    outgoing: BytesMut,
}

/// How much is read at a time: a usual request is shorter.
const READ: usize = 4 << 10;

/// The length of a record's head.
const HEAD: usize = 5;

// === impl Records ===

impl<S: Transport> Records<S> {
    pub(super) fn new(stream: S, unfinished: Unfinished) -> Self {
        Self { stream, unfinished, given: 0, count: 0 }
    }

    pub(super) fn into_parts(self) -> (S, Unfinished) {
        (self.stream, self.unfinished)
    }

    /// Tells whether a whole record has come, or what is none.
    pub(super) fn has_record(&self) -> bool {
        self.unfinished.record().is_some()
    }

    /// Tells whether there is a whole record, or the beginning of one.
    pub(super) fn has_come(&self) -> bool {
        self.unfinished.has_come()
    }

    /// Begins to count the records that s2n is given.
    pub(super) fn count_anew(&mut self) {
        self.count = 0;
    }

    pub(super) fn records(&self) -> usize {
        self.count
    }

    /// Writes what the stream has not taken yet.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unfinished.poll_drain(&mut self.stream, cx)
    }
}

impl<S: Transport> AsyncRead for Records<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, unfinished: Unfinished { incoming, .. }, given, .. } = &mut *self;
        while *given == 0 && record(incoming).is_none() {
            // Of a long record the rest at once.
            incoming
                .reserve(length(incoming).map_or(READ, |whole| whole - incoming.len()).max(READ));
            if ready!(pin!(stream.read_buf(incoming)).poll(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        if self.given == 0 {
            self.given = self.unfinished.record().unwrap_or_default();
            self.count += 1;
        }
        let now = self.given.min(buf.remaining());
        buf.put_slice(&self.unfinished.incoming[..now]);
        self.unfinished.incoming.advance(now);
        self.given -= now;
        Poll::Ready(Ok(()))
    }
}

impl<S: Transport> AsyncWrite for Records<S> {
    /// Takes all of it: [`Secured`](super::secured::Secured) has s2n write only when nothing is left of the last record.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, unfinished: Unfinished { outgoing, .. }, .. } = &mut *self;
        let mut taken = 0;
        if outgoing.is_empty() {
            if let Poll::Ready(written) = Pin::new(stream).poll_write(cx, buf) {
                taken = written?;
            }
        }
        outgoing.extend_from_slice(&buf[taken..]);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

// === impl Unfinished ===

impl Unfinished {
    pub(super) fn is_empty(&self) -> bool {
        self.incoming.is_empty() && self.outgoing.is_empty()
    }

    /// Tells whether something has come that s2n has not been given: a whole record, or the beginning of one.
    pub(super) fn has_come(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// The length of the whole record that has come, if one has.
    pub(super) fn record(&self) -> Option<usize> {
        record(&self.incoming)
    }

    /// Writes what `stream` has not taken yet.
    pub(super) fn poll_drain<S: Transport>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.outgoing))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.outgoing.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The length of the record that `bytes` begin with, its head included, once the head has come.
fn length(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [_, _, _, high, low, ..] => Some(HEAD + usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

/// The length of the record that `bytes` begin with, once it has come whole. s2n knows one that is too long by its head.
fn record(bytes: &[u8]) -> Option<usize> {
    const LONGEST: usize = HEAD + (16 << 10) + 2048;
    match length(bytes)? {
        long if long > LONGEST => Some(bytes.len()),
        whole => (bytes.len() >= whole).then_some(whole),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    /// Gives and takes as many bytes at a time as it is told.
    struct Slow {
        come: Vec<u8>,
        gone: Vec<u8>,
        sizes: Vec<usize>,
    }

    impl Slow {
        fn next(&mut self) -> usize {
            self.sizes.pop().unwrap_or(0)
        }
    }

    impl Transport for Slow {
        fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    impl AsyncRead for Slow {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let now = self.next().min(self.come.len()).min(buf.remaining());
            if now == 0 {
                return Poll::Pending;
            }
            buf.put_slice(&self.come.drain(..now).collect::<Vec<_>>());
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.next().min(buf.len()) {
                0 => Poll::Pending,
                now => {
                    self.gone.extend_from_slice(&buf[..now]);
                    Poll::Ready(Ok(now))
                }
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whole_records_come_through_in_order_however_they_come_and_whenever_it_is_taken_apart(
            lengths in prop::collection::vec(0..300_u16, 0..8),
            sizes in prop::collection::vec(0..40_usize, 0..200),
        ) {
            let record = |length: &u16| [&[23, 3, 3][..], &length.to_be_bytes(), &vec![7; usize::from(*length)]].concat();
            let all: Vec<u8> = lengths.iter().flat_map(record).collect();
            let slow = Slow { come: all.clone(), gone: Vec::new(), sizes };
            let mut records = Records::new(slow, Unfinished::default());
            let cx = &mut Context::from_waker(Waker::noop());
            let mut given = Vec::new();
            // As s2n reads: a head, and then what follows it.
            while !records.stream.sizes.is_empty() {
                let mut head = [0; HEAD];
                let mut buf = ReadBuf::new(&mut head);
                if Pin::new(&mut records).poll_read(cx, &mut buf).is_pending() {
                    let (stream, unfinished) = records.into_parts();
                    records = Records::new(stream, unfinished);
                    continue;
                }
                prop_assert_eq!(buf.filled().len(), HEAD);
                let mut rest = vec![0; length(&head).unwrap() - HEAD];
                given.extend_from_slice(&head);
                let mut buf = ReadBuf::new(&mut rest);
                // Of an empty record nothing follows.
                if buf.remaining() > 0 {
                    prop_assert!(Pin::new(&mut records).poll_read(cx, &mut buf).is_ready());
                }
                prop_assert_eq!(buf.remaining(), 0);
                given.extend_from_slice(&rest);
            }
            prop_assert!(all.starts_with(&given));
            let (stream, unfinished) = records.into_parts();
            prop_assert_eq!([given, unfinished.incoming.to_vec(), stream.come].concat(), all);
        }

        #[test]
        fn what_s2n_gives_away_goes_out_in_order(
            writes in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..8),
            sizes in prop::collection::vec(0..40_usize, 0..60),
        ) {
            let slow = Slow { come: Vec::new(), gone: Vec::new(), sizes };
            let mut records = Records::new(slow, Unfinished::default());
            let cx = &mut Context::from_waker(Waker::noop());
            for write in &writes {
                let written = Pin::new(&mut records).poll_write(cx, write);
                prop_assert!(matches!(written, Poll::Ready(Ok(length)) if length == write.len()));
                let _ = records.poll_drain(cx);
                let (stream, unfinished) = records.into_parts();
                records = Records::new(stream, unfinished);
            }
            let (stream, unfinished) = records.into_parts();
            prop_assert_eq!([stream.gone, unfinished.outgoing.to_vec()].concat(), writes.concat());
        }
    }

    #[test]
    fn what_is_longer_than_any_record_is_left_to_s2n() {
        assert_eq!(record(&[23, 3, 3, 255, 255]), Some(5));
        assert_eq!(record(&[23, 3, 3, 0]), None);
        assert_eq!(record(&[23, 3, 3, 0, 0, 1]), Some(5));
    }
}
