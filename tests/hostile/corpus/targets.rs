//! The request target: four forms, each for its methods, and nothing else.

use super::{Answered, BAD, Declined, Expected, One, Row, bytes, case, closing};

/// This is no proxy.
const NO_TUNNEL: Expected = Declined(&[400, 405, 501]);
const FORMS: &str =
    "RFC 9112 section 3.2: origin-form, absolute-form, authority-form or asterisk-form";
const CONNECT: &str = "RFC 9110 section 9.3.6: a server that is no proxy; a 2xx would be a tunnel";

pub(super) const ROWS: &[Row] = &[
    case(
        "absolute-form",
        b"GET http://test/path HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 9112 section 3.2.2: a server MUST accept the absolute-form",
    ),
    case(
        "absolute-form with another host",
        b"GET http://other/path HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 9112 section 3.2.2: Host is to be ignored in favour of the target",
    ),
    case(
        "absolute-form without Host",
        b"GET http://test/path HTTP/1.1\r\n\r\n",
        BAD,
        "RFC 9112 section 3.2: 400 to any request of HTTP/1.1 that lacks Host",
    ),
    case(
        "absolute-form without a host",
        b"GET http:///path HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9110 section 4.2.1: an empty host is invalid",
    ),
    case(
        "absolute-form with a port out of range",
        b"GET http://test:99999/ HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 3986 section 3.2.3, RFC 9293: ports end at 65535",
    ),
    case(
        "absolute-form with a port of letters",
        b"GET http://test:port/ HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 3986 section 3.2.3",
    ),
    case(
        "absolute-form with an IPv6 address cut short",
        b"GET http://[::1/ HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 3986 section 3.2.2",
    ),
    case(
        "absolute-form without a scheme",
        b"GET ://test/ HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 3986 section 3.1: a scheme begins with a letter",
    ),
    case(
        "absolute-form with a scheme that begins with a digit",
        b"GET 1http://test/ HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 3986 section 3.1: a scheme begins with a letter",
    ),
    case(
        "authority-form with GET",
        b"GET test:80 HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9112 section 3.2.3: only with CONNECT; an invalid request-line SHOULD be 400",
    ),
    case("a bare word with GET", b"GET test HTTP/1.1\r\nHost: test\r\n\r\n", BAD, FORMS),
    case("a path without a slash", b"GET path/file HTTP/1.1\r\nHost: test\r\n\r\n", BAD, FORMS),
    case("only a query", b"GET ?query HTTP/1.1\r\nHost: test\r\n\r\n", BAD, FORMS),
    case("only dots", b"GET .. HTTP/1.1\r\nHost: test\r\n\r\n", BAD, FORMS),
    case(
        "asterisk-form with OPTIONS",
        b"OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 9112 section 3.2.4: for the server as a whole",
    ),
    case(
        "asterisk-form with GET",
        b"GET * HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9112 section 3.2.4: only with OPTIONS",
    ),
    case("two asterisks", b"OPTIONS ** HTTP/1.1\r\nHost: test\r\n\r\n", BAD, FORMS),
    case(
        "CONNECT in authority-form",
        b"CONNECT test:443 HTTP/1.1\r\nHost: test\r\n\r\n",
        NO_TUNNEL,
        CONNECT,
    ),
    case(
        "CONNECT without a port",
        b"CONNECT test HTTP/1.1\r\nHost: test\r\n\r\n",
        NO_TUNNEL,
        CONNECT,
    ),
    case(
        "CONNECT with a user",
        b"CONNECT user@test:443 HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        CONNECT,
    ),
    case(
        "CONNECT to brackets in a name",
        b"CONNECT te[]st:443 HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        CONNECT,
    ),
    case("CONNECT in origin-form", b"CONNECT / HTTP/1.1\r\nHost: test\r\n\r\n", NO_TUNNEL, CONNECT),
    case(
        "CONNECT in absolute-form",
        b"CONNECT http://test/ HTTP/1.1\r\nHost: test\r\n\r\n",
        NO_TUNNEL,
        CONNECT,
    ),
    case(
        "TRACE",
        b"TRACE / HTTP/1.1\r\nHost: test\r\nCookie: secret=1\r\n\r\n",
        Declined(&[405, 501]),
        "RFC 9110 section 9.3.8: optional, and it would repeat credentials",
    ),
    case("a NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: test\r\n\r\n", BAD, FORMS),
    case(
        "a bare CR in the target",
        b"GET /\r/x HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9112 section 2.2: bare CR",
    ),
    case("DEL in the target", b"GET /\x7f HTTP/1.1\r\nHost: test\r\n\r\n", BAD, FORMS),
    case(
        "an escape character in the target",
        b"GET /\x1b[2J HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        FORMS,
    ),
    case(
        "a fragment in the target",
        bytes!("GET /path#fragment HTTP/1.1\r\nHost: test\r\n\r\n", closing!()),
        BAD,
        "RFC 9112 section 3.2: no form has one; an invalid request-line SHOULD be 400",
    ),
    case(
        "bytes above 127 in the target",
        b"GET /\xc3\xa4 HTTP/1.1\r\nHost: test\r\n\r\n",
        One,
        "RFC 3986 excludes them, but clients send them: SHOULD be 400 only, and nothing is decoded",
    ),
    case(
        "bytes in the target that are not even UTF-8",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 3986 section 2: not URI characters",
    ),
    case(
        "quotes, brackets and backslashes in the target",
        b"GET /\"<>\\^`{|} HTTP/1.1\r\nHost: test\r\n\r\n",
        One,
        "RFC 3986 excludes them, but browsers send them: SHOULD be 400 only, and nothing is decoded",
    ),
    case(
        "dot segments in the target",
        b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 3986 section 5.2.4: valid; there are no files behind it",
    ),
    case(
        "an escaped CR LF in the target",
        b"GET /%0d%0aX-Request-Id:%20smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 3986 section 2.1: valid; it must come back nowhere",
    ),
    case(
        "a percent sign with nothing after it",
        b"GET /% HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 3986 section 2.1 forbids it, SHOULD be 400; nothing is decoded here",
    ),
    case(
        "two slashes",
        b"GET //other/path HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 9112 section 3.2.1: absolute-path allows empty segments",
    ),
];
