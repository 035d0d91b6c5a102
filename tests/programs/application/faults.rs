//! Answers that are not in order, and none at all.
//!
//! | path | what happens | executed |
//! |---|---|---|
//! | `/close-unread` | closes after the request line; the rest is never read | no |
//! | `/close-unread-body` | closes after the head | no |
//! | `/close-read` | reads all, closes without an answer | yes |
//! | `/close-silently` | a whole answer that promises more, and closes | yes |
//! | `/hang` | never answers; says when the client has gone | yes |
//! | `/garbage` | nonsense, and closes | yes |
//! | `/half-head` | a part of a head, and closes | yes |
//! | `/endless-head` | fields without an end | yes |
//! | `/mid-body` | ten bytes of a thousand, and closes | yes |
//! | `/mid-chunk` | a part of a chunk, and closes | yes |
//! | `/bad-chunk` | a chunk whose size is no number, and closes | yes |
//! | `/two-lengths` | two `Content-Length` that differ | yes |
//! | `/both` | `Content-Length` and chunked | yes |
//! | `/extra` | a whole answer, and in the same write the beginning of another | yes |
//! | `/upgrade-unasked` | 101 to whoever asks | yes |
//! | `/endless-100` | 100 after 100, until the client has gone | yes |
//! | `/raw` | the request's body, as it is, is the answer; closes after it unless `?keep=1` | yes |

use std::io;

use crate::answers::hello;
use crate::exchange::Exchange;
use crate::exchange::Next;

type Answer = fn(&mut Exchange<'_>) -> io::Result<Next>;

/// The fault that a path stands for.
pub(crate) fn find(path: &str) -> Option<Answer> {
    Some(match path {
        // `/close-unread` never comes here.
        "/close-unread-body" => |_| Ok(Next::Close),
        "/close-read" => |exchange| exchange.execute().map(|()| Next::Close),
        "/close-silently" => |exchange| {
            exchange.execute()?;
            hello(exchange).map(|_| Next::Close)
        },
        "/hang" => |exchange| {
            exchange.execute()?;
            Ok(exchange.wait_for_its_end())
        },
        "/garbage" => |exchange| only(exchange, b"\x16\x03\x01 this is no HTTP\r\n\r\n\0\xff\r\n"),
        "/half-head" => |exchange| only(exchange, b"HTTP/1.1 200 OK\r\nContent-Le"),
        "/endless-head" => {
            |exchange| without_end(exchange, b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n")
        }
        "/endless-100" => |exchange| without_end(exchange, b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "/mid-body" => |exchange| framed(exchange, "Content-Length: 1000\r\n", b"ten bytes\n"),
        "/mid-chunk" => {
            |exchange| framed(exchange, "Transfer-Encoding: chunked\r\n", b"100\r\nten bytes\n")
        }
        "/bad-chunk" => {
            |exchange| framed(exchange, "Transfer-Encoding: chunked\r\n", b"zz\r\nten bytes\n\r\n")
        }
        "/two-lengths" => |exchange| {
            framed(exchange, "Content-Length: 5\r\nContent-Length: 10\r\n", b"ten bytes\n")
        },
        "/both" => |exchange| {
            let fields = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
            framed(exchange, fields, b"a\r\nten bytes\n\r\n0\r\n\r\n")
        },
        "/extra" => |exchange| {
            framed(
                exchange,
                "Content-Length: 10\r\n",
                b"ten bytes\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond",
            )
        },
        "/upgrade-unasked" => {
            |exchange| framed(exchange, "Connection: Upgrade\r\nUpgrade: echo\r\n", b"raw")
        }
        "/raw" => raw,
        _ => return None,
    })
}

/// Executes the request, and answers with these bytes only.
fn only(exchange: &mut Exchange<'_>, bytes: &[u8]) -> io::Result<Next> {
    exchange.execute()?;
    exchange.write(bytes).map(|()| Next::Close)
}

/// Executes the request, and answers with a head that has these fields, and with this for a body.
fn framed(exchange: &mut Exchange<'_>, fields: &str, body: &[u8]) -> io::Result<Next> {
    exchange.execute()?;
    let status = if fields.contains("Upgrade") { 101 } else { 200 };
    let head = exchange.start(status, fields);
    exchange.write(&[&head, body].concat()).map(|()| Next::Close)
}

/// Executes the request, and writes the same again and again.
fn without_end(exchange: &mut Exchange<'_>, first: &[u8], again: &[u8]) -> io::Result<Next> {
    exchange.execute()?;
    exchange.write(first)?;
    while exchange.write(again).is_ok() {}
    Ok(exchange.wait_for_its_end())
}

fn raw(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    exchange.expected()?;
    let mut bytes = Vec::new();
    while let Some(piece) = exchange.piece()? {
        bytes.extend(piece);
    }
    exchange.executed()?;
    exchange.write(&bytes)?;
    Ok(if exchange.head.query("keep").is_some() { Next::Request } else { Next::Close })
}
