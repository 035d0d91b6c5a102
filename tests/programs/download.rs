//! A long answer: it is finished during a restart, while everybody else is served on.
//!
//! `cargo run --example download`, then `curl -N 'http://127.0.0.1:8080/download?seconds=10'`.

use std::convert::Infallible;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::{Router, body::Body, extract::Query, routing::get};
use bytes::Bytes;
use http_body::Frame;
use serde::Deserialize;
use tokio::time::{Interval, interval};

/// How often a line is sent.
const BEAT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let router =
        Router::new().route("/", get(|| async { "Hello\n" })).route("/download", get(download));
    lockstepd::Daemon::new("download")
        .server("public", "127.0.0.1:8080", router)
        .admin("127.0.0.1:8081")
        .run()
}

#[derive(Deserialize)]
struct Length {
    seconds: u64,
}

/// Numbered lines, ten a second.
struct Lines {
    next: u64,
    end: u64,
    beat: Interval,
}

async fn download(Query(Length { seconds }): Query<Length>) -> Body {
    Body::new(Lines { next: 0, end: seconds * 10, beat: interval(BEAT) })
}

impl http_body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.next == self.end {
            return Poll::Ready(None);
        }
        ready!(self.beat.poll_tick(cx));
        self.next += 1;
        Poll::Ready(Some(Ok(Frame::data(format!("{}\n", self.next).into()))))
    }
}
