//! Handlers that panic, read and answer at length, under limits that a test can see at work.
//!
//! ```text
//! cargo run --example limits [PUBLIC [ADMIN [TIME [FIRST]]]]  (127.0.0.1:8080, 127.0.0.1:8081, 2s, TIME)
//! ```
//!
//! | request | what happens |
//! |---|---|
//! | any | `Hello` |
//! | `POST /length` | tells how long the body is; less than one byte in TIME is answered with 408 |
//! | `GET /large` | 64 MiB; a client that takes none of it for TIME loses its connection |
//! | none | a client that does not say anything for FIRST loses its connection |
//! | `GET /panic` | panics before there is an answer: 500 |
//! | `GET /later` | an answer after a millisecond |
//! | `GET /panic/later` | the same, after the handler has waited for something |
//! | `GET /panic/body` | panics in the middle of the answer, which therefore does not come whole |

use std::convert::Infallible;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use bytes::Bytes;
use http_body::Frame;
use lockstepd::{Daemon, Format, Limits, LogSettings};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (public, admin, time) = (next("127.0.0.1:8080"), next("127.0.0.1:8081"), next("2s"));
    let first = next(&time);
    let [time, first] =
        [time, first].map(|time| humantime::parse_duration(&time).expect("a time such as 2s"));
    let mut limits = Limits::default();
    limits.first_byte_timeout = first;
    limits.head_timeout = time;
    limits.body_timeout = time;
    limits.idle_timeout = time;
    limits.write_timeout = time;
    let mut log = LogSettings::default();
    log.format = Format::Json;

    let router = Router::new()
        .route("/length", post(|body: String| async move { format!("{}\n", body.len()) }))
        .route("/large", get(|| async { vec![b'x'; 64 << 20] }))
        .route("/panic", get(panic_at_once))
        .route("/later", get(later))
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
