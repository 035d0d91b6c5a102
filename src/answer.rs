//! What HTTP asks of an answer's head, where a service says something else: an answer that is framed
//! wrongly shifts all that follow it, and one that hyper refuses to write is no answer at all.
//!
//! # Source
//! RFC 9110 sections 8.6 (Content-Length) and 15.2 (interim answers); RFC 9112 sections 6.1
//! (Transfer-Encoding) and 9.6 (close).

use http::{HeaderValue, Response, StatusCode, Version, header};
use http_body::Body;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What of the request decides on the answer's framing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) is_head: bool,
    pub(crate) is_connect: bool,
    /// The request is of HTTP/1.0.
    pub(crate) is_old: bool,
}

/// Makes the head say what is true of the answer; answers how long the body is, if that is known, and
/// whether no answer follows.
pub(crate) fn conform<B: Body>(
    response: &mut Response<Option<B>>,
    asked: Asked,
    closes: bool,
) -> (Option<u64>, bool) {
    if response.version() != Version::HTTP_10 {
        // hyper writes no other, and what a proxied answer came with is nothing to the client.
        *response.version_mut() = Version::HTTP_11;
    }
    let status = response.status();
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        tracing::warn!(
            status = status.as_u16(),
            "the service gave an interim answer for its last; 500 is sent instead",
        );
        *response = Response::new(None);
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    let is_switching = is_switching(response.status(), asked);
    let (mut has_length, mut has_coding, mut is_last) = (false, false, closes);
    for (name, value) in response.headers() {
        if *name == header::CONTENT_LENGTH {
            has_length = true;
        } else if *name == header::TRANSFER_ENCODING {
            has_coding = true;
        } else if *name == header::CONNECTION {
            is_last |= names_close(value);
        }
    }
    let known = response.body().as_ref().map_or(Some(0), |body| body.size_hint().exact());
    let mut length = known;
    if has_length {
        let said = response.headers().get(header::CONTENT_LENGTH).and_then(parse_length);
        // To HEAD, and with 304, it is the length that a body would have.
        let is_of_another =
            known == Some(0) && (asked.is_head || status == StatusCode::NOT_MODIFIED);
        let is_true = known.is_none_or(|known| said == Some(known)) || is_of_another;
        if has_coding || is_switching || status == StatusCode::NO_CONTENT || !is_true {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        } else {
            length = length.or(said);
        }
    }
    if closes && !is_switching {
        response.headers_mut().append(header::CONNECTION, CLOSE);
    }
    // To HTTP/1.0 an unknown length is told by the connection's end.
    let is_last = is_last
        || is_switching
        || (asked.is_old && (length.is_none() || response.version() == Version::HTTP_10));
    (length, is_last)
}

/// Tells whether what follows this answer's head is another protocol.
pub(crate) fn is_switching(status: StatusCode, asked: Asked) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (asked.is_connect && status.is_success())
}

/// Tells whether a Connection field has the option `close`.
pub(crate) fn names_close(value: &HeaderValue) -> bool {
    names(value, b"close")
}

/// Tells whether a Connection field has an option.
pub(crate) fn names(value: &HeaderValue, option: &[u8]) -> bool {
    let mut options = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    options.any(|named| named.eq_ignore_ascii_case(option))
}

fn parse_length(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}
