//! The IDs of requests, and the trace that a client says they are in.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

/// The longest request ID in a log line, in bytes.
const ID_MAX: usize = 64;

/// The ID of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum RequestId {
    /// The client's own.
    Given(Box<HeaderValue>),
    /// Made here: unique among those of this process and unlikely to recur in others.
    Made(u64),
}

// === impl RequestId ===

impl RequestId {
    /// The client's ID, if it is short and plain enough for the log, or a new one.
    pub(super) fn of(given: Option<&HeaderValue>) -> Self {
        // A random start keeps the IDs of two processes apart.
        static NEXT: LazyLock<AtomicU64> =
            LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(std::process::id())));
        match given {
            Some(id) if is_sane(id.as_bytes()) => Self::Given(Box::new(id.clone())),
            _ => Self::Made(NEXT.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// The number in 16 digits. `format!` would be among the most expensive parts of a request.
pub(super) fn hexadecimal(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| DIGITS[(number >> (60 - 4 * place) & 15) as usize])
}

fn is_sane(id: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+/=:".contains(byte);
    (1..=ID_MAX).contains(&id.len()) && id.iter().all(fits)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Sane, and so text.
            Self::Given(id) => f.write_str(id.to_str().unwrap_or_default()),
            // One piece: a formatter that escapes looks at each.
            Self::Made(id) => {
                f.write_str(std::str::from_utf8(&hexadecimal(*id)).unwrap_or_default())
            }
        }
    }
}

/// Tells whether a `traceparent` has the form of W3C Trace Context, version 00.
pub(super) fn is_traceparent(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let parts: Vec<_> = text.split('-').collect();
    let lengths = [2, 32, 16, 2];
    let is_hex = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| part.len() == length && is_hex(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> HeaderValue {
        text.parse().unwrap()
    }

    #[test]
    fn a_sane_request_id_is_kept() {
        let id = RequestId::of(Some(&value("0aF-3.b_")));
        assert_eq!(id.to_string(), "0aF-3.b_");
    }

    #[test]
    fn a_request_id_of_ours_has_sixteen_digits() {
        for (number, text) in [(0, "0000000000000000"), (0x12_ab34, "000000000012ab34")] {
            assert_eq!(RequestId::Made(number).to_string(), text);
        }
        assert_eq!(RequestId::Made(u64::MAX).to_string(), "ffffffffffffffff");
    }

    #[test]
    fn a_request_id_that_could_harm_a_log_is_replaced() {
        for bad in ["", "a b", "a\"b", "<script>", &"x".repeat(65)] {
            assert!(matches!(RequestId::of(Some(&value(bad))), RequestId::Made(_)));
        }
        assert!(matches!(RequestId::of(None), RequestId::Made(_)));
    }

    #[test]
    fn only_a_well_formed_traceparent_is_logged() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(&value(good)));
        for bad in ["", "00", "00-xyz-1-01", &good.to_uppercase(), &good[1..]] {
            assert!(!is_traceparent(&value(bad)), "{bad}");
        }
    }
}
