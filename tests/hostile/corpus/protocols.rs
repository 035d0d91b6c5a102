//! Other versions and other protocols on the port of HTTP/1.1.

use super::{Answered, AnsweredAndClosed, BAD, Expected, Refused, Row, bytes, case, smuggled};

/// 505 is for it; 400 says as much.
const VERSION: Expected = Refused(0, &[400, 505]);
const NAME: &str = "RFC 9112 section 2.3: HTTP-name \"/\" DIGIT \".\" DIGIT, case-sensitive";

pub(super) const ROWS: &[Row] = &[
    case(
        "HTTP/0.9",
        b"GET /\r\n",
        BAD,
        "RFC 9112 section 3: without a version it is no request line",
    ),
    case(
        "HTTP/0.9 with a header",
        b"GET /\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9112 section 3: without a version it is no request line",
    ),
    case(
        "version 0.9, said aloud",
        b"GET / HTTP/0.9\r\nHost: test\r\n\r\n",
        VERSION,
        "RFC 9110 section 15.6.6",
    ),
    case(
        "version 1.0",
        b"GET / HTTP/1.0\r\n\r\n",
        AnsweredAndClosed(1),
        "RFC 9112 section 9.3: without keep-alive, HTTP/1.0 closes; no Host is needed",
    ),
    case(
        "version 1.0 and another request",
        bytes!("GET / HTTP/1.0\r\nHost: test\r\n\r\n", smuggled!()),
        AnsweredAndClosed(1),
        "RFC 9112 section 9.3: without keep-alive, HTTP/1.0 closes",
    ),
    case(
        "version 1.0 that keeps the connection",
        bytes!("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"),
        AnsweredAndClosed(2),
        "RFC 9112 section 9.3: keep-alive MAY be honoured",
    ),
    case(
        "version 1.2",
        b"GET / HTTP/1.2\r\nHost: test\r\n\r\n",
        VERSION,
        "RFC 9110 section 2.5: SHOULD be processed as 1.1; refusing it is allowed (section 15.6.6)",
    ),
    case(
        "version 1.9",
        b"GET / HTTP/1.9\r\nHost: test\r\n\r\n",
        VERSION,
        "RFC 9110 section 2.5: SHOULD be processed as 1.1; refusing it is allowed (section 15.6.6)",
    ),
    case(
        "version 2.0",
        b"GET / HTTP/2.0\r\nHost: test\r\n\r\n",
        VERSION,
        "RFC 9110 section 15.6.6",
    ),
    case(
        "version 3.7",
        b"GET / HTTP/3.7\r\nHost: test\r\n\r\n",
        VERSION,
        "RFC 9110 section 15.6.6",
    ),
    case("version 11", b"GET / HTTP/11\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("version 1", b"GET / HTTP/1\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("version 1.10", b"GET / HTTP/1.10\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("version 1.1.1", b"GET / HTTP/1.1.1\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("version 01.1", b"GET / HTTP/01.1\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("version 1,1", b"GET / HTTP/1,1\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("version +1.1", b"GET / HTTP/+1.1\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("version -1.1", b"GET / HTTP/-1.1\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("version x.y", b"GET / HTTP/x.y\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("no version after the slash", b"GET / HTTP/\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("http in lower case", b"GET / http/1.1\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("HTTP with a space", b"GET / HTTP /1.1\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("HTTPS/1.1", b"GET / HTTPS/1.1\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("ICY/1.0", b"GET / ICY/1.0\r\nHost: test\r\n\r\n", VERSION, NAME),
    case("RTSP/1.0", b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", VERSION, NAME),
    case("SIP/2.0", b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\n\r\n", VERSION, NAME),
    case(
        "an answer instead of a request",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        BAD,
        "RFC 9112 section 3: no method",
    ),
    case(
        "a ClientHello of TLS",
        b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03\
          0123456789abcdef0123456789abcdef\x00\x00\x02\x13\x01\x01\x00\x00\x00",
        BAD,
        "RFC 9112 section 3: no method",
    ),
    case(
        "an SSLv2 hello",
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        BAD,
        "RFC 9112 section 3",
    ),
    case("a banner of SSH", b"SSH-2.0-OpenSSH_9.2\r\n", BAD, "RFC 9112 section 3"),
    case(
        "a hello of SMTP",
        b"EHLO mail.example\r\n",
        BAD,
        "RFC 9112 section 3: one word is no target",
    ),
    case("a SOCKS 5 greeting", b"\x05\x01\x00", BAD, "RFC 9112 section 3"),
    case(
        "the PROXY protocol, text",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n",
        BAD,
        "RFC 9112 section 3",
    ),
    case(
        "the PROXY protocol, binary",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
        BAD,
        "RFC 9112 section 3",
    ),
    case("a Redis command", b"*1\r\n$4\r\nPING\r\n", BAD, "RFC 9112 section 3"),
    case("every byte there is", EVERY_BYTE, BAD, "RFC 9112 section 3"),
    case(
        "an upgrade to h2c",
        bytes!(
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\n",
            "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        ),
        Answered(1),
        "RFC 9110 section 7.8: a server MAY ignore Upgrade; it stays HTTP/1.1",
    ),
    case(
        "an upgrade to WebSocket",
        bytes!(
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ),
        Answered(1),
        "RFC 9110 section 7.8: a server MAY ignore Upgrade",
    ),
];

const EVERY_BYTE: &[u8] = &{
    let mut bytes = [0; 256];
    let mut next = 0;
    while next < 256 {
        bytes[next] = next.to_be_bytes()[size_of::<usize>() - 1];
        next += 1;
    }
    bytes
};
