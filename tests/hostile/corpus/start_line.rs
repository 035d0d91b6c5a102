//! The request line: its words, what separates them, what comes before it.

use super::{
    Answered, AnsweredAndClosed, BAD, CutBody, Refused, Row, Unanswered, bytes, case, good,
    smuggled,
};

const HOST: &str = "RFC 9112 section 3: method SP request-target SP HTTP-version";

pub(super) const ROWS: &[Row] = &[
    case("two spaces after the method", b"GET  / HTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("two spaces after the target", b"GET /  HTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("a tab after the method", b"GET\t/ HTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("a tab after the target", b"GET /\tHTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("a vertical tab after the method", b"GET\x0b/ HTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("a form feed after the target", b"GET /\x0cHTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case(
        "a no-break space after the method",
        b"GET\xa0/ HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        HOST,
    ),
    case("a bare CR after the method", b"GET\r/ HTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("a space after the version", b"GET / HTTP/1.1 \r\nHost: test\r\n\r\n", BAD, HOST),
    case("a tab after the version", b"GET / HTTP/1.1\t\r\nHost: test\r\n\r\n", BAD, HOST),
    case("a fourth word", b"GET / HTTP/1.1 x\r\nHost: test\r\n\r\n", BAD, HOST),
    case("two versions", b"GET / HTTP/1.1 HTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("no target", b"GET HTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("a target that is a space", b"GET   HTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("a space in the target", b"GET /a b HTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("no method", b" / HTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("the target first", b"/ GET HTTP/1.1\r\nHost: test\r\n\r\n", BAD, HOST),
    case("the version first", b"HTTP/1.1 GET /\r\nHost: test\r\n\r\n", BAD, HOST),
    case("only a colon", b":\r\n\r\n", BAD, HOST),
    case(
        "a space before the request line",
        b" GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9112 section 3: a method is a token, which a space is not",
    ),
    case(
        "a tab before the request line",
        b"\tGET / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9112 section 3: a method is a token, which a tab is not",
    ),
    case(
        "a NUL before the request line",
        b"\0GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9112 section 3",
    ),
    case(
        "a byte order mark before the request line",
        b"\xef\xbb\xbfGET / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9112 section 3",
    ),
    case(
        "an empty line before the request line",
        b"\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 9112 section 2.2: a server SHOULD ignore at least one empty line there",
    ),
    case(
        "ten empty lines before the request line",
        b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 9112 section 2.2: at least one empty line SHOULD be ignored; more may",
    ),
    case(
        "nothing but empty lines",
        b"\r\n\r\n\r\n\r\n",
        Unanswered,
        "RFC 9112 section 2.2: that is no request yet",
    ),
    case(
        "lines that end with LF alone",
        b"GET / HTTP/1.1\nHost: test\n\n",
        Answered(1),
        "RFC 9112 section 2.2: a recipient MAY recognize a single LF as a line terminator",
    ),
    case(
        "lines that end with CR alone",
        b"GET / HTTP/1.1\rHost: test\r\r",
        BAD,
        "RFC 9112 section 2.2: a bare CR is no line terminator; invalid, or replaced by SP",
    ),
    case(
        "a request line that ends with CR CR LF",
        b"GET / HTTP/1.1\r\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9112 section 2.2: bare CR",
    ),
    case(
        "whitespace between the request line and the first field",
        b"GET / HTTP/1.1\r\n Host: test\r\n\r\n",
        BAD,
        "RFC 9112 section 2.2: reject, or consume the line without processing: then Host is missing",
    ),
    case(
        "a line of whitespace between the request line and the first field",
        b"GET / HTTP/1.1\r\n \r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9112 section 2.2: reject, or consume; it was never an empty line",
    ),
    case(
        "a method in lower case",
        b"get / HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 9110 section 9.1: an unknown method SHOULD be 501; the public server answers every method",
    ),
    case(
        "a method that nobody knows",
        b"FROBNICATE / HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 9110 section 9.1: an unknown method SHOULD be 501; the public server answers every method",
    ),
    case(
        "a method of every token character",
        b"!#$%&'*+-.^_`|~09AZaz / HTTP/1.1\r\nHost: test\r\n\r\n",
        Answered(1),
        "RFC 9110 section 5.6.2: that is a token",
    ),
    case(
        "a method with a slash",
        b"GET/ / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9110 section 5.6.2: a method is a token",
    ),
    case(
        "a method with a colon",
        b"GE:T / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9110 section 5.6.2: a method is a token",
    ),
    case(
        "a method with an at sign",
        b"GET@ / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9110 section 5.6.2: a method is a token",
    ),
    case(
        "a method in quotes",
        b"\"GET\" / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9110 section 5.6.2: a method is a token",
    ),
    case(
        "a method in parentheses",
        b"(GET) / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9110 section 5.6.2: a method is a token",
    ),
    case(
        "a method with a NUL",
        b"GE\0T / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9110 section 5.6.2: a method is a token",
    ),
    case(
        "a method with DEL",
        b"GE\x7fT / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9110 section 5.6.2: a method is a token",
    ),
    case(
        "a method of bytes above 127",
        b"G\xc3\x8bT / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9110 section 5.6.2: a method is a token",
    ),
    case(
        "a request line cut off",
        b"GET /cut HT",
        Unanswered,
        "RFC 9112 section 8: a request that is not whole; MAY be answered with an error",
    ),
    case(
        "garbage after a good request",
        bytes!(good!(), "\x01\x02\x03\x04 garbage\r\n\r\n", smuggled!()),
        Refused(1, &[400]),
        "RFC 9112 section 9.3.2: each pipelined request stands for itself",
    ),
    case(
        "a good request, half of another",
        bytes!(good!(), "GET /cut HTTP/1.1\r\nHo"),
        CutBody,
        "RFC 9112 section 8: the second is not whole",
    ),
    case(
        "three good requests at once",
        bytes!(good!(), good!(), good!()),
        Answered(3),
        "RFC 9112 section 9.3.2: pipelining",
    ),
    case(
        "two good requests, then one that is malformed, then another",
        bytes!(good!(), good!(), "GET /  HTTP/1.1\r\nHost: test\r\n\r\n", smuggled!()),
        Refused(2, &[400]),
        "RFC 9112 section 9.3.2",
    ),
    case(
        "a request after one that asks to close",
        bytes!("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", smuggled!()),
        AnsweredAndClosed(1),
        "RFC 9112 section 9.6: a server MUST NOT process requests after one with close",
    ),
    case(
        "a request after one that asks to close in capitals, among others",
        bytes!(
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, x, CLOSE\r\n\r\n",
            smuggled!()
        ),
        AnsweredAndClosed(1),
        "RFC 9112 section 9.6, RFC 9110 section 7.6.1: options are case-insensitive",
    ),
    case(
        "a request after one that asks to close and then to keep",
        bytes!(
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
            smuggled!()
        ),
        AnsweredAndClosed(1),
        "RFC 9112 section 9.3: close comes first",
    ),
];
