//! Servers, a member of the program's own, and a latch under one lifecycle.
//!
//! ```text
//! cargo run --example members [PUBLIC [ADMIN [DRAIN_TIMEOUT]]]    (127.0.0.1:8080 127.0.0.1:8081 5s)
//! ```
//!
//! The member `worker` takes its orders from standard input, a line each:
//!
//! | line | what happens |
//! |---|---|
//! | `warm` | releases the latch `cache`: only now the daemon is ready, as `curl localhost:8081/ready` shows |
//! | `end` | the worker ends, which ends everything: exit code 0 |
//! | `fail` | the worker ends with an error, which ends everything: exit code 1, `worker failed: …` |
//! | `panic` | the worker panics, which ends everything: exit code 1, `worker panicked: …` |
//! | `stubborn` | the worker does not hear of the shutdown any more: the drain time-out gives it up, exit code 3 |
//! | `hog` | the worker blocks its thread, as nothing in an async program should: exit code 3 |
//!
//! `POST /length` tells how long its body is: a request that lasts as long as its client likes, to see
//! how a stop waits for it. `GET /block` blocks its thread for ever, `GET /block/all` every thread that the
//! runtime has, and `GET /spin` has an answer that keeps the connection's task in an endless loop: to see that a
//! stop does not wait for them.

use std::{
    convert::Infallible,
    future::pending,
    io::{self, BufRead},
    pin::Pin,
    process::ExitCode,
    sync::Once,
    task::{Context, Poll},
    thread,
};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use bytes::Bytes;
use http_body::Frame;
use lockstepd::{BoxError, Daemon, Exit, Format, Latch, LogSettings, Shutdown};
use tokio::sync::mpsc;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let public = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let admin = arguments.next().unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let drain_timeout = arguments.next().unwrap_or_else(|| "5s".to_owned());
    let Ok(drain_timeout) = humantime::parse_duration(&drain_timeout) else {
        eprintln!("{drain_timeout:?} is no time");
        return Exit::Usage.into();
    };
    let mut log = LogSettings::default();
    log.format = Format::Json;

    let router = Router::new()
        .route("/", get(|| async { "Hello\n" }))
        .route("/length", post(|body: String| async move { format!("{}\n", body.len()) }))
        .route("/block", get(|| async { block("a handler") }))
        .route("/block/all", get(|| async { block_all() }))
        .route("/spin", get(|| async { Body::new(Empty) }));
    let daemon = Daemon::new("members")
        .server("public", public, router)
        .admin(admin)
        .drain_timeout(drain_timeout)
        .log(log);
    let cache = daemon.latch("cache");
    daemon.task("worker", |shutdown| worker(shutdown, cache)).run()
}

/// Obeys until it is told to end, or everything else ends.
async fn worker(shutdown: Shutdown, cache: Latch) -> Result<(), BoxError> {
    let mut orders = orders();
    let mut cache = Some(cache);
    loop {
        let order = tokio::select! {
            () = shutdown.triggered() => return Ok(()),
            order = orders.recv() => order,
        };
        match order.as_deref() {
            Some("warm") => cache.take().map_or((), Latch::release),
            Some("end") => return Ok(()),
            Some("fail") => return Err("out of stamps".into()),
            Some("panic") => panic!("out of paper"),
            Some("stubborn") => {
                eprintln!("worker: I do not listen any more");
                shutdown.triggered().await;
                pending::<()>().await;
            }
            Some("hog") => block("the worker"),
            Some(order) => eprintln!("there is no order {order:?}"),
            // Standard input has ended: there will be no more orders.
            None => shutdown.triggered().await,
        }
    }
}

/// Keeps the thread for ever.
fn block(who: &str) {
    eprintln!("{who} blocks its thread");
    loop {
        thread::park();
    }
}

/// Keeps all threads of the runtime for ever. The last task stays with this one, where no other gets it.
fn block_all() {
    for _ in 0..thread::available_parallelism().expect("it can be found out").get() {
        tokio::spawn(async { block("a task") });
    }
    block("a handler");
}

/// A body that always has more, and always of nothing: hyper asks for the next piece without end.
struct Empty;

impl http_body::Body for Empty {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| eprintln!("an answer spins"));
        Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
    }
}

/// The lines of standard input. A thread of its own reads them, since reading cannot be interrupted;
/// it ends with the process.
fn orders() -> mpsc::UnboundedReceiver<String> {
    let (sender, orders) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    orders
}
