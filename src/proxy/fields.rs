//! The head of a message on its way through: what is for one connection alone goes, what the application has to know
//! of the client comes.
//!
//! # Source
//! RFC 9110 sections 7.6 (Connection, Max-Forwards, Via) and 7.8 (Upgrade); RFC 9112 section 6 (lengths).

#[cfg(feature = "http2")]
pub(super) mod http2;
pub(super) mod trailers;

use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, FORWARDED, HOST, MAX_FORWARDS,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, request, response};
use hyper::ext::ReasonPhrase;

use crate::http::request_fields::names;
use crate::proxy::forwarded::{self, Client, Origin};
use crate::proxy::length::Length;
use crate::proxy::request_body::AttemptBody;
use crate::proxy::settings::Settings;
use crate::proxy::wire::Wire;

/// What CGI would hand on as `HTTP_PROXY`, which many programs take for the address of their own proxy.
const PROXY: HeaderName = HeaderName::from_static("proxy");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const LOCALHOST: HeaderValue = HeaderValue::from_static("localhost");

/// The proxy's name in Via, behind the version in which it has received the message.
const RECEIVED_BY: &str = "1.1 lockstepd";
const RECEIVED_BY_HTTP2: &str = "2.0 lockstepd";

/// How many fields a request gets at most: Via, Host, the length's, and those about the client.
const FIELDS_ADDED: usize = 8;

/// A request's head as the application gets it, as often as it is sent.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    target: Uri,
    fields: Fields,
    /// The client waits to be asked for the body.
    pub(super) expects: bool,
    /// The client offers another protocol, which the application may agree to.
    pub(super) offer: Option<HeaderValue>,
}

/// Where a request's fields are.
#[derive(Debug)]
enum Fields {
    Here(HeaderMap),
    /// They went with the last attempt.
    Sent(Arc<Wire>),
}

/// What one pass over the fields finds.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is about a field of its own")]
struct Found {
    connection: bool,
    upgrade: bool,
    te: bool,
    /// There are fields that are for one connection alone, and rare.
    hop_by_hop: bool,
    transfer_encoding: bool,
    expect: bool,
    host: bool,
    via: bool,
    length: bool,
    /// What a client may say of where it comes from.
    origins: bool,
}

// === impl Head ===

impl Head {
    /// The head that goes to the application.
    pub(super) fn of(
        parts: request::Parts,
        length: Length,
        client: Client,
        settings: &Settings,
    ) -> Self {
        let request::Parts { method, uri, version, headers: mut fields, .. } = parts;
        let found = Found::of(&fields);
        // At once what would otherwise come in steps, each of which moves all of them.
        fields.reserve(FIELDS_ADDED);
        // HTTP/1.0 has no upgrades: hyper would keep the client's socket, and the application have agreed in vain.
        let may_offer = length == Length::Nothing && version >= Version::HTTP_11;
        let may_offer = may_offer && found.connection && found.upgrade;
        let offer = if may_offer { offered(&fields) } else { None };
        let wants_trailers =
            found.te && fields.get_all(TE).iter().any(|value| names(value, b"trailers"));
        let expects = found.expect && length != Length::Nothing && version >= Version::HTTP_11;
        found.remove_hop_by_hop(&mut fields, offer.is_some());
        if offer.is_some() {
            fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        } else if wants_trailers {
            fields.insert(TE, TRAILERS);
            fields.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        if found.expect && !expects {
            fields.remove(EXPECT);
        }
        length.tell(&mut fields, found.length);
        if !found.host {
            // An HTTP/1.0 request needs none, the application's does.
            fields.insert(HOST, LOCALHOST);
        }
        let is_trusted = settings.trusted.iter().any(|trusted| trusted.is(client.peer));
        forwarded::tell(&mut fields, Origin { client, is_trusted, may_be_said: found.origins });
        if settings.via {
            add_via(&mut fields, found.via, received_by(version));
        }
        let (target, fields) = (target(&method, uri, version), Fields::Here(fields));
        Self { method, target, fields, expects, offer }
    }

    /// The request, for an attempt over the connection with this wire; none if nothing is known of its fields any more.
    pub(super) fn request(
        &mut self,
        body: AttemptBody,
        wire: &Arc<Wire>,
    ) -> Option<Request<AttemptBody>> {
        let fields = match std::mem::replace(&mut self.fields, Fields::Sent(Arc::clone(wire))) {
            Fields::Here(fields) => fields,
            Fields::Sent(wire) => wire.fields().take()?,
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = fields;
        if wire.is_http2() {
            // What is written cannot be read back there.
            self.fields = Fields::Here(request.headers().clone());
        }
        Some(request)
    }
}

/// The target in the form that a server gets: a path, or `*`.
fn target(method: &Method, uri: Uri, version: Version) -> Uri {
    let parts = uri.into_parts();
    // Of a whole server, section 3.2.4 of RFC 9112.
    let is_of_server = |path: &PathAndQuery| *method == Method::OPTIONS && path.as_str() == "/";
    // In HTTP/2 there is always a path, and the asterisk is one.
    let is_absolute = parts.authority.is_some() && version < Version::HTTP_2;
    match parts.path_and_query {
        Some(path) if is_absolute && is_of_server(&path) => Uri::from_static("*"),
        Some(path) => path.into(),
        None => Uri::from_static("/"),
    }
}

/// Makes an answer's head that of an answer to the client.
pub(super) fn pass_back(answer: &mut response::Parts, settings: &Settings) {
    let found = Found::of(&answer.headers);
    found.remove_hop_by_hop(&mut answer.headers, false);
    if found.transfer_encoding {
        answer.headers.remove(TRANSFER_ENCODING);
        // It was the coding that told where the body ends, RFC 9112 section 6.3: the client must not go by another.
        answer.headers.remove(CONTENT_LENGTH);
    }
    if settings.via {
        add_via(&mut answer.headers, found.via, received_by(answer.version));
    }
    if answer.version == Version::HTTP_2 {
        answer.version = Version::HTTP_11;
    }
    // Of hyper's, what the client is to see.
    let reason = answer.extensions.remove::<ReasonPhrase>();
    answer.extensions.clear();
    if let Some(reason) = reason {
        answer.extensions.insert(reason);
    }
}

/// Tells whether an answer comes in a transfer coding that was not asked for: the client would take what is coded for
/// the content.
pub(super) fn has_other_coding(fields: &HeaderMap) -> bool {
    let values = fields.get_all(TRANSFER_ENCODING).iter();
    let codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut named = codings.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty());
    named.any(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
}

/// Tells whether an answer is of a kind that has no end, such as server-sent events.
pub(super) fn is_endless(fields: &HeaderMap) -> bool {
    const KINDS: [&[u8]; 3] =
        [b"text/event-stream", b"multipart/x-mixed-replace", b"application/grpc"];
    let kind = fields.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    KINDS.iter().any(|of| kind.get(..of.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(of)))
}

/// The answer to an OPTIONS that may go no further, if it is one; takes one off the number otherwise.
pub(super) fn is_last_hop(method: &Method, fields: &mut HeaderMap) -> bool {
    if *method != Method::OPTIONS {
        return false;
    }
    let Some(value) = fields.get(MAX_FORWARDS) else { return false };
    let left = value.to_str().ok().and_then(|text| text.parse::<u32>().ok());
    match left {
        Some(0) => true,
        Some(left) => {
            fields.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            false
        }
        None => false,
    }
}

/// The protocol that the client offers, if a tunnel is made for it. HTTP/2 and TLS are not: what is said in them
/// would be requests that nobody has looked at.
fn offered(fields: &HeaderMap) -> Option<HeaderValue> {
    let is_asked = fields.get_all(CONNECTION).iter().any(|value| names(value, b"upgrade"));
    let mut offers = fields.get_all(UPGRADE).iter();
    let (Some(value), None) = (offers.next(), offers.next()) else { return None };
    let offer = value.as_bytes().trim_ascii().to_ascii_lowercase();
    let is_one = !offer.is_empty() && !offer.contains(&b',');
    let is_hidden = [&b"h2"[..], b"http", b"tls"].iter().any(|other| offer.starts_with(other));
    (is_asked && is_one && !is_hidden).then(|| value.clone())
}

fn received_by(version: Version) -> &'static str {
    if version == Version::HTTP_2 { RECEIVED_BY_HTTP2 } else { RECEIVED_BY }
}

fn add_via(fields: &mut HeaderMap, has_via: bool, received_by: &str) {
    let before = fields.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    let via = if has_via {
        before.chain([received_by]).collect::<Vec<_>>().join(", ")
    } else {
        received_by.to_owned()
    };
    if let Ok(via) = HeaderValue::try_from(via) {
        fields.insert(VIA, via);
    }
}

// === impl Found ===

impl Found {
    fn of(fields: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in fields.keys() {
            if *name == HOST {
                found.host = true;
            } else if *name == CONNECTION {
                found.connection = true;
            } else if *name == CONTENT_LENGTH {
                found.length = true;
            } else if *name == TRANSFER_ENCODING {
                found.transfer_encoding = true;
            } else if *name == TE {
                found.te = true;
            } else if *name == EXPECT {
                found.expect = true;
            } else if *name == UPGRADE {
                found.upgrade = true;
            } else if *name == VIA {
                found.via = true;
            } else if [PROXY_AUTHENTICATE, PROXY_AUTHORIZATION].contains(name) {
                found.hop_by_hop = true;
            } else if *name == FORWARDED {
                found.origins = true;
            } else {
                let name = name.as_str();
                found.hop_by_hop |=
                    name == "keep-alive" || name == "proxy-connection" || name == "proxy";
                found.origins |= forwarded::is_origin(name) || forwarded::has_underscore(name);
            }
        }
        found
    }

    /// Removes what is for one connection alone.
    fn remove_hop_by_hop(&self, fields: &mut HeaderMap, keeps_upgrade: bool) {
        if self.connection {
            for name in named(fields) {
                // Host and the length are for the application, whatever a client says.
                let is_kept = keeps_upgrade && name == UPGRADE;
                if !is_kept && ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
                    fields.remove(name);
                }
            }
            fields.remove(CONNECTION);
        }
        if self.hop_by_hop {
            for name in
                [PROXY, KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION]
            {
                fields.remove(name);
            }
        }
        if self.transfer_encoding {
            fields.remove(TRANSFER_ENCODING);
        }
        if self.te {
            fields.remove(TE);
        }
        if self.upgrade && !keeps_upgrade {
            fields.remove(UPGRADE);
        }
    }
}

/// The fields that Connection names.
fn named(fields: &HeaderMap) -> Vec<HeaderName> {
    let values = fields.get_all(CONNECTION).iter();
    let options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok()).collect()
}
