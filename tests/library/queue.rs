//! A member with a queue that handlers fill.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use lockstepd::{BoxError, Daemon, Exit, Phase, Shutdown};
use tokio::sync::mpsc;

use crate::{
    Running,
    support::{Client, PATIENCE, wait_until},
};

/// Does what is in the queue, until nobody can add to it and it is empty.
async fn work(
    shutdown: Shutdown,
    mut queue: mpsc::Receiver<String>,
    done: Arc<Mutex<Vec<String>>>,
) -> Result<(), BoxError> {
    shutdown.at_rest().await;
    while let Ok(order) = queue.try_recv() {
        done.lock().unwrap().push(order);
    }
    Ok(())
}

#[test]
fn what_the_last_request_has_queued_during_the_drain_is_done() {
    let (orders, queue) = mpsc::channel(16);
    let done = Arc::<Mutex<Vec<String>>>::default();
    let take = |State(orders): State<mpsc::Sender<String>>, order: String| async move {
        orders.send(order).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
    };
    let router = Router::new().route("/", post(take)).with_state(orders);
    let worker = {
        let done = Arc::clone(&done);
        |shutdown| work(shutdown, queue, done)
    };
    let daemon = Daemon::new("test").server("public", "127.0.0.1:0", router).task("worker", worker);
    let running = Running::start(daemon);
    let mut client = Client::connect(&running.address("public"));
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ntea");
    let mut other = Client::connect(&running.address("public"));
    other.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\ncoffee");
    assert_eq!(other.response("POST").status, 200);
    let monitor = running.monitor.clone();
    let stopped = std::thread::spawn(move || running.stop());
    wait_until("the drain", PATIENCE, || monitor.phase() == Phase::Draining);
    client.send("s");
    assert_eq!(client.response("POST").status, 200);
    assert_eq!(stopped.join().unwrap().unwrap(), Exit::Clean);
    assert_eq!(*done.lock().unwrap(), ["coffee", "teas"]);
}
