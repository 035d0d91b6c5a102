//! The fields of a request that was given to hyper, in case it has to be sent again.
//!
//! hyper takes them, and a copy for each request would be made for the few that fail. But they can be had back: from
//! hyper, if it has not come to write them; else from what it has written, which passes by here whole and in one piece.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The most memory that is kept for the next request.
const KEPT_MAX: usize = 4 << 10;

/// What there is of the fields.
#[derive(Debug, Default)]
pub(super) struct SentFields {
    /// The head, as it was written.
    written: Vec<u8>,
    /// hyper has given them back.
    returned: Option<HeaderMap>,
}

// === impl SentFields ===

impl SentFields {
    /// Another request begins.
    pub(super) fn begin(&mut self) {
        self.written.clear();
        self.written.shrink_to(KEPT_MAX);
        self.returned = None;
    }

    /// hyper writes the head.
    pub(super) fn written(&mut self, head: &[u8]) {
        self.written.clear();
        self.written.extend_from_slice(head);
    }

    /// hyper has not written it.
    pub(super) fn returned(&mut self, fields: HeaderMap) {
        self.returned = Some(fields);
    }

    /// The fields; none if there is nothing of them.
    pub(super) fn take(&mut self) -> Option<HeaderMap> {
        self.returned.take().or_else(|| parse(&self.written))
    }
}

/// Reads what hyper has written, and nobody else: the first line, and fields with one space behind the colon.
fn parse(head: &[u8]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    let lines = head.split(|byte| *byte == b'\n');
    for line in lines.skip(1) {
        let line = line.strip_suffix(b"\r")?;
        if line.is_empty() {
            return Some(fields);
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = line[colon..].strip_prefix(b": ")?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        fields.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_were_written_and_a_head_that_is_not_whole_has_none() {
        let mut sent = SentFields::default();
        assert!(sent.take().is_none());
        let head =
            b"GET /a:b HTTP/1.1\r\nhost: x:80\r\na: 1\r\nempty: \r\na: \xff : 2\r\n\r\nbody: 1\r\n";
        sent.written(head);
        let fields = sent.take().unwrap();
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 4] =
            [("host", b"x:80"), ("a", b"1"), ("a", b"\xff : 2"), ("empty", b"")];
        assert_eq!(fields.len(), expected.len());
        assert!(expected.iter().all(|field| fields.contains(field)), "{fields:?}");
        let end = head.len() - b"\r\nbody: 1\r\n".len();
        for length in 0..end {
            sent.written(&head[..length]);
            assert!(sent.take().is_none(), "{length}");
        }
        sent.begin();
        assert!(sent.take().is_none());
    }
}
