//! The head of a request to an application that speaks HTTP/2.
//!
//! # Source
//! RFC 9113 sections 8.2.2 (fields of the connection) and 8.3.1 (`:authority` and `:scheme`).

use http::header::{CONNECTION, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, Uri};

/// Makes a request of HTTP/1.1 one of HTTP/2. `Expect` goes, as hyper hears no `100 Continue` there; the body is asked
/// for when the application has taken the head.
pub(in crate::proxy) fn of_http2<B>(mut request: Request<B>) -> Request<B> {
    for name in [CONNECTION, EXPECT, TRANSFER_ENCODING, UPGRADE] {
        request.headers_mut().remove(name);
    }
    if let Some(target) = whole(request.uri(), request.headers()) {
        *request.uri_mut() = target;
        request.headers_mut().remove(HOST);
    }
    request
}

/// The target with Host as its authority; none if that is no authority, and stays a field.
fn whole(target: &Uri, fields: &HeaderMap) -> Option<Uri> {
    let host = fields.get(HOST)?.as_bytes();
    if host.contains(&b'@') {
        // Section 8.3.1: a user's name is not for :authority.
        return None;
    }
    let mut parts = target.clone().into_parts();
    parts.authority = Some(Authority::try_from(host).ok()?);
    parts.scheme = Some(Scheme::HTTP);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn host_becomes_the_authority_where_it_is_one_and_a_field_of_the_connection_goes() {
        for (host, path, expected, has_host) in [
            ("shop.example:8080", "/a?b", "http://shop.example:8080/a?b", false),
            ("[::1]", "*", "http://[::1]*", false),
            ("", "/a", "/a", true),
            ("a b", "/a", "/a", true),
            ("user@shop.example", "/a", "/a", true),
        ] {
            let mut request = Request::new(());
            *request.uri_mut() = Uri::from_static(path);
            let fields = request.headers_mut();
            fields.insert(HOST, HeaderValue::from_static(host));
            fields.insert(CONNECTION, HeaderValue::from_static("te"));
            fields.insert("te", HeaderValue::from_static("trailers"));
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            let request = of_http2(request);
            assert_eq!(*request.uri(), expected);
            let fields = request.headers();
            assert_eq!(fields.contains_key(HOST), has_host, "{host}");
            assert_eq!(fields.len(), 1 + usize::from(has_host), "{fields:?}");
            assert_eq!(fields["te"], "trailers");
        }
    }
}
