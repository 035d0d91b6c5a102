//! What a service is to see of a request of HTTP/2, where that differs from how it came.
//!
//! # Source
//! RFC 9113 section 8.2.3.

use http::HeaderValue;
use http::header::{COOKIE, HeaderMap};

/// Makes one field of the cookies, which a client may send apart for the sake of compression.
pub(super) fn join_cookies(fields: &mut HeaderMap) {
    let mut crumbs = fields.get_all(COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<_> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // What is made of values with nothing but this in between is one itself.
    if let Ok(cookies) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        fields.insert(COOKIE, cookies);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_that_came_apart_are_one_field_in_their_order() {
        let mut fields = HeaderMap::new();
        join_cookies(&mut fields);
        assert!(fields.is_empty());
        for crumb in ["a=1", "b=2; c=3", "d=\u{e4}"] {
            fields.append(COOKIE, HeaderValue::from_bytes(crumb.as_bytes()).unwrap());
        }
        join_cookies(&mut fields);
        let cookies: Vec<_> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=\u{e4}".as_bytes()]);
    }
}
