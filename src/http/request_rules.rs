//! What HTTP asks of a request's head and hyper does not check: one valid host, a target of the
//! right form, and no transfer coding but chunked.
//!
//! A proxy in front and this server must not read the same bytes as different requests. A request that fails here
//! is answered, and its connection ends: nothing that follows it is taken for a request.
//!
//! A target that names a host takes the place of Host, as section 3.2.2 demands of every server: the
//! application sees one host, and it is that of the target. Of a request with both Content-Length and
//! Transfer-Encoding hyper follows the latter, takes the former out, and says `Connection: close`, as
//! section 6.1 allows: neither the application nor a server that it forwards to sees two lengths, and what
//! follows on the connection is not read.
//!
//! # Source
//! RFC 9112 sections 3.2 (target and Host), 6.1 and 7.1 (Transfer-Encoding); RFC 9113 section 8.3.1; RFC 3986 section 3.2.2
//! (hosts); RFC 6874 section 2 (zones), which RFC 9844 takes back and clients still follow.

use std::net::Ipv6Addr;

use http::header::TRANSFER_ENCODING;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};

use crate::http::refusal::Refusal;
use crate::http::request_fields::RequestFields;

/// Checks a request's head.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check<B>(request: &Request<B>, fields: &RequestFields<'_>) -> Result<(), Refusal> {
    check_target(request.method(), request.uri())?;
    check_host(request.version(), fields)?;
    if fields.has_transfer_encoding {
        check_codings(request.headers())?;
    }
    Ok(())
}

/// Checks the head of a request that came on a stream of HTTP/2; it may have so many fields.
///
/// hyper has looked at what is HTTP/2's own: names in small letters, no fields for one connection alone.
///
/// # Errors
/// What is wrong with it.
#[cfg(feature = "http2")]
pub(crate) fn check_of_stream<B>(
    request: &Request<B>,
    fields: &RequestFields<'_>,
    fields_max: usize,
) -> Result<(), Refusal> {
    if *request.method() == Method::CONNECT {
        return Err(Refusal::ConnectOfStream);
    }
    if request.headers().len() > fields_max {
        return Err(Refusal::Fields(fields_max));
    }
    let target = request.uri();
    let is_asterisk = target.path() == "*" && *request.method() == Method::OPTIONS;
    if !is_asterisk && !target.path().starts_with('/') {
        return Err(Refusal::TargetForm);
    }
    let Some(authority) = target.authority() else {
        return check_host(Version::HTTP_11, fields);
    };
    if !is_plain_host(authority.as_str().as_bytes()) && !is_host(authority.as_str()) {
        return Err(Refusal::TargetHost(authority.clone()));
    }
    // What a proxy before this server goes by is the one or the other.
    let is_same =
        |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    let is_one = fields.host.is_none_or(is_same) && !fields.has_more_hosts;
    is_one.then_some(()).ok_or(Refusal::Hosts)
}

/// The host that the target names, to take the place of the field; CONNECT's is not the server's.
pub(crate) fn host_of_target<B>(request: &Request<B>) -> Option<HeaderValue> {
    let authority = request.uri().authority().filter(|_| *request.method() != Method::CONNECT)?;
    HeaderValue::from_str(authority.as_str()).ok()
}

fn check_target(method: &Method, target: &Uri) -> Result<(), Refusal> {
    if *method == Method::CONNECT {
        let is_host_and_port = |host: &Authority| host.port().is_some() && is_host(host.as_str());
        let fits = target.scheme().is_none() && target.authority().is_some_and(is_host_and_port);
        fits.then_some(()).ok_or(Refusal::ConnectTarget)
    } else if target.path() == "*" {
        let fits = *method == Method::OPTIONS && target.authority().is_none();
        fits.then_some(()).ok_or(Refusal::Asterisk)
    } else if let Some(host) = target.authority() {
        if !target.scheme_str().is_some_and(is_scheme) {
            return Err(Refusal::TargetForm);
        }
        is_host(host.as_str()).then_some(()).ok_or_else(|| Refusal::TargetHost(host.clone()))
    } else {
        target.path().starts_with('/').then_some(()).ok_or(Refusal::TargetForm)
    }
}

/// Tells whether `text` is a scheme, RFC 3986 section 3.1; the http crate takes digits and nothing as well.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn check_host(version: Version, fields: &RequestFields<'_>) -> Result<(), Refusal> {
    match fields.host {
        Some(_) if fields.has_more_hosts => Err(Refusal::Hosts),
        Some(host) => {
            let is_valid = is_plain_host(host.as_bytes()) || host.to_str().is_ok_and(is_host);
            is_valid.then_some(()).ok_or_else(|| Refusal::Host(host.clone()))
        }
        None => (version < Version::HTTP_11).then_some(()).ok_or(Refusal::NoHost),
    }
}

/// Tells whether a host is of the form that nearly all have, a name or an IPv4 address and perhaps a
/// port of up to four digits: it is valid then. Quick, since it is done for every request.
fn is_plain_host(host: &[u8]) -> bool {
    match host.iter().position(|byte| !OF_NAMES[usize::from(*byte)]) {
        None => !host.is_empty(),
        Some(0) => false,
        Some(name) => match &host[name..] {
            [b':', port @ ..] => port.len() <= 4 && port.iter().all(u8::is_ascii_digit),
            _ => false,
        },
    }
}

/// The bytes of plain names.
static OF_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        #[expect(clippy::cast_possible_truncation, reason = "the table has as many places")]
        let character = byte as u8;
        table[byte] = character.is_ascii_alphanumeric() || matches!(character, b'.' | b'-');
        byte += 1;
    }
    table
};

/// Tells whether `text` is `uri-host [ ":" port ]`, or empty, as for a target without a host.
///
/// The http crate's `Authority` would take more: brackets in a name, text between the bracket and the colon,
/// signs before a port.
pub(crate) fn is_host(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let (is_host, rest) = if let Some(inside) = text.strip_prefix('[') {
        let Some((address, rest)) = inside.split_once(']') else { return false };
        let (address, zone) = address.split_once('%').unwrap_or((address, "0"));
        (address.parse::<Ipv6Addr>().is_ok() && is_zone(zone), rest)
    } else {
        let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        (is_name(name), rest)
    };
    is_host && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

/// Tells whether `name` is a `reg-name` and not empty. By the grammar it may have commas and escapes,
/// too, but no name that resolves has them, and a comma may stand between two Host fields that were joined.
fn is_name(name: &str) -> bool {
    let is_of_names = |byte: u8| {
        OF_NAMES[usize::from(byte)]
            || matches!(byte, b'_' | b'~' | b'!' | b'$' | b'&'..=b'+' | b';' | b'=')
    };
    !name.is_empty() && name.bytes().all(is_of_names)
}

/// Tells whether `zone` is a `ZoneID`, with or without the `25` that the % is written with in a URI. Of the
/// characters of interfaces' names no more than these can stand there.
fn is_zone(zone: &str) -> bool {
    let fits = |byte: u8| OF_NAMES[usize::from(byte)] || matches!(byte, b'_' | b'~');
    !zone.is_empty() && zone.bytes().all(fits)
}

/// Tells whether `port` is one of the 65,536, or empty, as a port may be.
fn is_port(port: &str) -> bool {
    port.is_empty()
        || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

fn check_codings(headers: &HeaderMap) -> Result<(), Refusal> {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    // Empty elements of a list are ignored, RFC 9110 section 5.6.1.2.
    let mut codings = values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty());
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(()),
        // Twice, or not alone.
        _ => Err(Refusal::Codings),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::HOST;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_hosts_and_nothing_else() {
        for host in [
            "",
            "a",
            "a:80",
            "a:",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:65535",
            "a.b-c_d",
            "[fe80::1%25eth0]:80",
            "[fe80::1%2]",
        ] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "a b",
            "u@a",
            "a/b",
            "http://a",
            "a?b",
            "[::1",
            "a:65536",
            "a:b",
            ":80",
            "a:1:2",
            "[::1]x:80",
            "[::1]80",
            "a:+80",
            ",",
            "a,b",
            "A[]a",
            "[a]",
            "[fe80::1%]",
            "[fe80::1%25eth0",
            "[fe80::1%a%b]",
            "[fe80::1%a:b]",
            "[%25eth0]",
            "[a%25eth0]",
            "127.0.0.1%lo",
            "[]",
        ] {
            assert!(!is_host(host), "{host}");
            assert!(!is_plain_host(host.as_bytes()), "{host}");
        }
    }

    /// The status for a request with these fields, if it can be made at all.
    fn status(target: &str, name: http::HeaderName, value: &[u8]) -> Option<StatusCode> {
        let request = Request::builder().uri(target).version(Version::HTTP_10);
        let request = request.header(name, value).body(()).ok()?;
        let refused = check(&request, &RequestFields::of(request.headers())).err();
        Some(refused.map_or(StatusCode::OK, |refusal| refusal.status()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_passes_as_a_host_is_a_name_and_a_port(
            text in "(a|\\[::1(%[a-z0-9._~%-]{0,6})?\\])?[a-zA-Z0-9.:@/?#%+,\\[\\] _-]{0,24}|\\PC{0,24}",
        ) {
            if is_host(&text) && !text.is_empty() {
                let (host, port) = match text.rfind(']').map(|end| text.split_at(end + 1)) {
                    Some((host, rest)) => (host, rest.strip_prefix(':').unwrap_or(rest)),
                    None => text.split_once(':').unwrap_or((&text, "")),
                };
                prop_assert!(!host.is_empty());
                prop_assert!(!host.contains(['@', '/', '?', '#', ' ', ',']), "{}", host);
                prop_assert!(port.bytes().all(|byte| byte.is_ascii_digit()), "{}", port);
                prop_assert!(text.parse::<Authority>().is_ok(), "{}", text);
            }
        }

        #[test]
        fn what_passes_at_a_glance_passes_a_closer_look(text in "[a-zA-Z0-9.:@/%+,\\[\\]_-]{0,12}") {
            prop_assert!(!is_plain_host(text.as_bytes()) || is_host(&text), "{}", text);
        }

        #[test]
        fn chunked_once_and_alone_is_the_only_coding(
            codings in prop::collection::vec("| |chunked|CHUNKED |gzip|chunked;q|identity|[!-~]{1,9}", 0..4),
        ) {
            let value = codings.join(",");
            let named: Vec<_> = value.split(',').map(str::trim).filter(|coding| !coding.is_empty()).collect();
            let is_fine = match named[..] {
                [] => true,
                [coding] => coding.eq_ignore_ascii_case("chunked"),
                _ => false,
            };
            if let Some(status) = status("/", TRANSFER_ENCODING, value.as_bytes()) {
                prop_assert_eq!(status == StatusCode::OK, is_fine, "{}", value);
            }
        }

        #[test]
        fn a_target_that_passes_is_a_path_or_names_a_host(target in "([a-z]{0,5}://)?[!-~]{0,30}") {
            if status(&target, HOST, b"a") == Some(StatusCode::OK) {
                let scheme = target.split_once("://").map_or("", |(scheme, _)| scheme);
                let has_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
                prop_assert!(target.starts_with('/') || has_scheme, "{}", target);
            }
        }
    }
}
