//! What the watchdog notices: handlers that block their threads, a member that never yields, a check
//! of the program's own.
//!
//! Under a unit with `WatchdogSec=`, `curl http://127.0.0.1:8080/block` (as often as there are
//! workers), `/spin` or `/break`, and see in the journal what was stuck before systemd restarts the
//! service.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use axum::{Router, routing::get};
use tokio::sync::Notify;

fn main() -> ExitCode {
    let spin = Arc::new(Notify::new());
    let starter = Arc::clone(&spin);
    let start = move || async move { starter.notify_one() };
    let broken = Arc::<AtomicBool>::default();
    let breaker = Arc::clone(&broken);
    let break_it = move || async move { breaker.store(true, Ordering::Relaxed) };
    let router = Router::new()
        .route("/break", get(break_it))
        .route("/", get(|| async { "Hello\n" }))
        .route("/block", get(block))
        .route("/spin", get(start));
    lockstepd::Daemon::new("watchdog")
        .server("public", "127.0.0.1:8080", router)
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
