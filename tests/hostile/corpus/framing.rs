//! How long a body is: Content-Length and Transfer-Encoding, alone and against each other.

use super::{
    Answered, AnsweredAndClosed, BAD, CODING, CutBody, One, Refused, Row, bytes, case, good,
    smuggled,
};

const LENGTH: &str = "RFC 9112 section 6.3: 400 and close for an invalid Content-Length; RFC 9110 section 8.6: 1*DIGIT";
const DIFFERENT: &str = "RFC 9112 section 6.3: 400 and close for lengths that differ";
const FINAL: &str = "RFC 9112 section 6.3: 400 and close where chunked is not the final coding";
const UNKNOWN: &str = "RFC 9112 section 6.1: a coding that is not understood SHOULD be 501";
const BOTH: &str =
    "RFC 9112 section 6.1: reject, or go by Transfer-Encoding alone; in any case close";
const OLD: &str = "RFC 9112 section 6.1: Transfer-Encoding in HTTP/1.0 is faulty framing; close";

macro_rules! post {
    ($fields:expr, $body:expr) => {
        bytes!("POST /length HTTP/1.1\r\nHost: test\r\n", $fields, "\r\n\r\n", $body)
    };
}

pub(super) const ROWS: &[Row] = &[
    case(
        "a body of five bytes",
        post!("Content-Length: 5", "hello"),
        Answered(1),
        "RFC 9112 section 6.2",
    ),
    case(
        "a body, and a request after it",
        post!("Content-Length: 5", concat!("hello", good!())),
        Answered(2),
        "RFC 9112 section 6.2",
    ),
    case(
        "a body that looks like a request",
        post!("Content-Length: 62", smuggled!()),
        Answered(1),
        "RFC 9112 section 6.2: a body is not parsed",
    ),
    case(
        "a length with leading zeros",
        post!("Content-Length: 0005", "hello"),
        Answered(1),
        "RFC 9110 section 8.6: 1*DIGIT, decimal",
    ),
    case("a negative length", post!("Content-Length: -1", smuggled!()), BAD, LENGTH),
    case("a length of minus zero", post!("Content-Length: -0", smuggled!()), BAD, LENGTH),
    case(
        "a length with a plus",
        post!("Content-Length: +5", concat!("hello", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "a length in hex",
        post!("Content-Length: 0x5", concat!("hello", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "a length in hex without 0x",
        post!("Content-Length: a", concat!("helloworld", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "a length with a fraction",
        post!("Content-Length: 5.0", concat!("hello", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "a length with an exponent",
        post!("Content-Length: 1e1", concat!("helloworld", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "a length with an underscore",
        post!("Content-Length: 1_0", concat!("helloworld", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "a length with a space inside",
        post!("Content-Length: 1 0", concat!("helloworld", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "a length with a tab inside",
        post!("Content-Length: 1\t0", concat!("helloworld", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "a length with a semicolon",
        post!("Content-Length: 5;x", concat!("hello", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "a length in quotes",
        post!("Content-Length: \"5\"", concat!("hello", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "a length of words",
        post!("Content-Length: five", concat!("hello", smuggled!())),
        BAD,
        LENGTH,
    ),
    case("an empty length", post!("Content-Length:", smuggled!()), BAD, LENGTH),
    case("a length of full-width digits", post!("Content-Length: \u{ff15}", "hello"), BAD, LENGTH),
    case(
        "a length of 2^64",
        post!("Content-Length: 18446744073709551616", smuggled!()),
        BAD,
        LENGTH,
    ),
    case(
        "a length of 2^64 + 5, which wraps to 5",
        post!("Content-Length: 18446744073709551621", concat!("hello", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "a length of 2^64 - 1",
        post!("Content-Length: 18446744073709551615", smuggled!()),
        Refused(0, &[400, 413, 431]),
        "RFC 9110 section 8.6: anticipate large lengths and do not overflow",
    ),
    case(
        "a length of a thousand digits",
        post!(
            concat!(
                "Content-Length: 9",
                "9999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999"
            ),
            smuggled!()
        ),
        BAD,
        LENGTH,
    ),
    case(
        "two lengths that differ",
        post!("Content-Length: 5\r\nContent-Length: 6", concat!("hello", smuggled!())),
        BAD,
        DIFFERENT,
    ),
    case(
        "two lengths, the second is zero",
        post!("Content-Length: 5\r\nContent-Length: 0", concat!("hello", smuggled!())),
        BAD,
        DIFFERENT,
    ),
    case(
        "two lengths, the first is zero",
        post!("Content-Length: 0\r\nContent-Length: 67", smuggled!()),
        BAD,
        DIFFERENT,
    ),
    case(
        "two lengths, the second is invalid",
        post!("Content-Length: 5\r\nContent-Length: x", concat!("hello", smuggled!())),
        BAD,
        DIFFERENT,
    ),
    case(
        "a list of lengths that differ",
        post!("Content-Length: 5, 6", concat!("hello", smuggled!())),
        BAD,
        DIFFERENT,
    ),
    case(
        "a list of lengths with nothing between",
        post!("Content-Length: 5,,5", "hello"),
        BAD,
        LENGTH,
    ),
    case("a length and a comma", post!("Content-Length: 5,", "hello"), BAD, LENGTH),
    case(
        "a list of equal lengths",
        post!("Content-Length: 5, 5", "hello"),
        BAD,
        "RFC 9112 section 6.3: may be reduced to one, or rejected",
    ),
    case(
        "two equal lengths",
        post!("Content-Length: 5\r\nContent-Length: 5", "hello"),
        Answered(1),
        "RFC 9112 section 6.3: equal decimal values may be reduced to one",
    ),
    case(
        "two lengths, equal but for a zero",
        post!("Content-Length: 5\r\nContent-Length: 05", "hello"),
        Answered(1),
        "RFC 9112 section 6.3: the same decimal value",
    ),
    case(
        "a length whose name ends with a space",
        post!("Content-Length : 67", smuggled!()),
        BAD,
        "RFC 9112 section 5.1",
    ),
    case(
        "a length whose name begins with a space",
        post!(" Content-Length: 67", smuggled!()),
        BAD,
        "RFC 9112 section 5.2",
    ),
    case(
        "a length whose name has an underscore",
        post!("Content_Length: 67", good!()),
        Answered(2),
        "RFC 9110 section 5.1: another field, without meaning",
    ),
    case(
        "a body cut short",
        post!("Content-Length: 9", "hello"),
        CutBody,
        "RFC 9112 section 8: not whole; close",
    ),
    case(
        "a body of five exbibytes",
        post!("Content-Length: 5764607523034234880", "hello"),
        CutBody,
        "RFC 9110 section 8.6: no room is made in advance",
    ),
    case(
        "GET with a body",
        bytes!("GET /length HTTP/1.1\r\nHost: test\r\nContent-Length: 62\r\n\r\n", smuggled!()),
        One,
        "RFC 9112 section 6: a body is a body whatever the method",
    ),
    case(
        "HEAD with a body",
        bytes!("HEAD /length HTTP/1.1\r\nHost: test\r\nContent-Length: 62\r\n\r\n", smuggled!()),
        One,
        "RFC 9112 section 6: a body is a body whatever the method",
    ),
    case(
        "OPTIONS with a body",
        bytes!("OPTIONS /length HTTP/1.1\r\nHost: test\r\nContent-Length: 62\r\n\r\n", smuggled!()),
        One,
        "RFC 9112 section 6: a body is a body whatever the method",
    ),
    // Both, in every order: the classic forms CL.TE and TE.CL.
    case(
        "CL.TE: a length, then chunked",
        post!(
            "Content-Length: 72\r\nTransfer-Encoding: chunked",
            concat!("0\r\n\r\n", smuggled!())
        ),
        AnsweredAndClosed(1),
        BOTH,
    ),
    case(
        "TE.CL: chunked, then a length",
        post!(
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
            concat!("5c\r\nhello\r\n0\r\n\r\n", smuggled!())
        ),
        CutBody,
        BOTH,
    ),
    case(
        "chunked, then a length of zero",
        post!("Transfer-Encoding: chunked\r\nContent-Length: 0", concat!("0\r\n\r\n", smuggled!())),
        AnsweredAndClosed(1),
        BOTH,
    ),
    case(
        "chunked, then an invalid length",
        post!("Transfer-Encoding: chunked\r\nContent-Length: x", concat!("0\r\n\r\n", smuggled!())),
        AnsweredAndClosed(1),
        BOTH,
    ),
    case(
        "an invalid length, then chunked",
        post!("Content-Length: x\r\nTransfer-Encoding: chunked", concat!("0\r\n\r\n", smuggled!())),
        BAD,
        LENGTH,
    ),
    case(
        "two lengths and chunked",
        post!(
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 6",
            concat!("0\r\n\r\n", smuggled!())
        ),
        AnsweredAndClosed(1),
        BOTH,
    ),
    case(
        "chunked and a length, and keep-alive asked for",
        post!(
            "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
            concat!("0\r\n\r\n", smuggled!())
        ),
        AnsweredAndClosed(1),
        BOTH,
    ),
    case(
        "chunked and a length, and keep-alive asked for at last",
        post!(
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nConnection: keep-alive",
            concat!("0\r\n\r\n", smuggled!())
        ),
        AnsweredAndClosed(1),
        BOTH,
    ),
    // TE.TE: a coding that one reads and another does not.
    case("xchunked", post!("Transfer-Encoding: xchunked", smuggled!()), CODING, UNKNOWN),
    case("chunkedx", post!("Transfer-Encoding: chunkedx", smuggled!()), CODING, UNKNOWN),
    case("identity", post!("Transfer-Encoding: identity", smuggled!()), CODING, FINAL),
    case("gzip without chunked", post!("Transfer-Encoding: gzip", smuggled!()), CODING, FINAL),
    case("chunked, gzip", post!("Transfer-Encoding: chunked, gzip", smuggled!()), CODING, FINAL),
    case(
        "chunked, identity",
        post!("Transfer-Encoding: chunked, identity", smuggled!()),
        CODING,
        FINAL,
    ),
    case(
        "chunked, then a line of identity",
        post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", smuggled!()),
        CODING,
        FINAL,
    ),
    case(
        "chunked, then a line of xchunked",
        post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: xchunked", smuggled!()),
        CODING,
        FINAL,
    ),
    case("an empty coding", post!("Transfer-Encoding:", smuggled!()), CODING, FINAL),
    case("a comma for a coding", post!("Transfer-Encoding: ,", smuggled!()), CODING, FINAL),
    case(
        "chunked in quotes",
        post!("Transfer-Encoding: \"chunked\"", smuggled!()),
        CODING,
        UNKNOWN,
    ),
    case(
        "chunked with a parameter",
        post!("Transfer-Encoding: chunked;q=1", smuggled!()),
        CODING,
        "RFC 9112 section 7.1: chunked has no parameters",
    ),
    case(
        "chunked with a NUL",
        b"POST /length HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n",
        BAD,
        "RFC 9110 section 5.5",
    ),
    case(
        "chunked with a vertical tab before it",
        b"POST /length HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        BAD,
        "RFC 9110 section 5.5",
    ),
    case(
        "chunked with a vertical tab after it",
        b"POST /length HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n",
        BAD,
        "RFC 9110 section 5.5",
    ),
    case(
        "chunked with a no-break space before it",
        b"POST /length HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n",
        CODING,
        UNKNOWN,
    ),
    case(
        "a coding whose name ends with a space",
        post!("Transfer-Encoding : chunked", smuggled!()),
        BAD,
        "RFC 9112 section 5.1",
    ),
    case(
        "a coding whose name ends with a tab",
        post!("Transfer-Encoding\t: chunked", smuggled!()),
        BAD,
        "RFC 9112 section 5.1",
    ),
    case(
        "a coding whose name ends with a vertical tab",
        b"POST /length HTTP/1.1\r\nHost: test\r\nTransfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n",
        BAD,
        "RFC 9110 section 5.1",
    ),
    case(
        "a coding whose name begins with a space",
        post!(" Transfer-Encoding: chunked", smuggled!()),
        BAD,
        "RFC 9112 section 5.2",
    ),
    case(
        "a coding hidden behind a bare CR",
        post!("X: y\rTransfer-Encoding: chunked", smuggled!()),
        BAD,
        "RFC 9110 section 5.5",
    ),
    case(
        "a coding behind a bare LF",
        post!("X: y\nTransfer-Encoding: chunked", concat!("0\r\n\r\n", good!())),
        Answered(2),
        "RFC 9112 section 2.2: a single LF MAY end a line, so the field counts",
    ),
    case(
        "a coding whose name has an underscore",
        post!("Transfer_Encoding: chunked", good!()),
        Answered(2),
        "RFC 9110 section 5.1: another field, without meaning",
    ),
    case(
        "chunked in capitals",
        post!("Transfer-Encoding: CHUNKED", concat!("0\r\n\r\n", good!())),
        Answered(2),
        "RFC 9112 section 7: coding names are case-insensitive",
    ),
    case(
        "chunked between tabs",
        post!("Transfer-Encoding:\tchunked\t", concat!("0\r\n\r\n", good!())),
        Answered(2),
        "RFC 9112 section 5.1: OWS is not part of the value",
    ),
    case(
        "chunked twice in a line",
        post!("Transfer-Encoding: chunked, chunked", concat!("0\r\n\r\n", smuggled!())),
        CODING,
        "RFC 9112 section 7.1: chunked MUST NOT be applied more than once",
    ),
    case(
        "chunked twice in two lines",
        post!(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            concat!("0\r\n\r\n", smuggled!())
        ),
        CODING,
        "RFC 9112 section 7.1: chunked MUST NOT be applied more than once",
    ),
    case(
        "identity, chunked",
        post!("Transfer-Encoding: identity, chunked", concat!("0\r\n\r\n", smuggled!())),
        CODING,
        UNKNOWN,
    ),
    case(
        "a line of identity, then chunked",
        post!(
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            concat!("0\r\n\r\n", smuggled!())
        ),
        CODING,
        UNKNOWN,
    ),
    case(
        "gzip, chunked",
        post!("Transfer-Encoding: gzip, chunked", concat!("0\r\n\r\n", smuggled!())),
        CODING,
        "RFC 9112 section 6.1: the service would get gzip for content; 501",
    ),
    case(
        "a comma, then chunked",
        post!("Transfer-Encoding: , chunked", concat!("0\r\n\r\n", good!())),
        Answered(2),
        "RFC 9110 section 5.6.1.2: a recipient MUST ignore empty list elements",
    ),
    // HTTP/1.0.
    case(
        "chunked in HTTP/1.0",
        bytes!("POST /length HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", smuggled!()),
        BAD,
        OLD,
    ),
    case(
        "chunked and a length in HTTP/1.0",
        bytes!(
            "POST /length HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            smuggled!()
        ),
        BAD,
        OLD,
    ),
    case(
        "chunked in HTTP/1.0 that keeps the connection",
        bytes!(
            "POST /length HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            smuggled!()
        ),
        BAD,
        OLD,
    ),
    case(
        "a length in HTTP/1.0",
        bytes!("POST /length HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", smuggled!()),
        AnsweredAndClosed(1),
        "RFC 9112 section 9.3",
    ),
];
