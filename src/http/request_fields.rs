//! The fields of a request's head that this server uses itself, found in one pass: a look-up in the map would hash
//! the name, for each field of each request.

use http::header::{CONNECTION, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header with the ID of a request.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header of W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What one pass over a request's fields finds; of a field that came several times, the first.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is about a field of its own")]
pub(crate) struct RequestFields<'h> {
    pub(crate) host: Option<&'h HeaderValue>,
    /// There is more than one Host.
    pub(crate) has_more_hosts: bool,
    pub(crate) has_transfer_encoding: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
    pub(crate) has_upgrade: bool,
    /// The client asks for the connection to end with this request.
    pub(crate) closes: bool,
    /// The client asks for the connection to go on, as HTTP/1.0 has to.
    pub(crate) keeps_alive: bool,
    pub(crate) request_id: Option<&'h HeaderValue>,
    pub(crate) traceparent: Option<&'h HeaderValue>,
}

// === impl RequestFields ===

impl<'h> RequestFields<'h> {
    pub(crate) fn of(headers: &'h HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            if *name == HOST {
                fields.has_more_hosts |= fields.host.is_some();
                fields.host.get_or_insert(value);
            } else if *name == TRANSFER_ENCODING {
                fields.has_transfer_encoding = true;
            } else if *name == EXPECT {
                fields.expects_continue |= value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            } else if *name == CONNECTION {
                if names(value, b"close") {
                    fields.closes = true;
                } else {
                    fields.keeps_alive |= names(value, b"keep-alive");
                }
            } else if *name == UPGRADE {
                fields.has_upgrade = true;
            } else if *name == X_REQUEST_ID {
                fields.request_id.get_or_insert(value);
            } else if *name == TRACEPARENT {
                fields.traceparent.get_or_insert(value);
            }
        }
        fields
    }
}

/// Tells whether a Connection field has an option.
pub(crate) fn names(value: &HeaderValue, option: &[u8]) -> bool {
    // Alone, as it nearly always is, or in a list.
    if value.as_bytes().eq_ignore_ascii_case(option) {
        return true;
    }
    let mut options = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    options.any(|named| named.eq_ignore_ascii_case(option))
}
