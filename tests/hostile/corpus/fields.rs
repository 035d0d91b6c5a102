//! Field lines: names, colons, values, folding, and what ends them.

use super::{Answered, BAD, Case, Row, case};

const NAME: &str = "RFC 9110 section 5.1: a field name is a token";
const COLON: &str = "RFC 9112 section 5.1: 400 to whitespace between a field name and its colon";
const FOLD: &str = "RFC 9112 section 5.2: reject obs-fold with 400, or replace it";
const VALUE: &str = "RFC 9110 section 5.5: CR, LF and NUL are invalid; reject or replace by SP";

pub(super) const ROWS: &[Row] = &[
    case("a space before the colon", b"GET / HTTP/1.1\r\nHost : test\r\n\r\n", BAD, COLON),
    case("a tab before the colon", b"GET / HTTP/1.1\r\nHost\t: test\r\n\r\n", BAD, COLON),
    case("a vertical tab before the colon", b"GET / HTTP/1.1\r\nHost\x0b: test\r\n\r\n", BAD, NAME),
    case("a form feed before the colon", b"GET / HTTP/1.1\r\nHost\x0c: test\r\n\r\n", BAD, NAME),
    case("a space in a name", b"GET / HTTP/1.1\r\nHost: test\r\nX Y: z\r\n\r\n", BAD, NAME),
    case("a NUL in a name", b"GET / HTTP/1.1\r\nHost: test\r\nX\0Y: z\r\n\r\n", BAD, NAME),
    case("a slash in a name", b"GET / HTTP/1.1\r\nHost: test\r\nX/Y: z\r\n\r\n", BAD, NAME),
    case("quotes in a name", b"GET / HTTP/1.1\r\nHost: test\r\n\"X\": z\r\n\r\n", BAD, NAME),
    case("brackets in a name", b"GET / HTTP/1.1\r\nHost: test\r\n[X]: z\r\n\r\n", BAD, NAME),
    case(
        "a name of bytes above 127",
        b"GET / HTTP/1.1\r\nHost: test\r\n\xc3\x84: z\r\n\r\n",
        BAD,
        NAME,
    ),
    case("an empty name", b"GET / HTTP/1.1\r\nHost: test\r\n: z\r\n\r\n", BAD, NAME),
    case("a line without a colon", b"GET / HTTP/1.1\r\nHost: test\r\nnothing\r\n\r\n", BAD, NAME),
    case(
        "a line that is another request line",
        b"GET / HTTP/1.1\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        NAME,
    ),
    case("a folded value", b"GET / HTTP/1.1\r\nHost: test\r\nX: a\r\n b\r\n\r\n", BAD, FOLD),
    case(
        "a value folded with a tab",
        b"GET / HTTP/1.1\r\nHost: test\r\nX: a\r\n\tb\r\n\r\n",
        BAD,
        FOLD,
    ),
    case("a folded Host", b"GET / HTTP/1.1\r\nHost:\r\n test\r\n\r\n", BAD, FOLD),
    case(
        "a folded Content-Length",
        b"POST /length HTTP/1.1\r\nHost: test\r\nContent-Length:\r\n 5\r\n\r\nhello",
        BAD,
        FOLD,
    ),
    case(
        "a folded Transfer-Encoding",
        b"POST /length HTTP/1.1\r\nHost: test\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        BAD,
        FOLD,
    ),
    case(
        "a line of spaces among the fields",
        b"GET / HTTP/1.1\r\nHost: test\r\n   \r\nX: y\r\n\r\n",
        BAD,
        FOLD,
    ),
    case("a space before a name", b"GET / HTTP/1.1\r\nHost: test\r\n X: y\r\n\r\n", BAD, FOLD),
    case("a NUL in a value", b"GET / HTTP/1.1\r\nHost: test\r\nX: a\0b\r\n\r\n", BAD, VALUE),
    case("a bare CR in a value", b"GET / HTTP/1.1\r\nHost: test\r\nX: a\rb\r\n\r\n", BAD, VALUE),
    case(
        "a bare CR that hides a field",
        b"GET / HTTP/1.1\r\nHost: test\r\nX: a\rContent-Length: 9\r\n\r\n",
        BAD,
        VALUE,
    ),
    case("a bare CR before a colon", b"GET / HTTP/1.1\r\nHost: test\r\nX\r: y\r\n\r\n", BAD, NAME),
    case(
        "a value that ends with CR CR LF",
        b"GET / HTTP/1.1\r\nHost: test\r\nX: a\r\r\n\r\n",
        BAD,
        VALUE,
    ),
    case(
        "DEL in a value",
        b"GET / HTTP/1.1\r\nHost: test\r\nX: a\x7fb\r\n\r\n",
        BAD,
        "RFC 9110 section 5.5: field-vchar is VCHAR or obs-text",
    ),
    case(
        "an escape character in a value",
        b"GET / HTTP/1.1\r\nHost: test\r\nX: \x1b[2J\r\n\r\n",
        BAD,
        "RFC 9110 section 5.5",
    ),
    case(
        "a backspace in a value",
        b"GET / HTTP/1.1\r\nHost: test\r\nX: a\x08\r\n\r\n",
        BAD,
        "RFC 9110 section 5.5",
    ),
    case(
        "bytes above 127 in a value",
        b"GET / HTTP/1.1\r\nHost: test\r\nX: \xc3\xa4\xff\r\n\r\n",
        Answered(1),
        "RFC 9110 section 5.5: obs-text, opaque",
    ),
    case(
        "a tab in a value",
        b"GET / HTTP/1.1\r\nHost: test\r\nX: a\tb\r\n\r\n",
        Answered(1),
        "RFC 9110 section 5.5: HTAB is allowed",
    ),
    case(
        "an empty value",
        b"GET / HTTP/1.1\r\nHost: test\r\nX:\r\n\r\n",
        Answered(1),
        "RFC 9110 section 5.5: field-value = *field-content",
    ),
    case(
        "no space after the colon",
        b"GET / HTTP/1.1\r\nHost:test\r\n\r\n",
        Answered(1),
        "RFC 9112 section 5: OWS may be nothing",
    ),
    case(
        "whitespace around a value",
        b"GET / HTTP/1.1\r\nHost: \t test \t \r\n\r\n",
        Answered(1),
        "RFC 9112 section 5.1: OWS is excluded from the value",
    ),
    case(
        "a name of every token character",
        b"GET / HTTP/1.1\r\nHost: test\r\n!#$%&'*+-.^_`|~09AZaz: x\r\n\r\n",
        Answered(1),
        "RFC 9110 section 5.1: a field name is a token",
    ),
    case(
        "fields that end with LF, CR LF, LF",
        b"GET / HTTP/1.1\r\nHost: test\nX: y\r\n\n",
        Answered(1),
        "RFC 9112 section 2.2: a single LF MAY be recognized",
    ),
    case(
        "an expectation that nobody knows",
        b"GET / HTTP/1.1\r\nHost: test\r\nExpect: a-miracle\r\n\r\n",
        Answered(1),
        "RFC 9110 section 10.1.1: MAY be answered with 417",
    ),
    case(
        "a hop-by-hop field that names Host",
        b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Host\r\n\r\n",
        Answered(1),
        "RFC 9110 section 7.6.1: a matter of proxies",
    ),
    case(
        "a request name that would break a header",
        b"GET / HTTP/1.1\r\nHost: test\r\nX-Request-Id: a\tb\r\n\r\n",
        Answered(1),
        "RFC 9110 section 5.5; the name is replaced",
    ),
];

/// Every control character but HTAB, CR and LF, in a value: 28 cases.
pub(super) fn generated() -> Vec<Case> {
    let controls = (0u8..32).filter(|byte| !b"\t\r\n\0".contains(byte));
    let case = |byte: u8| {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: test\r\nX: a".to_vec();
        bytes.push(byte);
        bytes.extend(b"b\r\n\r\n");
        Case::new(format!("the control character {byte:#04x} in a value"), bytes, BAD, VALUE)
    };
    controls.map(case).collect()
}
