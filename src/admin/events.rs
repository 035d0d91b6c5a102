//! `/events`: the status once a second as server-sent events, for the status page.
//!
//! Invariants:
//! - A stream is a request in flight, and a hand-over waits for those. So a stream ends with its first event in
//!   another phase than Starting, Ready or `LameDuck`. The browser connects again after [`RETRY`], by then perhaps to the
//!   next process.
//! - A stream tells each log line once.
//! - An open stream is activity: while a page is shown there is no idle exit. The page closes its stream when
//!   it is hidden.
//!
//! # Source
//! HTML Living Standard, "Server-sent events".

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::routes::Admin;
use super::status::Status;
use crate::lifecycle::phase::Phase;

/// How often the status is sent while the phase does not change.
const INTERVAL: Duration = Duration::from_secs(1);

/// After how long a browser connects again.
const RETRY: Duration = Duration::from_millis(500);

/// Answers with the stream.
pub(super) async fn events(
    State(admin): State<Arc<Admin>>,
) -> ([(HeaderName, &'static str); 1], Body) {
    let mut seconds = interval(INTERVAL);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let phases = admin.phases.subscribe();
    let source = Source { admin, phases, seconds, told: None, is_last: false };
    let stream = Stream { next: Box::pin(source.next()) };
    ([(CONTENT_TYPE, "text/event-stream")], Body::new(stream))
}

/// Where the events of one stream come from.
struct Source {
    admin: Arc<Admin>,
    phases: watch::Receiver<Phase>,
    seconds: Interval,
    /// The number of the last log line that was sent.
    told: Option<u64>,
    /// The event before was the last.
    is_last: bool,
}

// === impl Source ===

impl Source {
    /// Waits for the next event's time; none comes after the last.
    async fn next(mut self) -> Next {
        if self.is_last {
            return None;
        }
        tokio::select! {
            _ = self.seconds.tick() => {}
            // The sender lives in self, so the channel cannot close.
            _ = self.phases.changed() => {}
        }
        let phase = *self.phases.borrow_and_update();
        self.is_last = !matches!(phase, Phase::Starting | Phase::Ready | Phase::LameDuck);
        let status = Status::of(&self.admin, self.told.unwrap_or(0));
        let retry = match self.told {
            None => format!("retry: {}\n", RETRY.as_millis()),
            Some(_) => String::new(),
        };
        let event = format!("{retry}data: {}\n\n", status.json());
        self.told = Some(status.last_event().or(self.told).unwrap_or(0));
        Some((event.into(), self))
    }
}

/// An event, and where the ones after it come from.
type Next = Option<(Bytes, Source)>;

/// The stream as a body.
struct Stream {
    next: Pin<Box<dyn Future<Output = Next> + Send>>,
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some((event, source)) = ready!(self.next.as_mut().poll(cx)) else {
            // hyper does not poll again; if it did, this would be the end as well.
            self.next = Box::pin(std::future::ready(None));
            return Poll::Ready(None);
        };
        self.next = Box::pin(source.next());
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}
