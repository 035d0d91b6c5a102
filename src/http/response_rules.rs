//! What HTTP asks of an answer's head, where a service says something else: an answer that is framed
//! wrongly shifts all that follow it, and one that hyper refuses to write is no answer at all.
//!
//! # Source
//! RFC 9110 sections 8.6 (Content-Length) and 15.2 (interim answers); RFC 9112 sections 6.1
//! (Transfer-Encoding) and 9.6 (close).

use http::{HeaderValue, Response, StatusCode, Version, header};
use http_body::Body;

use crate::http::request_fields::names;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What of the request decides on the answer's framing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) is_head: bool,
    pub(crate) is_connect: bool,
    /// The version of the request.
    pub(crate) version: Version,
}

// === impl Asked ===

impl Asked {
    /// Tells whether the request is of HTTP/1.0.
    pub(crate) fn is_old(self) -> bool {
        self.version == Version::HTTP_10
    }

    /// Tells whether the request came on a stream of HTTP/2, which says nothing of its connection.
    fn is_of_stream(self) -> bool {
        self.version == Version::HTTP_2
    }
}

/// Makes the head agree with the answer, and an interim answer 500; answers how long the body is, if that is known,
/// and whether no answer follows.
pub(crate) fn conform<B: Body>(
    response: &mut Response<Option<B>>,
    asked: Asked,
    closes: bool,
) -> (Option<u64>, bool) {
    // The version of an answer that was forwarded does not matter to the client. To an HTTP/1.0 client hyper writes
    // HTTP/1.0, and `keep-alive` unless the answer is of HTTP/1.0 already.
    *response.version_mut() =
        if asked.is_old() && closes { Version::HTTP_10 } else { Version::HTTP_11 };
    let status = response.status();
    let may_switch = status == StatusCode::SWITCHING_PROTOCOLS && !asked.is_of_stream();
    if status.is_informational() && !may_switch {
        // The final answer would never come.
        *response = Response::new(None);
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    let is_switching = is_switching(response.status(), asked);
    let (mut lengths, mut has_coding, mut is_last) = (0, false, closes);
    for (name, value) in response.headers() {
        if *name == header::CONTENT_LENGTH {
            lengths += 1;
        } else if *name == header::TRANSFER_ENCODING {
            has_coding = true;
        } else if *name == header::CONNECTION {
            is_last |= names(value, b"close");
        }
    }
    let known = response.body().as_ref().map_or(Some(0), |body| body.size_hint().exact());
    let mut length = known;
    if lengths > 0 {
        let said = response.headers().get(header::CONTENT_LENGTH).and_then(parse_length);
        let said = said.filter(|_| lengths == 1);
        // To HEAD, and with 304, it is the length that a body would have.
        let is_without = response.body().as_ref().is_none_or(Body::is_end_stream);
        let is_of_another = is_without && (asked.is_head || status == StatusCode::NOT_MODIFIED);
        let is_true = said.is_some() && (known.is_none() || said == known || is_of_another);
        if has_coding || is_switching || status == StatusCode::NO_CONTENT || !is_true {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        } else {
            length = length.or(said);
        }
    }
    if has_coding && is_switching {
        response.headers_mut().remove(header::TRANSFER_ENCODING);
    }
    if closes && !is_switching && !asked.is_of_stream() {
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    if asked.is_of_stream() {
        take_content(response, asked, length);
    }
    // To HTTP/1.0 an unknown length is told by the connection's end.
    (length, is_last || is_switching || (asked.is_old() && length.is_none()))
}

/// Takes the body out of an answer on a stream that must not have one; of others hyper does.
fn take_content<B: Body>(response: &mut Response<Option<B>>, asked: Asked, length: Option<u64>) {
    let is_empty = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !is_empty && !asked.is_head {
        return;
    }
    let had_one = response.body_mut().take().is_some_and(|body| !body.is_end_stream());
    if let Some(length) = length.filter(|_| had_one && !is_empty) {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
}

/// Tells whether what follows this answer's head is another protocol.
pub(crate) fn is_switching(status: StatusCode, asked: Asked) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (asked.is_connect && status.is_success())
}

fn parse_length(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?;
    let is_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then_some(digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::response::Builder;
    use http_body_util::Full;

    use super::*;

    const GET: Asked = Asked { is_head: false, is_connect: false, version: Version::HTTP_11 };

    /// An answer with five bytes, or without, and what is made of it.
    fn conformed(
        head: Builder,
        has_body: bool,
        asked: Asked,
        closes: bool,
    ) -> (Response<()>, Option<u64>, bool) {
        let body = has_body.then(|| Full::new(&b"hello"[..]));
        let mut response = head.body(body).unwrap();
        let (length, is_last) = conform(&mut response, asked, closes);
        (response.map(drop), length, is_last)
    }

    fn with(status: u16, name: &'static str, value: &str) -> Builder {
        Response::builder().status(status).header(name, value)
    }

    #[test]
    fn a_length_that_is_true_stays() {
        let head = Asked { is_head: true, ..GET };
        for (status, length, has_body, asked) in
            [(200, "5", true, GET), (200, "5", false, head), (304, "5", false, GET)]
        {
            let (response, ..) =
                conformed(with(status, "content-length", length), has_body, asked, false);
            assert_eq!(response.headers()["content-length"], length);
        }
    }

    #[test]
    fn a_length_that_is_not_true_or_not_allowed_goes() {
        let connect = Asked { is_connect: true, ..GET };
        let head = Asked { is_head: true, ..GET };
        for (status, length, has_body, asked) in [
            (200, "4", true, GET),
            (200, "6", true, GET),
            (200, "five", true, GET),
            (200, "+5", true, GET),
            (200, "5", false, GET),
            (200, "4", true, head),
            (204, "5", true, GET),
            (204, "0", false, GET),
            (101, "0", false, GET),
            (200, "0", false, connect),
        ] {
            let (response, ..) =
                conformed(with(status, "content-length", length), has_body, asked, false);
            assert_eq!(response.headers().get("content-length"), None, "{status} {length}");
        }
    }

    #[test]
    fn the_last_answer_is_known_and_says_so() {
        let old = Asked { version: Version::HTTP_10, ..GET };
        let connect = Asked { is_connect: true, ..GET };
        for (head, asked, closes, is_last) in [
            (with(200, "x", "y"), GET, false, false),
            (with(200, "x", "y"), GET, true, true),
            (with(200, "connection", "close"), GET, false, true),
            (with(200, "connection", "x, Close"), GET, false, true),
            (with(200, "connection", "closed"), GET, false, false),
            (with(200, "connection", "keep-alive"), GET, true, true),
            (with(200, "x", "y"), old, false, false),
            (with(101, "connection", "upgrade"), GET, false, true),
            (with(200, "x", "y"), connect, false, true),
        ] {
            let (response, _, last) = conformed(head, true, asked, closes);
            assert_eq!(last, is_last, "{response:?}");
            if closes {
                assert_eq!(response.headers()["connection"], "close");
            }
        }
    }

    #[test]
    fn on_a_stream_nothing_is_said_of_the_connection_and_no_protocol_is_switched_to() {
        let asked = Asked { version: Version::HTTP_2, ..GET };
        let (response, ..) = conformed(with(200, "x", "y"), true, asked, true);
        assert_eq!(response.headers().get("connection"), None);
        let (response, ..) = conformed(with(101, "upgrade", "x"), false, asked, false);
        assert_eq!(response.status(), 500);
    }

    #[test]
    fn on_a_stream_an_answer_without_content_has_none_and_head_is_told_its_length() {
        let stream = Asked { version: Version::HTTP_2, ..GET };
        let head = Asked { is_head: true, ..stream };
        for (status, asked, length) in
            [(200, head, Some("5")), (204, stream, None), (304, stream, None), (304, head, None)]
        {
            let body = Some(Full::new(&b"hello"[..]));
            let mut response = Response::builder().status(status).body(body).unwrap();
            conform(&mut response, asked, false);
            assert!(response.body().is_none(), "{status}");
            let told = response.headers().get("content-length").map(|told| told.to_str().unwrap());
            assert_eq!(told, length, "{status}");
        }
        let mut response = Response::new(Some(Full::new(&b"hello"[..])));
        conform(&mut response, stream, false);
        assert!(response.body().is_some());
    }

    #[test]
    fn an_interim_answer_is_none_and_the_version_is_ours() {
        let (response, length, _) = conformed(with(103, "link", "x"), true, GET, false);
        assert_eq!((response.status().as_u16(), length), (500, Some(0)));
        for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_2, Version::HTTP_3] {
            let (response, ..) = conformed(Response::builder().version(version), true, GET, false);
            assert_eq!(response.version(), Version::HTTP_11);
        }
    }
}
