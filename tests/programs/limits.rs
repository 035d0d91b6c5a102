//! Handlers that panic, read and answer at length, under limits that a test can see at work.
//!
//! ```text
//! cargo run --example limits [PUBLIC [ADMIN [TIME [FIRST [KEEPALIVE]]]]]
//!                             (127.0.0.1:8080, 127.0.0.1:8081, 2s, TIME, 15s)
//! ```
//!
//! | request | what happens |
//! |---|---|
//! | any | `Hello` |
//! | `POST /length` | tells how long the body is; less than one byte in TIME is answered with 408 |
//! | `POST /talk` | what the client sends, as it sends it |
//! | `GET /large` | 64 MiB; a client that takes none of it for TIME loses its connection |
//! | none | a client that does not say anything for FIRST loses its connection |
//! | `GET /panic` | panics before there is an answer: 500 |
//! | `GET /later` | an answer after a millisecond |
//! | `GET /never` | no answer, however long the client waits |
//! | `GET /ticks` | a line every 20 ms, for ever |
//! | `GET /echo` | an upgrade to a protocol that echoes what it is sent |
//! | none, of a TCP client | asked after KEEPALIVE whether it is still there |
//! | `GET /panic/later` | the same, after the handler has waited for something |
//! | `GET /panic/body` | panics in the middle of the answer, which therefore does not come whole |

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http_body::Frame;
use hyper_util::rt::TokioIo;
use lockstepd::{Daemon, Format, Limits, LogSettings};
use tokio::io::{copy, split};
use tokio::time::{Interval, interval};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (public, admin, time) = (next("127.0.0.1:8080"), next("127.0.0.1:8081"), next("2s"));
    let (first, keepalive) = (next(&time), next("15s"));
    let [time, first, keepalive] = [time, first, keepalive]
        .map(|time| humantime::parse_duration(&time).expect("a time such as 2s"));
    let mut limits = Limits::default();
    limits.first_byte_timeout = first;
    limits.head_timeout = time;
    limits.body_timeout = time;
    limits.idle_timeout = time;
    limits.write_timeout = time;
    limits.tcp_keepalive = keepalive;
    let mut log = LogSettings::default();
    log.format = Format::Json;

    let router = Router::new()
        .route("/length", post(|body: String| async move { format!("{}\n", body.len()) }))
        .route("/talk", post(|request: Request| async { Response::new(request.into_body()) }))
        .route("/large", get(|| async { vec![b'x'; 64 << 20] }))
        .route("/panic", get(panic_at_once))
        .route("/later", get(later))
        .route("/never", get(pending::<&'static str>))
        .route("/ticks", get(|| async { Body::new(Ticks { next: interval(TICK) }) }))
        .route("/echo", get(echo))
        .route("/panic/later", get(panic_later))
        .route("/panic/body", get(|| async { Body::new(Panicking { lines: 3 }) }))
        .fallback(|| async { "Hello\n" });
    Daemon::new("limits")
        .server("public", public, router)
        .admin(admin)
        .limits(limits)
        .log(log)
        .run()
}

async fn panic_at_once() -> &'static str {
    panic!("at once")
}

async fn later() -> &'static str {
    tokio::time::sleep(Duration::from_millis(1)).await;
    "Later\n"
}

async fn panic_later() -> &'static str {
    tokio::time::sleep(Duration::from_millis(1)).await;
    panic!("later")
}

async fn echo(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // A client that hangs up before its upgrade gets none.
        let Ok(upgraded) = upgrade.await else { return };
        let (mut received, mut sent) = split(TokioIo::new(upgraded));
        // Whichever end it comes to, the connection is over.
        let _ = copy(&mut received, &mut sent).await;
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// A line now and then, without an end.
struct Ticks {
    next: Interval,
}

const TICK: Duration = Duration::from_millis(20);

impl http_body::Body for Ticks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.next.poll_tick(cx).map(|_| Some(Ok(Frame::data(Bytes::from_static(b"tick\n")))))
    }
}

/// A few lines, and then a panic.
struct Panicking {
    lines: usize,
}

impl http_body::Body for Panicking {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.lines = self.lines.checked_sub(1).expect("in the body");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"line\n")))))
    }
}
