//! What the application is told of where a request comes from.
//!
//! All of these fields are written anew, unless the client is a proxy that is trusted: an application that reads one
//! of them must not find what a client has written there. Servers that hand fields on as variables (CGI, WSGI) see
//! `X_Forwarded_For` and `X-Forwarded-For` as one, so underscores count as hyphens here. gunicorn even takes `SCRIPT_NAME`
//! for the variable, from whoever connects by its Unix socket, and a client would choose what of the path the
//! application gets to see: fields with an underscore come from trusted proxies only, as nginx has it.
//!
//! # Source
//! RFC 7239 (Forwarded). The others have no specification; they are as MDN describes them.

use std::fmt::Write as _;

use http::header::{Entry, FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::sockets::peer::Peer;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const HTTP: HeaderValue = HeaderValue::from_static("http");

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) peer: Peer,
    pub(super) is_trusted: bool,
    /// The client may have said something of it itself.
    pub(super) may_be_said: bool,
}

/// Tells whether a field is one of these, or would be taken for one.
pub(super) fn is_origin(name: &str) -> bool {
    const PREFIX: &[u8] = b"x-forwarded";
    let same = |one: &[u8], other: &[u8]| {
        one.iter().zip(other).all(|(one, other)| one == other || (*one == b'_' && *other == b'-'))
    };
    let name = name.as_bytes();
    match name.first() {
        Some(b'x') => {
            let is_prefixed = name.len() >= PREFIX.len() && same(name, PREFIX);
            is_prefixed || (name.len() == 9 && same(name, b"x-real-ip"))
        }
        Some(b'f') => name == b"forwarded",
        _ => false,
    }
}

/// Tells whether a field may be taken for another, or for a variable that is no field's.
pub(super) fn has_underscore(name: &str) -> bool {
    name.contains('_')
}

/// Tells the application where the request comes from.
pub(super) fn tell(fields: &mut HeaderMap, origin: Origin) {
    let host = fields.get(HOST).cloned();
    if origin.may_be_said {
        let is_said = |name: &&HeaderName| {
            let (is_origin, has_underscore) =
                (is_origin(name.as_str()), has_underscore(name.as_str()));
            // No proxy writes these with underscores.
            if origin.is_trusted {
                is_origin && has_underscore
            } else {
                is_origin || has_underscore
            }
        };
        let said: Vec<_> = fields.keys().filter(is_said).cloned().collect();
        for name in said {
            fields.remove(name);
        }
    }
    let (ip, node) = match origin.peer {
        Peer::Tcp(address) if address.is_ipv4() => {
            let ip = address.ip().to_string();
            (Some(ip.clone()), ip)
        }
        Peer::Tcp(address) => {
            let ip = address.ip().to_string();
            let node = format!("\"[{ip}]\"");
            (Some(ip), node)
        }
        Peer::Unix(_) | Peer::Other => (None, "unknown".to_owned()),
    };
    if let Some(ip) = ip {
        append(fields, FOR, ip);
    }
    let mut element = format!("for={node};proto=http");
    if let Some(host) = host.as_ref().and_then(|host| host.to_str().ok()) {
        // A host that has passed has no quotation marks. Writing to a string does not fail.
        let _ = write!(element, ";host=\"{host}\"");
    }
    append(fields, FORWARDED, element);
    // A trusted proxy knows how and as what it was asked.
    if let Entry::Vacant(place) = fields.entry(PROTO) {
        place.insert(HTTP);
    }
    if let (Entry::Vacant(place), Some(host)) = (fields.entry(FORWARDED_HOST), host) {
        place.insert(host);
    }
}

/// Adds to the end of a list, which may stand in several fields.
fn append(fields: &mut HeaderMap, name: HeaderName, added: String) {
    let before = fields.get_all(&name).iter().filter_map(|value| value.to_str().ok());
    let mut list = before.collect::<Vec<_>>().join(", ");
    let value = if list.is_empty() {
        added
    } else {
        list.push_str(", ");
        list + &added
    };
    if let Ok(value) = HeaderValue::try_from(value) {
        fields.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(fields: &[(&str, &str)], peer: Peer, is_trusted: bool) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, value.parse().unwrap());
        }
        tell(&mut map, Origin { peer, is_trusted, may_be_said: true });
        let mut told: Vec<_> = map
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        told.sort();
        told
    }

    const SAID: [(&str, &str); 8] = [
        ("host", "shop.example:80"),
        ("forwarded", "for=1.1.1.1"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("x_forwarded_host", "evil.example"),
        ("x-real-ip", "1.1.1.1"),
    ];

    #[test]
    fn what_a_client_says_of_itself_is_not_passed_on() {
        assert_eq!(
            told(&SAID, Peer::Tcp("[2001:db8::1]:9".parse().unwrap()), false),
            [
                "forwarded: for=\"[2001:db8::1]\";proto=http;host=\"shop.example:80\"",
                "host: shop.example:80",
                "x-forwarded-for: 2001:db8::1",
                "x-forwarded-host: shop.example:80",
                "x-forwarded-proto: http",
            ]
        );
        assert_eq!(
            told(&SAID, Peer::Unix(None), false),
            [
                "forwarded: for=unknown;proto=http;host=\"shop.example:80\"",
                "host: shop.example:80",
                "x-forwarded-host: shop.example:80",
                "x-forwarded-proto: http",
            ]
        );
    }

    #[test]
    fn a_field_that_may_be_taken_for_a_variable_comes_from_trusted_proxies_only() {
        let (said, peer) = ([("script_name", "/admin")], Peer::Tcp("10.0.0.1:9".parse().unwrap()));
        let has = |is_trusted| told(&said, peer, is_trusted).concat().contains("script_name");
        assert!(!has(false) && has(true));
    }

    #[test]
    fn what_a_trusted_proxy_says_is_passed_on_with_the_proxy_behind_it() {
        let told = told(&SAID, Peer::Tcp("10.0.0.1:9".parse().unwrap()), true);
        for line in [
            "forwarded: for=1.1.1.1, for=10.0.0.1;proto=http;host=\"shop.example:80\"",
            "x-forwarded-for: 1.1.1.1, 2.2.2.2, 10.0.0.1",
            "x-forwarded-proto: https",
            "x-forwarded-port: 443",
            "x-real-ip: 1.1.1.1",
        ] {
            assert!(told.iter().any(|told| told == line), "{line}: {told:?}");
        }
    }
}
