//! Where one request ends and the next begins.
//!
//! # Invariant
//! A connection is parked, handed over, or read for another request only when the whole of the last
//! request, body and trailers included, has been consumed, and its answer written; otherwise it is
//! closed, or the rest of the body is skipped by count. A request that is
//! [recalled](crate::http::recall) has not been begun: all of it is put back. An answer that said `Connection: close` is the
//! last thing that a connection does.
//!
//! Otherwise bytes of a body that nobody wanted are taken for requests, and whoever can choose the body
//! of somebody else's request, as every web page can, chooses a request as well.
//!
//! # How it is kept
//! - The bytes that hyper is given are followed here ([`Wire`]), from the end of each head by the framing
//!   that the head tells. Where hyper and we do not find the end in the same place, the connection ends.
//! - A body counts as ended when its end was seen, and for no other reason; what the service drops, gives
//!   up or fails to read is not ended by that ([`crate::http::activity`]).
//! - What becomes of a connection that hyper has done with is decided in one place
//!   ([`Activity::standing`](crate::http::activity::Activity::standing)), and what goes along when it is taken
//!   apart in another ([`Wire::take_apart`]).
//!
//! # Source
//! RFC 9112 sections 2.2, 6.3 and 9.3.

use bytes::{Buf, Bytes, BytesMut};

use crate::connections::body_remainder::Remainder;
use crate::connections::chunked_body::Malformed;
use crate::http::recall::Kept;

/// What hyper has been given of a connection's bytes, told apart into requests.
#[derive(Debug)]
pub(crate) struct Wire {
    reader: Reader,
    /// How much of [`HTTP2`] has come, of a head that is nothing else so far.
    http2: usize,
    /// What has come behind a head of which hyper has not said what follows it.
    ahead: BytesMut,
    /// Of a connection whose requests may be recalled.
    kept: Option<Kept>,
}

/// What only a client of HTTP/2 begins with. hyper knows it when it has come whole, and in one read; before that it
/// answers 400, which such a client does not understand.
const HTTP2: &[u8] = b"PRI * HTTP/2";

/// Where the bytes up to now have come to.
#[derive(Debug)]
struct Reader {
    place: Place,
    /// How long the head is, or as much of it as has come; 0 within a body.
    head: usize,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum Place {
    Head(Line),
    /// Whatever follows the head.
    Whole,
    Body(Remainder),
    /// The bytes are no requests: hyper is not read for another.
    Unfollowed,
}

/// A place in a head, by what is missing to its end: an empty line.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// Before the first line; empty ones there do not count.
    First,
    Within,
    /// At the beginning of a line.
    Begin,
    /// Behind a CR that a line begins with.
    Cr,
}

#[cfg(test)]
thread_local! {
    /// Plants a fault, for the model to find.
    pub(crate) static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// A fault that can be planted.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// A body that nobody reads any more counts as ended.
    EndedUnread,
    /// What hyper has used of a request is not put back.
    RecalledInPart,
    /// A connection is parked although something of the next request has been read.
    ParkedWithUnread,
}

// === impl Wire ===

impl Wire {
    /// `keeps`: what has come of a request is kept as long as it may be recalled.
    pub(crate) fn new(keeps: bool) -> Self {
        let reader = Reader { place: Place::Head(Line::First), head: 0 };
        Self { reader, http2: 0, ahead: BytesMut::new(), kept: keeps.then(Kept::default) }
    }

    /// Says that what comes is another protocol, or nobody's business.
    pub(crate) fn unfollow(&mut self) {
        self.reader.place = Place::Unfollowed;
        self.ahead = BytesMut::new();
        self.kept = None;
    }

    /// Follows bytes that hyper is given.
    ///
    /// # Errors
    /// When they are no request's; hyper must not get them then.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let may_be_http2 = self.http2 > 0 || bytes.first() == HTTP2.first();
        if may_be_http2 && self.begins_http2(bytes) {
            return Err(Malformed);
        }
        let used = self.reader.advance(bytes)?;
        if used < bytes.len() {
            self.ahead.extend_from_slice(&bytes[used..]);
        }
        let next = self.next();
        if let Some(kept) = &mut self.kept {
            kept.follow(bytes, next);
        }
        Ok(())
    }

    /// Tells whether the bytes, with those before them, are the beginning of HTTP/2.
    #[cold]
    fn begins_http2(&mut self, bytes: &[u8]) -> bool {
        if !matches!(self.reader.place, Place::Head(_)) || self.reader.head != self.http2 {
            return false;
        }
        let missing = &HTTP2[self.http2..];
        let same = missing.iter().zip(bytes).take_while(|(one, other)| one == other).count();
        let goes_on = same == missing.len() || same == bytes.len();
        self.http2 = if goes_on { self.http2 + same } else { 0 };
        self.is_http2()
    }

    /// Tells whether the client has begun to speak HTTP/2, which hyper has not been given.
    pub(crate) fn is_http2(&self) -> bool {
        self.http2 == HTTP2.len()
    }

    /// hyper has taken a head; `body` is what follows it.
    ///
    /// # Errors
    /// When no head has come, by our reading, or what came behind it already is no such body.
    pub(crate) fn begin(&mut self, body: Option<Remainder>) -> Result<(), Malformed> {
        let next = self.next();
        if let Some(kept) = &mut self.kept {
            kept.begin(next);
        }
        self.reader.place = match (&self.reader.place, body) {
            (Place::Unfollowed, _) => return Ok(()),
            (Place::Whole, Some(body)) => Place::Body(body),
            (Place::Whole, None) => Place::Head(Line::First),
            (Place::Head(_) | Place::Body(_), _) => return Err(Malformed),
        };
        self.reader.head = 0;
        if !self.ahead.is_empty() {
            let used = self.reader.advance(&self.ahead)?;
            self.ahead.advance(used);
        }
        Ok(())
    }

    /// Tells whether the beginning of a head has come that hyper has not taken. Line ends between two
    /// requests belong to none.
    pub(crate) fn is_mid_head(&self) -> bool {
        match self.reader.place {
            Place::Head(line) => !matches!(line, Line::First),
            Place::Whole => true,
            Place::Body(_) | Place::Unfollowed => false,
        }
    }

    /// Tells whether more of a body has to come.
    pub(crate) fn is_in_body(&self) -> bool {
        matches!(self.reader.place, Place::Body(_))
    }

    /// The request in flight is not recalled any more.
    pub(crate) fn let_go(&mut self) {
        let next = self.next();
        if let Some(kept) = &mut self.kept {
            kept.let_go(next);
        }
    }

    /// How many bytes are kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.kept.as_ref().map_or(0, Kept::len)
    }

    /// Takes out all that hyper was given from the head of the request in flight on, if that may be recalled.
    pub(crate) fn take_request(&mut self) -> Option<Bytes> {
        self.kept.take()?.into_bytes()
    }

    /// How many of the bytes that have come belong to requests that are not in flight.
    fn next(&self) -> usize {
        self.reader.head + self.ahead.len()
    }

    /// Of `read`, which hyper had read and not used when it was taken apart, what belongs to the next
    /// request; and what is to be skipped of the last one's body before that. hyper `has_ended` that, or
    /// has been read no further.
    ///
    /// None if hyper has used more or less than we say; there is no telling then where a request begins.
    pub(crate) fn take_apart(
        &self,
        read: &Bytes,
        has_ended: bool,
    ) -> Option<(Bytes, Option<Remainder>)> {
        #[cfg(test)]
        if PLANTED.get() == Some(Fault::EndedUnread) {
            return Some((read.clone(), None));
        }
        let rest = match self.reader.place {
            Place::Body(rest) if !has_ended => Some(rest),
            Place::Head(_) | Place::Whole => None,
            Place::Body(_) | Place::Unfollowed => return None,
        };
        let before = read.len().checked_sub(self.next())?;
        if before > 0 && has_ended {
            return None;
        }
        // Line ends before a request are no part of it, and nothing to wake anybody for.
        let is_nothing = matches!(self.reader.place, Place::Head(Line::First));
        Some((if is_nothing { Bytes::new() } else { read.slice(before..) }, rest))
    }
}

// === impl Reader ===

impl Reader {
    /// Goes on by `bytes`; answers how many of them can be told apart for now.
    fn advance(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.place {
                Place::Head(line) => {
                    let (used, is_end) = line.advance(&bytes[at..]);
                    self.head += used;
                    at += used;
                    if is_end {
                        self.place = Place::Whole;
                    }
                }
                Place::Whole => break,
                Place::Body(rest) => {
                    let (used, is_end) = rest.advance(&bytes[at..])?;
                    at += used;
                    if is_end {
                        self.place = Place::Head(Line::First);
                    }
                }
                Place::Unfollowed => at = bytes.len(),
            }
        }
        Ok(at)
    }
}

// === impl Line ===

impl Line {
    /// Goes on by `bytes`; answers how many of them belong to the head, and whether it has ended there.
    fn advance(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match (*self, byte) {
                (Self::First, b'\r' | b'\n') => {}
                (Self::Begin, b'\r') => *self = Self::Cr,
                (Self::Begin | Self::Cr, b'\n') => return (at, true),
                _ => {
                    let rest = &bytes[at - 1..];
                    if let Some(length) = end_of_head(rest) {
                        return (at - 1 + length, true);
                    }
                    *self = match rest {
                        [.., b'\n', b'\r'] => Self::Cr,
                        [.., b'\n'] => Self::Begin,
                        _ => Self::Within,
                    };
                    break;
                }
            }
        }
        (bytes.len(), false)
    }
}

/// How much of `bytes`, which begin within a line, belongs to the head, if its end is there. Every request
/// pays for this, and lines are too short for a look-up that has to be called for each.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let end_behind = |line_feed: usize| match &bytes[line_feed + 1..] {
        [b'\n', ..] => Some(line_feed + 2),
        [b'\r', b'\n', ..] => Some(line_feed + 3),
        _ => None,
    };
    let words = bytes.chunks_exact(8);
    let whole = bytes.len() - words.remainder().len();
    for (number, word) in words.enumerate() {
        let word = u64::from_le_bytes(word.try_into().expect("each has eight bytes"));
        // Of each byte that is a line feed the highest bit is set, and perhaps of one behind it.
        let differs = word ^ (EACH * u64::from(b'\n'));
        let mut feeds = differs.wrapping_sub(EACH) & !differs & (EACH << 7);
        while feeds != 0 {
            let at = number * 8 + feeds.trailing_zeros() as usize / 8;
            feeds &= feeds - 1;
            if let Some(end) = end_behind(at).filter(|_| bytes[at] == b'\n') {
                return Some(end);
            }
        }
    }
    let mut feeds = (whole..bytes.len()).filter(|at| bytes[*at] == b'\n');
    feeds.find_map(end_behind)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::connections::chunked_body::Chunks;

    /// Follows `bytes` in pieces of `size`; what `bodies` say follows each head, as hyper would.
    fn followed(bytes: &[u8], size: usize, bodies: &[Option<Remainder>]) -> Wire {
        let mut wire = Wire::new(false);
        let mut bodies = bodies.iter();
        for piece in bytes.chunks(size) {
            wire.follow(piece).unwrap();
            while matches!(wire.reader.place, Place::Whole) {
                let Some(body) = bodies.next() else { break };
                wire.begin(*body).unwrap();
            }
        }
        wire
    }

    #[test]
    fn the_next_request_begins_behind_the_last_ones_body_however_they_come() {
        let requests = b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n\
            POST / HTTP/1.1\nHost: x\nContent-Length: 9\n\nGET / H\r\n\
            POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nGE\r\n0\r\nT: v\r\n\r\n";
        let bodies = [None, Some(Remainder::Counted(9)), Some(Remainder::Chunked(Chunks::BEGIN))];
        for next in ["", "GE", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\nGET"] {
            let bytes = [&requests[..], next.as_bytes()].concat();
            for size in 1..=bytes.len() {
                let wire = followed(&bytes, size, &bodies);
                let next = Bytes::from(next);
                assert_eq!(wire.take_apart(&next, true), Some((next.clone(), None)), "{size}");
                // hyper has not got so far, or further.
                let read = [b"\r\n", &*next].concat().into();
                assert_eq!(wire.take_apart(&read, true), None);
                assert_eq!(wire.take_apart(&read, false), Some((next.clone(), None)));
                if !next.is_empty() {
                    assert_eq!(wire.take_apart(&next.slice(1..), true), None);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_head_ends_with_its_first_empty_line(bytes in "[\r\n\u{b}a]{0,40}", cut in 0..40_usize) {
            let bytes = bytes.as_bytes();
            let begin = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let ends = (begin..bytes.len()).find_map(|at| match &bytes[at..] {
                [b'\n', b'\n', ..] => Some(at + 2),
                [b'\n', b'\r', b'\n', ..] => Some(at + 3),
                _ => None,
            });
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut line = Line::First;
            let (mut used, mut is_end) = line.advance(first);
            if !is_end {
                let more = line.advance(second);
                (used, is_end) = (used + more.0, more.1);
            }
            prop_assert_eq!(is_end.then_some(used), ends);
        }
    }

    #[test]
    fn what_has_not_come_of_a_body_is_told() {
        let bytes = b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET";
        let wire = followed(bytes, 5, &[Some(Remainder::Counted(9))]);
        let read = Bytes::from("ET");
        let rest = Some((Bytes::new(), Some(Remainder::Counted(6))));
        assert_eq!(wire.take_apart(&read, false), rest);
        assert_eq!(wire.take_apart(&read, true), None, "hyper has not seen its end");
    }

    #[test]
    fn a_request_that_hyper_has_and_we_have_not_is_refused() {
        let mut wire = followed(b"GET / HTTP/1.1\r\nHost: x\r\n", 99, &[]);
        assert_eq!(wire.begin(None), Err(Malformed));
    }
}
