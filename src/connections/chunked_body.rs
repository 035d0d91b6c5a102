//! The framing of a chunked body, followed to its end, byte by byte where it has to be.
//!
//! Every line has to end with CR LF. hyper's decoder is less strict: in the trailer section it takes a bare
//! line feed for the line's end in one place and not in another, and so takes the next request for a part of
//! the body.
//!
//! # Source
//! RFC 9112 section 7.1.

use serde::{Deserialize, Serialize};

/// A place in a chunked body.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Chunks {
    /// Of the chunk: its size as far as it has been read, then how much of it is still to come.
    left: u64,
    next: Next,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Next {
    /// The first digit of a chunk's size.
    Size,
    MoreSize,
    /// White space between the size and what follows it.
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// A trailer, or the line end that is the last.
    Trailer,
    MoreTrailer,
    TrailerLf,
    LastLf,
}

/// The bytes are no chunked body.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the framing of the chunked body is invalid")]
pub(crate) struct Malformed;

// === impl Chunks ===

impl Chunks {
    /// The beginning of a chunked body.
    pub(crate) const BEGIN: Self = Self { left: 0, next: Next::Size };

    /// Goes on by `bytes`; answers how many of them belong to the body, and whether it has ended there.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            if self.next == Next::Data {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= here as u64;
                at += here;
                if self.left == 0 {
                    self.next = Next::DataCr;
                }
                continue;
            }
            let is_end = self.step(bytes[at])?;
            at += 1;
            if is_end {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// Takes a byte of the framing; answers whether it was the last.
    fn step(&mut self, byte: u8) -> Result<bool, Malformed> {
        let digit = char::from(byte).to_digit(16);
        self.next = match (self.next, byte) {
            (Next::Size | Next::MoreSize, _) if digit.is_some() => {
                let left = self.left.checked_mul(16).ok_or(Malformed)?;
                self.left = left + u64::from(digit.unwrap_or_default());
                Next::MoreSize
            }
            (Next::MoreSize | Next::Space, b' ' | b'\t') => Next::Space,
            (Next::MoreSize | Next::Space, b';') => Next::Extension,
            (Next::MoreSize | Next::Space | Next::Extension, b'\r') => Next::SizeLf,
            (Next::SizeLf, b'\n') if self.left > 0 => Next::Data,
            (Next::SizeLf | Next::TrailerLf, b'\n') => Next::Trailer,
            (Next::DataCr, b'\r') => Next::DataLf,
            (Next::DataLf, b'\n') => Next::Size,
            (Next::Trailer, b'\r') => Next::LastLf,
            (Next::MoreTrailer, b'\r') => Next::TrailerLf,
            (Next::LastLf, b'\n') => return Ok(true),
            (Next::Extension, byte) if byte != b'\n' => Next::Extension,
            (Next::Trailer | Next::MoreTrailer, byte) if byte != b'\n' => Next::MoreTrailer,
            _ => return Err(Malformed),
        };
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How much of `bytes` is the body, if they begin with one and have it whole.
    fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut chunks = Chunks::BEGIN;
        chunks.advance(bytes).map(|(length, is_end)| is_end.then_some(length))
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for body in [
            "0\r\n\r\n",
            "000\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "a \t;x=\"y;\";z\r\n0\r\n\r\n0\r\n\r\n\r\n0;last\r\n\r\n",
            "1\r\n\r\r\n0\r\nChecked: yes\r\nMore:\r\n\r\n",
        ] {
            let followed = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(length(followed.as_bytes()), Ok(Some(body.len())), "{body:?}");
        }
    }

    #[test]
    fn what_another_recipient_may_read_differently_is_malformed() {
        for body in [
            "\r\n",
            "x\r\n",
            " 1\r\na\r\n0\r\n\r\n",
            "-1\r\n",
            "0x1\r\n",
            "1\na\r\n0\r\n\r\n",
            "1\r\nab",
            "1\r\na\n",
            "1;x\n",
            "1 2\r\n",
            "0\n\r\n",
            "0\r\n\n",
            "0\r\n\r\r\n",
            "0\r\nT: v\n\r\n",
            "0\r\nT: v\r\r\n",
            "0\r\nT: v\r\n\n",
            "10000000000000000\r\n",
        ] {
            assert_eq!(length(body.as_bytes()), Err(Malformed), "{body:?}");
        }
        assert_eq!(length(b"ffffffffffffffff\r\nx"), Ok(None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_body_ends_in_the_same_place_however_it_comes(
            chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), "(;[ -~]{0,9})?"), 0..5),
            trailers in prop::collection::vec("[A-Za-z]{1,9}:[ -~]{0,9}", 0..3),
            follows in prop::collection::vec(any::<u8>(), 0..20),
            cuts in prop::collection::vec(1..9_usize, 0..99),
        ) {
            let mut bytes = Vec::new();
            for (data, extension) in chunks {
                bytes.extend(format!("{:x}{extension}\r\n", data.len()).into_bytes());
                bytes.extend(data);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n");
            for trailer in trailers {
                bytes.extend(format!("{trailer}\r\n").into_bytes());
            }
            bytes.extend(b"\r\n");
            let whole = bytes.len();
            bytes.extend(follows);
            let (mut place, mut at, mut ended) = (Chunks::BEGIN, 0, false);
            for cut in cuts.into_iter().chain([bytes.len()]) {
                let piece = &bytes[at..bytes.len().min(at + cut)];
                let (used, is_end) = place.advance(piece).unwrap();
                at += used;
                if is_end {
                    ended = true;
                    break;
                }
                prop_assert_eq!(used, piece.len());
            }
            prop_assert!(ended);
            prop_assert_eq!(at, whole);
        }
    }
}
