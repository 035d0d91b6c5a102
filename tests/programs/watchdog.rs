//! What the watchdog notices: handlers that block their threads, a member that never yields, a check
//! of the program's own.
//!
//! Under a unit with `WatchdogSec=`, `curl http://127.0.0.1:8080/block` (as often as there are
//! workers), `/spin` or `/break`, and see in the journal what was stuck before systemd restarts the
//! service. Two servers never answer, and the watchdog does not ask them for what they wait for: `/asked` tells how
//! often it has asked one of them for something else.

use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use axum::{Router, routing::get};
use lockstepd::{Accept, Accepted, Daemon, Listen, Server};
use tokio::sync::Notify;

/// No client ever comes.
struct Nobody;

impl Accept for Nobody {
    async fn accept(&mut self) -> io::Result<Accepted> {
        pending().await
    }
}

fn main() -> ExitCode {
    let spin = Arc::new(Notify::new());
    let starter = Arc::clone(&spin);
    let start = move || async move { starter.notify_one() };
    let broken = Arc::<AtomicBool>::default();
    let breaker = Arc::clone(&broken);
    let break_it = move || async move { breaker.store(true, Ordering::Relaxed) };
    let asked = Arc::<AtomicU64>::default();
    let told = Arc::clone(&asked);
    let tell = move || async move { told.load(Ordering::Relaxed).to_string() };
    let router = Router::new()
        .route("/break", get(break_it))
        .route("/", get(|| async { "Hello\n" }))
        .route("/block", get(block))
        .route("/spin", get(start))
        .route("/asked", get(tell));
    // What these wait for is elsewhere, and may be gone; no restart mends that.
    let waiting = || Router::new().fallback(pending::<()>);
    let live = get(move || async move { asked.fetch_add(1, Ordering::Relaxed).to_string() });
    let server = |name, router| Server::new(name, Listen::none(), router).accept_from(Nobody);
    Daemon::new("watchdog")
        .server("public", "127.0.0.1:8080", router)
        .add_server(server("proxy", waiting()).watchdog_path(None))
        .add_server(server("shop", waiting().route("/live", live)).watchdog_path(Some("/live")))
        .admin("127.0.0.1:8081")
        .watchdog_check("spring", move || {
            let broken = broken.load(Ordering::Relaxed);
            async move { if broken { Err("it is broken".into()) } else { Ok(()) } }
        })
        .task("spinner", |shutdown| async move {
            tokio::select! {
                () = shutdown.triggered() => Ok(()),
                () = spin.notified() => loop {
                    std::hint::spin_loop();
                },
            }
        })
        .run()
}

/// A mistake: this belongs into `spawn_blocking`.
async fn block() -> &'static str {
    sleep(Duration::from_secs(3600));
    "never\n"
}
