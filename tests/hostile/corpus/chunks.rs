//! Chunks: sizes, extensions, ends, trailers.

use super::{Answered, BrokenBody, Case, CutBody, One, Row, bytes, case, closing, good, smuggled};

const SIZE: &str = "RFC 9112 section 7.1: chunk-size = 1*HEXDIG, then CRLF";
const DATA: &str = "RFC 9112 section 7.1: chunk-data is followed by CRLF";
const OVERFLOW: &str = "RFC 9112 section 7.1: large chunk sizes must not overflow";
const EXTENSION: &str = "RFC 9112 section 7.1.1: unrecognized extensions MUST be ignored";
const TRAILERS: &str =
    "RFC 9112 section 7.1.2, RFC 9110 section 6.5.1: ignored unless known to be safe";

macro_rules! chunked {
    ($($body:expr),* $(,)?) => {
        bytes!("POST /length HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n", $($body),*)
    };
}

pub(super) const ROWS: &[Row] = &[
    case("one chunk", chunked!("5\r\nhello\r\n0\r\n\r\n", good!()), Answered(2), SIZE),
    case(
        "sizes in both cases",
        chunked!("a\r\nhelloworld\r\nA\r\nhelloworld\r\n0\r\n\r\n", good!()),
        Answered(2),
        SIZE,
    ),
    case(
        "a size with leading zeros",
        chunked!("0005\r\nhello\r\n000\r\n\r\n", good!()),
        Answered(2),
        "RFC 9112 section 7.1: 1*HEXDIG; zeros are digits",
    ),
    case(
        "a chunk that looks like a request",
        chunked!("3e\r\n", smuggled!(), "\r\n0\r\n\r\n", good!()),
        Answered(2),
        DATA,
    ),
    case("no size", chunked!("\r\nhello\r\n0\r\n\r\n", smuggled!()), BrokenBody, SIZE),
    case(
        "a size that is no number",
        chunked!("x\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case("a negative size", chunked!("-5\r\nhello\r\n0\r\n\r\n", smuggled!()), BrokenBody, SIZE),
    case("a size with a plus", chunked!("+5\r\nhello\r\n0\r\n\r\n", smuggled!()), BrokenBody, SIZE),
    case("a size with 0x", chunked!("0x5\r\nhello\r\n0\r\n\r\n", smuggled!()), BrokenBody, SIZE),
    case(
        "a size with an underscore",
        chunked!("0_5\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a size with a fraction",
        chunked!("5.0\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a size with a comma",
        chunked!("5,0\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a size in quotes",
        chunked!("\"5\"\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a space before the size",
        chunked!(" 5\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a tab before the size",
        chunked!("\t5\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a space inside the size",
        chunked!("1 0\r\nhellohellohelloh\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a space after the size",
        chunked!("5 \r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a tab after the size",
        chunked!("5\t\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a NUL after the size",
        chunked!("5\0\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a vertical tab after the size",
        chunked!("5\x0b\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a size that ends with LF alone",
        chunked!("5\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a size that ends with CR alone",
        chunked!("5\rhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a size that ends with CR CR LF",
        chunked!("5\r\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "a size of 2^64",
        chunked!("10000000000000000\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        OVERFLOW,
    ),
    case(
        "a size of 2^64 + 5, which wraps to 5",
        chunked!("10000000000000005\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        OVERFLOW,
    ),
    case(
        "a size of 2^65",
        chunked!("20000000000000000\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        OVERFLOW,
    ),
    case("a size of 2^64 - 1", chunked!("ffffffffffffffff\r\nhello"), CutBody, OVERFLOW),
    case("a size of 2^63", chunked!("8000000000000000\r\nhello"), CutBody, OVERFLOW),
    case(
        "a size of 2^32 + 5, which wraps to 5 in 32 bits",
        chunked!("100000005\r\nhello\r\n0\r\n\r\n", smuggled!()),
        CutBody,
        OVERFLOW,
    ),
    case(
        "data longer than its size",
        chunked!("5\r\nhelloworld\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        DATA,
    ),
    case(
        "data shorter than its size",
        chunked!("6\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        DATA,
    ),
    case(
        "data that ends with LF alone",
        chunked!("5\r\nhello\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        DATA,
    ),
    case(
        "data that ends with CR alone",
        chunked!("5\r\nhello\r0\r\n\r\n", smuggled!()),
        BrokenBody,
        DATA,
    ),
    case("data with no end", chunked!("5\r\nhello0\r\n\r\n", smuggled!()), BrokenBody, DATA),
    case(
        "data that ends with two other bytes",
        chunked!("5\r\nhelloXX0\r\n\r\n", smuggled!()),
        BrokenBody,
        DATA,
    ),
    case(
        "a last chunk that ends with LF alone",
        chunked!("5\r\nhello\r\n0\n\r\n", smuggled!()),
        BrokenBody,
        SIZE,
    ),
    case(
        "an end that is LF alone",
        chunked!("5\r\nhello\r\n0\r\n\n", smuggled!(), closing!()),
        BrokenBody,
        "RFC 9112 section 7.1: a trailer section ends with CRLF; 2.2's leniency is for lines of the head",
    ),
    case(
        "an end that is missing",
        chunked!("5\r\nhello\r\n0\r\n"),
        CutBody,
        "RFC 9112 section 8: without its end a chunked body is not whole",
    ),
    case("no last chunk", chunked!("5\r\nhello\r\n"), CutBody, "RFC 9112 section 8"),
    case("a chunk cut short", chunked!("5\r\nhel"), CutBody, "RFC 9112 section 8"),
    case(
        "an extension",
        chunked!("5;name=value\r\nhello\r\n0\r\n\r\n", good!()),
        Answered(2),
        EXTENSION,
    ),
    case(
        "an extension in quotes",
        chunked!("5;name=\"a;b\"\r\nhello\r\n0;x\r\n\r\n", good!()),
        Answered(2),
        EXTENSION,
    ),
    case(
        "an extension with spaces about",
        chunked!("5 ; name = value\r\nhello\r\n0\r\n\r\n", good!()),
        Answered(2),
        "RFC 9112 section 7.1.1: BWS",
    ),
    case(
        "an extension without a name",
        chunked!("5;\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        "RFC 9112 section 7.1.1: chunk-ext-name is a token",
    ),
    case(
        "an extension that ends with LF alone",
        chunked!("5;x\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        "RFC 9112 section 7.1.1; a known way to smuggle (TERM.EXT)",
    ),
    case(
        "an extension with a bare CR",
        chunked!("5;a\rb\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        "RFC 9112 section 2.2: bare CR",
    ),
    case(
        "an extension with a NUL",
        chunked!("5;a\0b\r\nhello\r\n0\r\n\r\n", smuggled!()),
        BrokenBody,
        "RFC 9112 section 7.1.1: chunk-ext-name is a token",
    ),
    case(
        "a trailer",
        chunked!("5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n", good!()),
        Answered(2),
        TRAILERS,
    ),
    case(
        "a trailer that is a length",
        chunked!("5\r\nhello\r\n0\r\nContent-Length: 500\r\n\r\n", good!()),
        Answered(2),
        TRAILERS,
    ),
    case(
        "a trailer that is a coding",
        chunked!("5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", good!()),
        Answered(2),
        TRAILERS,
    ),
    case(
        "a trailer that is a Host",
        chunked!("5\r\nhello\r\n0\r\nHost: other\r\n\r\n", good!()),
        Answered(2),
        TRAILERS,
    ),
    case(
        "a trailer that is a request's name",
        chunked!("5\r\nhello\r\n0\r\nX-Request-Id: smuggled\r\n\r\n", good!()),
        Answered(2),
        TRAILERS,
    ),
    case(
        "a trailer that asks to close",
        chunked!("5\r\nhello\r\n0\r\nConnection: close\r\n\r\n", good!()),
        Answered(2),
        TRAILERS,
    ),
    case(
        "a trailer that is a request",
        chunked!("5\r\nhello\r\n0\r\n", smuggled!(), "\r\n"),
        BrokenBody,
        "RFC 9112 section 7.1.2: field lines only",
    ),
    case(
        "a trailer with a space before its colon",
        chunked!("5\r\nhello\r\n0\r\nX : y\r\n\r\n", smuggled!()),
        BrokenBody,
        "RFC 9112 section 5.1",
    ),
    case(
        "a trailer without a colon",
        chunked!("5\r\nhello\r\n0\r\nnothing\r\n\r\n", smuggled!()),
        BrokenBody,
        "RFC 9112 section 7.1.2",
    ),
    case(
        "a folded trailer",
        chunked!("5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n", smuggled!()),
        BrokenBody,
        "RFC 9112 section 5.2",
    ),
    case(
        "a trailer with a bare CR",
        chunked!("5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n", smuggled!()),
        BrokenBody,
        "RFC 9112 section 2.2",
    ),
    case(
        "a trailer that ends with LF alone",
        chunked!("5\r\nhello\r\n0\r\nX: y\n\r\n", smuggled!(), closing!()),
        BrokenBody,
        "RFC 9112 section 2.2: MAY be recognized in a head; here it was not",
    ),
    case(
        "an end that is LF alone, and a request behind it",
        chunked!("0\r\n\n", smuggled!(), closing!()),
        BrokenBody,
        "RFC 9112 section 7.1; hyper 1.12 takes the request for trailers, and nginx serves it",
    ),
    case(
        "an end that is CR CR LF",
        chunked!("0\r\n\r\r\n", smuggled!(), closing!()),
        BrokenBody,
        "RFC 9112 section 7.1",
    ),
];

/// What is too long for a table.
pub(super) fn generated() -> Vec<Case> {
    let chunked = |body: String| [chunked!(), body.as_bytes(), smuggled!().as_bytes()].concat();
    let limits =
        "RFC 9112 section 7.1.1: a recipient ought to limit the total length of extensions";
    let count = "limits: no more trailer fields than header fields";
    vec![
        Case::new(
            "an extension of 100 KB",
            chunked(format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000))),
            BrokenBody,
            limits,
        ),
        Case::new(
            "a thousand chunks with an extension of 100 bytes",
            chunked(format!("1;{}\r\nh\r\n", "x".repeat(100)).repeat(1000) + "0\r\n\r\n"),
            BrokenBody,
            limits,
        ),
        Case::new(
            "10,000 trailers",
            chunked("0\r\n".to_owned() + &"X: y\r\n".repeat(10_000) + "\r\n"),
            BrokenBody,
            count,
        ),
        Case::new(
            "a trailer of 1 MB",
            chunked(format!("0\r\nX: {}\r\n\r\n", "y".repeat(1 << 20))),
            BrokenBody,
            count,
        ),
        Case::new(
            "a size of 10,000 zeros",
            [chunked!(), "0".repeat(10_000).as_bytes(), b"5\r\nhello\r\n0\r\n\r\n"].concat(),
            One,
            "RFC 9112 section 7.1: 1*HEXDIG is not bounded; it is read or refused, never misread",
        ),
        Case::new(
            "10,000 chunks of a byte",
            [chunked!(), "1\r\nx\r\n".repeat(10_000).as_bytes(), b"0\r\n\r\n", good!().as_bytes()]
                .concat(),
            Answered(2),
            SIZE,
        ),
    ]
}
