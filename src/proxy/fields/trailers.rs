//! Trailers on their way through: what may stand in a head only goes, as there are those who make one of the two.
//!
//! hyper sends some of it in no version of HTTP, and some in HTTP/1.1 alone; a message of HTTP/2 that has fields of the
//! connection in it is malformed as a whole.
//!
//! # Source
//! RFC 9110 section 6.5.1 (what trailers may not be); RFC 9113 section 8.2.2 (fields of the connection).

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, EXPECT, HOST, MAX_FORWARDS, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName};

use crate::proxy::fields::{KEEP_ALIVE, PROXY, PROXY_CONNECTION};
use crate::proxy::forwarded::{has_underscore, is_origin};

/// What is about the connection, or how a message is to be read, passed on, answered or believed.
const OF_HEADS: [HeaderName; 20] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    KEEP_ALIVE,
    MAX_FORWARDS,
    PROXY,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Leaves of a request's trailers what the application may see.
pub(in crate::proxy) fn clean_request(trailers: &mut HeaderMap) {
    clean(trailers, |name| is_origin(name.as_str()) || has_underscore(name.as_str()));
}

/// Leaves of an answer's trailers what the client may see.
pub(in crate::proxy) fn clean_answer(trailers: &mut HeaderMap) {
    clean(trailers, |_| false);
}

fn clean(trailers: &mut HeaderMap, goes_too: impl Fn(&HeaderName) -> bool) {
    let goes = |name: &&HeaderName| OF_HEADS.contains(name) || goes_too(name);
    let names: Vec<_> = trailers.keys().filter(goes).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}
