//! How long a request's body is, and how the application is told.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};
use http_body::Body;

const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// How long a request's body is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Length {
    /// There is none.
    Nothing,
    Bytes(u64),
    Unknown,
}

// === impl Length ===

impl Length {
    pub(super) fn of(body: &impl Body) -> Self {
        if body.is_end_stream() {
            return Self::Nothing;
        }
        body.size_hint().exact().map_or(Self::Unknown, Self::Bytes)
    }

    /// Writes it into a request's fields, which may have `told` one.
    pub(super) fn tell(self, fields: &mut HeaderMap, told: bool) {
        match self {
            Self::Nothing if !told => {}
            Self::Nothing => drop(fields.insert(CONTENT_LENGTH, HeaderValue::from(0))),
            Self::Bytes(length) if is_written(length, fields) => {}
            Self::Bytes(length) => drop(fields.insert(CONTENT_LENGTH, HeaderValue::from(length))),
            Self::Unknown => {
                fields.remove(CONTENT_LENGTH);
                fields.insert(TRANSFER_ENCODING, CHUNKED);
            }
        }
    }
}

/// Tells whether the fields tell this length once, as we would write it.
fn is_written(length: u64, fields: &HeaderMap) -> bool {
    let mut values = fields.get_all(CONTENT_LENGTH).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let mut left = length;
    let is_same = value.as_bytes().iter().rev().enumerate().all(|(place, digit)| {
        let is_leading_zero = left == 0 && place > 0;
        let is_same = !is_leading_zero && u64::from(*digit) == u64::from(b'0') + left % 10;
        left /= 10;
        is_same
    });
    is_same && left == 0 && !value.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_passed_on_as_it_came_only_if_we_would_write_the_same() {
        for (values, length, expected) in [
            (&["0"][..], 0, true),
            (&["7"], 7, true),
            (&["1024"], 1024, true),
            (&["18446744073709551615"], u64::MAX, true),
            (&[""], 0, false),
            (&["00"], 0, false),
            (&["07"], 7, false),
            (&["+7"], 7, false),
            (&["7 "], 7, false),
            (&["7", "7"], 7, false),
            (&["7, 7"], 7, false),
            (&["8"], 7, false),
            (&["24"], 1024, false),
            (&["1024"], 24, false),
            (&[], 0, false),
        ] {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            assert_eq!(is_written(length, &fields), expected, "{values:?} {length}");
        }
    }
}
