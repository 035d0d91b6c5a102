//! Answers that are in order.
//!
//! | path | answer |
//! |---|---|
//! | `/`, `/continue`, any other | `Hello ID`; 100 before it if the client expects that |
//! | `/no-continue` | the same, without a 100 |
//! | `/echo` | the body and its trailers, chunked, each piece as it comes |
//! | `/headers` | the request's head as it came on the wire |
//! | `/slow?ms=` | after that time |
//! | `/stream?n=&ms=` | so many chunks with a pause after each |
//! | `/events?ms=` | an event, again and again, until the client has gone |
//! | `/big?bytes=` | a body with a `Content-Length` |
//! | `/ws?say=&take=` | 101 to any `Upgrade:`, with `say` in the same write; then an echo, ended after `take` bytes |
//! | `/trailers` | chunked, with trailers |
//! | `/refuse` | 413 while the body is unread; closed after it |
//! | `/early-hints` | 103, then 200 |
//! | `/close` | 200 with `Connection: close` |
//! | `/no-length?version=1.0` | a body until the connection's end |
//! | `/status?code=` | that status |
//! | `/204`, `/304?length=` | without a body; with the `Content-Length` that a body would have |
//! | `/cookies` | two `Set-Cookie` fields, and a hop-by-hop field that `Connection` names |

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use crate::exchange::Exchange;
use crate::exchange::Next;

/// Answers a request, which has been executed, save for `/echo` and `/refuse`.
pub(crate) fn answer(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    let number = |name, otherwise| exchange.head.number(name, otherwise);
    match &*exchange.head.path {
        "/echo" => echo(exchange),
        "/headers" => {
            let text = exchange.head.text.clone();
            exchange.plain(200, &text)
        }
        "/slow" => {
            thread::sleep(Duration::from_millis(number("ms", 1000)));
            hello(exchange)
        }
        "/stream" => {
            let (count, pause) = (number("n", 5), number("ms", 100));
            stream(exchange, count, Duration::from_millis(pause))
        }
        "/events" => {
            let pause = Duration::from_millis(number("ms", 100));
            events(exchange, pause)
        }
        "/big" => {
            let length = number("bytes", 1 << 20);
            big(exchange, length)
        }
        "/ws" => upgrade(exchange),
        "/trailers" => {
            if exchange.chunked("text/plain", "Trailer: X-Sum\r\n")? {
                exchange.chunk(b"body\n")?;
                exchange.write(b"0\r\nX-Sum: 42\r\n\r\n")?;
            }
            Ok(Next::Request)
        }
        "/refuse" => {
            exchange.closes = true;
            exchange.plain(413, b"too large\n")
        }
        "/early-hints" => {
            exchange
                .write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")?;
            hello(exchange)
        }
        "/close" => {
            exchange.closes = true;
            hello(exchange)
        }
        "/no-length" => no_length(exchange),
        "/status" => {
            let code = u16::try_from(number("code", 200)).unwrap_or(200);
            exchange.plain(code, format!("{code}\n").as_bytes())
        }
        "/204" => {
            let answer = exchange.start(204, "");
            exchange.write(&answer).map(|()| Next::Request)
        }
        "/304" => {
            let length = exchange.head.query("length");
            let length = length.map(|length| format!("Content-Length: {length}\r\n"));
            let fields = format!("ETag: \"1\"\r\n{}", length.unwrap_or_default());
            let answer = exchange.start(304, &fields);
            exchange.write(&answer).map(|()| Next::Request)
        }
        "/cookies" => {
            let fields = "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
                          Keep-Alive: timeout=5\r\nContent-Length: 3\r\n";
            let mut answer = exchange.start(200, fields);
            answer.extend(if exchange.head.method == "HEAD" { &b""[..] } else { b"ok\n" });
            exchange.write(&answer).map(|()| Next::Request)
        }
        _ => hello(exchange),
    }
}

pub(crate) fn hello(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    let text = format!("Hello {}\n", exchange.head.id());
    exchange.plain(200, text.as_bytes())
}

fn echo(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    exchange.expected()?;
    let may_follow = exchange.chunked("application/octet-stream", "")?;
    while let Some(piece) = exchange.piece()? {
        if may_follow {
            exchange.chunk(&piece)?;
        }
    }
    // Before the answer's end: who has it whole knows that the request is written down.
    exchange.executed()?;
    if may_follow {
        let trailers = std::mem::take(&mut exchange.trailers);
        exchange.write(&[b"0\r\n", &*trailers, b"\r\n"].concat())?;
    }
    Ok(Next::Request)
}

fn stream(exchange: &mut Exchange<'_>, count: u64, pause: Duration) -> io::Result<Next> {
    if exchange.chunked("text/plain", "")? {
        for piece in 1..=count {
            exchange.chunk(format!("piece {piece}\n").as_bytes())?;
            thread::sleep(pause);
        }
        exchange.write(b"0\r\n\r\n")?;
    }
    Ok(Next::Request)
}

fn events(exchange: &mut Exchange<'_>, pause: Duration) -> io::Result<Next> {
    if exchange.chunked("text/event-stream", "Cache-Control: no-store\r\n")? {
        for event in 1.. {
            exchange.chunk(format!("id: {event}\ndata: event {event}\n\n").as_bytes())?;
            thread::sleep(pause);
        }
    }
    Ok(Next::Request)
}

fn big(exchange: &mut Exchange<'_>, length: u64) -> io::Result<Next> {
    let fields = format!("Content-Type: text/plain\r\nContent-Length: {length}\r\n");
    let head = exchange.start(200, &fields);
    exchange.write(&head)?;
    if exchange.head.method != "HEAD" {
        let piece: Vec<u8> = (b'a'..=b'z').cycle().take(26 * 1024).collect();
        let mut left = length;
        while left > 0 {
            let count = left.min(piece.len() as u64);
            exchange.write(&piece[..usize::try_from(count).expect("a piece is short")])?;
            left -= count;
        }
    }
    Ok(Next::Request)
}

fn no_length(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    exchange.closes = true;
    let mut answer = exchange.start(200, "Content-Type: text/plain\r\n");
    if exchange.head.query("version") == Some("1.0") {
        answer[7] = b'0';
    }
    answer.extend(b"until the end\n");
    exchange.write(&answer).map(|()| Next::Close)
}

/// Takes any other protocol, and gives back its bytes as they come.
fn upgrade(exchange: &mut Exchange<'_>) -> io::Result<Next> {
    let Some(protocol) = exchange.head.field("upgrade") else {
        return exchange.plain(426, b"upgrade\n");
    };
    let fields = format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n");
    let say = exchange.head.query("say").unwrap_or_default().as_bytes().to_vec();
    let mut left = exchange.head.number("take", u64::MAX);
    exchange.closes = false;
    let head = exchange.start(101, &fields);
    exchange.write(&[&*head, &*say].concat())?;
    while left > 0 {
        let bytes = exchange.wire.raw()?;
        if bytes.is_empty() {
            break;
        }
        exchange.wire.stream.write_all(&bytes)?;
        left = left.saturating_sub(bytes.len() as u64);
    }
    exchange.wire.stream.end_writing();
    Ok(Next::Close)
}
