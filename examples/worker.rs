//! A member with a queue that handlers fill, and that is empty when the process ends.
//!
//! `cargo run --example worker`, then `curl -d tea localhost:8080/orders` a few times, and Ctrl-C: what was
//! answered is done, whatever the moment of the stop.

use std::process::ExitCode;
use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use lockstepd::{BoxError, Daemon, Shutdown};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::sleep;

/// How many orders wait at most: who comes then is told so, which is better than a queue without an end.
const QUEUE: usize = 1000;

fn main() -> ExitCode {
    let (orders, queue) = channel(QUEUE);
    let router = Router::new()
        .route("/", get(|| async { "POST /orders\n" }))
        .route("/orders", post(order))
        .with_state(orders);
    Daemon::new("worker")
        .server("public", "127.0.0.1:8080", router)
        .task("worker", |shutdown| work(queue, shutdown))
        .run()
}

async fn order(State(orders): State<Sender<String>>, order: String) -> (StatusCode, &'static str) {
    match orders.try_send(order) {
        Ok(()) => (StatusCode::OK, "queued\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "there are too many already\n"),
    }
}

/// Works until no handler can add to the queue any more, and then empties it.
///
/// Not `triggered`: requests in flight are still being answered then, and may queue more. What takes longer
/// than the drain time-out is cut off.
async fn work(mut queue: Receiver<String>, shutdown: Shutdown) -> Result<(), BoxError> {
    loop {
        tokio::select! {
            () = shutdown.at_rest() => break,
            order = queue.recv() => match order {
                Some(order) => prepare(&order).await,
                None => break,
            },
        }
    }
    while let Ok(order) = queue.try_recv() {
        prepare(&order).await;
    }
    Ok(())
}

async fn prepare(order: &str) {
    sleep(Duration::from_millis(2)).await;
    tracing::info!(order, "done");
}
