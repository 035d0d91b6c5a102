//! Server-sent events: streams without an end of their own, that end with the drain.
//!
//! `cargo run --example sse`, then `curl -N localhost:8080/events` in one terminal, and in another
//! `kill -USR2` with the number of its process: the stream ends, and `curl` may ask again at once. A browser
//! does so by itself, and says how far it had come; here it goes on from there.
//!
//! A request in flight is waited for at a stop, a restart and an upgrade in place. Without
//! `Shutdown::draining` such a stream would hold up each of them for the whole drain time-out.

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::HeaderMap,
    response::sse::{Event, Sse},
    routing::get,
};
use futures_util::{Stream, StreamExt, stream};
use lockstepd::{Daemon, Shutdown};
use tokio::time::sleep;

/// How often there is an event.
const BEAT: Duration = Duration::from_millis(100);

/// After how long a browser asks again, by then perhaps our successor.
const RETRY: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let daemon = Daemon::new("sse");
    let router = Router::new()
        .route("/", get(|| async { "GET /events\n" }))
        .route("/events", get(events))
        .with_state(daemon.shutdown());
    daemon.server("public", "127.0.0.1:8080", router).run()
}

async fn events(
    State(shutdown): State<Shutdown>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = headers.get("last-event-id");
    let last = last.and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    let numbers = stream::unfold(last, |last: u64| async move {
        sleep(BEAT).await;
        let next = last + 1;
        let event = Event::default().id(next.to_string()).retry(RETRY).data(format!("beat {next}"));
        Some((Ok(event), next))
    });
    Sse::new(numbers.take_until(shutdown.draining()))
}
