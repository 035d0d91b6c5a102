//! The head of a request to an application that speaks HTTP/2.
//!
//! # Source
//! RFC 9113 sections 8.2.2 (fields of the connection) and 8.3.1 (`:authority` and `:scheme`).

use http::header::{CONNECTION, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Uri};

/// Makes the head of a request by HTTP/1.1 one of HTTP/2: answers the target. `Expect` goes, as hyper hears no `100
/// Continue` there; the body is asked for when the application has taken the head.
pub(in crate::proxy) fn target(target: &Uri, fields: &mut HeaderMap) -> Uri {
    for name in [CONNECTION, EXPECT, TRANSFER_ENCODING, UPGRADE] {
        fields.remove(name);
    }
    whole(target, fields).inspect(|_| drop(fields.remove(HOST))).unwrap_or_else(|| target.clone())
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
            let mut fields = HeaderMap::new();
            fields.insert(HOST, HeaderValue::from_static(host));
            fields.insert(CONNECTION, HeaderValue::from_static("te"));
            fields.insert("te", HeaderValue::from_static("trailers"));
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            let uri = target(&Uri::from_static(path), &mut fields);
            assert_eq!(uri, expected);
            assert_eq!(fields.contains_key(HOST), has_host, "{host}");
            assert_eq!(fields.len(), 1 + usize::from(has_host), "{fields:?}");
            assert_eq!(fields["te"], "trailers");
        }
    }
}
