//! What the application is told of where a request comes from.
//!
//! All of these fields are written anew, unless the client is a proxy that is trusted: an application that reads one
//! of them must not find what a client has written there. Servers that hand fields on as variables (CGI, WSGI) see
//! `X_Forwarded_For` and `X-Forwarded-For` as one, so underscores count as hyphens here. gunicorn even takes `SCRIPT_NAME`
//! for the variable, from whoever connects by its Unix socket, and a client would choose what of the path the
//! application gets to see: fields with an underscore come from trusted proxies only, as nginx has it.
//!
//! # Source
//! RFC 7239 (Forwarded), RFC 9440 (Client-Cert). The others have no specification; they are as MDN describes them.

use std::net::IpAddr;
use std::ops::Range;

use http::header::{Entry, FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::sockets::peer::Peer;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// Where a request comes from.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) client: Client,
    pub(super) is_trusted: bool,
    /// The client may have said something of it itself.
    pub(super) may_be_said: bool,
}

/// Who sends a request, and how.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) peer: Peer,
    /// It has come over TLS.
    pub(crate) is_secured: bool,
    /// The certificate that it has shown, as the field has it.
    pub(crate) certificate: Option<HeaderValue>,
}

// === impl Client ===

#[cfg(test)]
impl Client {
    /// A request that is no client's.
    pub(super) fn unknown() -> Self {
        Self { peer: Peer::Other, is_secured: false, certificate: None }
    }
}

/// Tells whether a field is one of these, or would be taken for one.
pub(super) fn is_origin(name: &str) -> bool {
    const PREFIX: &[u8] = b"x-forwarded";
    const CERT_PREFIX: &[u8] = b"client-cert";
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
        Some(b'c') => name.len() >= CERT_PREFIX.len() && same(name, CERT_PREFIX),
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
    if let Some(certificate) = origin.client.certificate {
        fields.insert(CLIENT_CERT, certificate);
    }
    let (scheme, proto): (&[u8], _) =
        if origin.client.is_secured { (b"https", HTTPS) } else { (b"http", HTTP) };
    let node = Node::of(origin.client.peer);
    let ip = node.ip();
    let host_text = host.as_ref().and_then(|host| host.to_str().ok());
    let element = forwarded(node.as_bytes(), scheme, host_text);
    if !origin.may_be_said {
        if let Some(ip) = ip.and_then(|ip| HeaderValue::from_bytes(ip).ok()) {
            fields.insert(FOR, ip);
        }
        if let Ok(element) = HeaderValue::try_from(element) {
            fields.insert(FORWARDED, element);
        }
        fields.insert(PROTO, proto);
        if let Some(host) = host {
            fields.insert(FORWARDED_HOST, host);
        }
        return;
    }
    // A trusted proxy that speaks one of the two languages only is not contradicted in the other.
    let says_forwarded = fields.contains_key(FORWARDED);
    let says_others = [FOR, PROTO, FORWARDED_HOST].iter().any(|name| fields.contains_key(name));
    if says_forwarded || !says_others {
        append(fields, FORWARDED, &element);
    }
    if says_forwarded && !says_others {
        return;
    }
    if let Some(ip) = ip {
        append(fields, FOR, ip);
    }
    // A trusted proxy knows how and as what it was asked.
    if let Entry::Vacant(place) = fields.entry(PROTO) {
        place.insert(proto);
    }
    if let (Entry::Vacant(place), Some(host)) = (fields.entry(FORWARDED_HOST), host) {
        place.insert(host);
    }
}

/// The element of Forwarded, of its exact length: a header's value is made of it without a copy.
fn forwarded(node: &[u8], scheme: &[u8], host: Option<&str>) -> Vec<u8> {
    let nothing: [&[u8]; 3] = [b"", b"", b""];
    // A host that has passed has no quotation marks.
    let host = host.map_or(nothing, |host| [b";host=\"", host.as_bytes(), b"\""]);
    let parts = [b"for=", node, b";proto=", scheme, host[0], host[1], host[2]];
    parts.concat()
}

/// Adds to the end of a list, which may stand in several fields.
fn append(fields: &mut HeaderMap, name: HeaderName, added: &[u8]) {
    let before = fields.get_all(&name).iter().filter_map(|value| value.to_str().ok());
    let before = before.map(str::as_bytes).filter(|value| !value.is_empty());
    let list = before.chain([added]).collect::<Vec<_>>().join(&b", "[..]);
    if let Ok(value) = HeaderValue::try_from(list) {
        fields.insert(name, value);
    }
}

/// The longest node, in brackets and quotation marks.
const NODE_MAX: usize = "\"[]\"".len() + "0000:0000:0000:0000:0000:0000:255.255.255.255".len();

/// The client as Forwarded names it: written for each request, and so without an allocation.
struct Node {
    bytes: [u8; NODE_MAX],
    length: usize,
    /// Where in it the address is.
    ip: Range<usize>,
}

// === impl Node ===

impl Node {
    fn of(peer: Peer) -> Self {
        let mut node = Self { bytes: [0; NODE_MAX], length: 0, ip: 0..0 };
        match peer {
            Peer::Tcp(address) => match address.ip() {
                IpAddr::V4(ip) => {
                    for (at, octet) in ip.octets().into_iter().enumerate() {
                        if at > 0 {
                            node.push(b'.');
                        }
                        node.push_decimal(octet);
                    }
                    node.ip = 0..node.length;
                }
                IpAddr::V6(ip) => {
                    let text = ip.to_string();
                    b"\"["
                        .iter()
                        .chain(text.as_bytes())
                        .chain(b"]\"")
                        .for_each(|byte| node.push(*byte));
                    node.ip = 2..node.length - 2;
                }
            },
            Peer::Unix(_) | Peer::Other => b"unknown".iter().for_each(|byte| node.push(*byte)),
        }
        node
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The address alone, if it has one.
    fn ip(&self) -> Option<&[u8]> {
        (!self.ip.is_empty()).then(|| &self.bytes[self.ip.clone()])
    }

    fn push_decimal(&mut self, number: u8) {
        if number >= 100 {
            self.push(b'0' + number / 100);
        }
        if number >= 10 {
            self.push(b'0' + number / 10 % 10);
        }
        self.push(b'0' + number % 10);
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn told(fields: &[(&str, &str)], peer: Peer, is_trusted: bool) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, value.parse().unwrap());
        }
        let client = Client { peer, ..Client::unknown() };
        tell(&mut map, Origin { client, is_trusted, may_be_said: true });
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
    fn addresses_are_written_as_the_standard_library_writes_them() {
        for ip in
            ["0.0.0.0", "9.10.99.100", "255.255.255.255", "::", "2001:db8::1", "::ffff:1.2.3.4"]
        {
            let ip: IpAddr = ip.parse().unwrap();
            let node = Node::of(Peer::Tcp((ip, 9).into()));
            assert_eq!(node.ip(), Some(ip.to_string().as_bytes()));
        }
        let longest = "1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap();
        let node = Node::of(Peer::Tcp(SocketAddr::new(longest, 9)));
        assert_eq!(node.as_bytes(), format!("\"[{longest}]\"").as_bytes());
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
