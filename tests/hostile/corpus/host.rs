//! The Host field: one, and valid.

use super::{Answered, BAD, Row, bytes, case, smuggled};

const ONE: &str =
    "RFC 9112 section 3.2: 400 to a request of HTTP/1.1 without Host, with two, or an invalid one";

pub(super) const ROWS: &[Row] = &[
    case("no Host", b"GET / HTTP/1.1\r\n\r\n", BAD, ONE),
    case("no Host, other fields", b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", BAD, ONE),
    case("two Hosts", b"GET / HTTP/1.1\r\nHost: test\r\nHost: other\r\n\r\n", BAD, ONE),
    case("two equal Hosts", b"GET / HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n", BAD, ONE),
    case(
        "two Hosts in different case",
        b"GET / HTTP/1.1\r\nHOST: test\r\nhost: other\r\n\r\n",
        BAD,
        ONE,
    ),
    case(
        "two Hosts with another field between",
        b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nHost: b\r\n\r\n",
        BAD,
        ONE,
    ),
    case("a list of Hosts", b"GET / HTTP/1.1\r\nHost: test, other\r\n\r\n", BAD, ONE),
    case(
        "a list of Hosts without a space",
        b"GET / HTTP/1.1\r\nHost: test,other\r\n\r\n",
        BAD,
        ONE,
    ),
    case("a Host with brackets in its name", b"GET / HTTP/1.1\r\nHost: te[]st\r\n\r\n", BAD, ONE),
    case("a Host with a space", b"GET / HTTP/1.1\r\nHost: te st\r\n\r\n", BAD, ONE),
    case("a Host with a path", b"GET / HTTP/1.1\r\nHost: test/path\r\n\r\n", BAD, ONE),
    case("a Host with a scheme", b"GET / HTTP/1.1\r\nHost: http://test\r\n\r\n", BAD, ONE),
    case(
        "a Host with a user",
        b"GET / HTTP/1.1\r\nHost: user@test\r\n\r\n",
        BAD,
        "RFC 9110 section 7.2: uri-host [ \":\" port ], without userinfo",
    ),
    case("a Host with a port of letters", b"GET / HTTP/1.1\r\nHost: test:port\r\n\r\n", BAD, ONE),
    case("a Host with two ports", b"GET / HTTP/1.1\r\nHost: test:80:81\r\n\r\n", BAD, ONE),
    case("a Host of bytes above 127", b"GET / HTTP/1.1\r\nHost: t\xc3\xabst\r\n\r\n", BAD, ONE),
    case("a Host with an open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", BAD, ONE),
    case("a Host with a query", b"GET / HTTP/1.1\r\nHost: test?x\r\n\r\n", BAD, ONE),
    case(
        "a Host with a NUL",
        b"GET / HTTP/1.1\r\nHost: test\0\r\n\r\n",
        BAD,
        "RFC 9110 section 5.5: NUL is invalid",
    ),
    case(
        "an empty Host",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        Answered(1),
        "RFC 9112 section 3.2: sent where the target URI has no authority; valid",
    ),
    case(
        "a Host with an empty port",
        b"GET / HTTP/1.1\r\nHost: test:\r\n\r\n",
        Answered(1),
        "RFC 3986 section 3.2.3: port = *DIGIT",
    ),
    case(
        "a Host in brackets",
        b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        Answered(1),
        "RFC 3986 section 3.2.2",
    ),
    case(
        "HTTP/1.0 with two Hosts",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        BAD,
        "RFC 9112 section 3.2: 400 to any request message with more than one Host",
    ),
    case(
        "no Host, and another request behind it",
        bytes!("GET / HTTP/1.1\r\n\r\n", smuggled!()),
        BAD,
        "RFC 9112 section 3.2; after an invalid request the connection is not to be trusted",
    ),
];
