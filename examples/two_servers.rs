//! The shape of the daemon `lockstepd`: a server for everybody, and one for whoever operates it.
//!
//! `cargo run --example two_servers`, then
//!
//! | command | what it shows |
//! |---|---|
//! | `curl localhost:8080/anything` | how often that was asked |
//! | `curl localhost:8081/ready` | 503 until the cache is warm, which takes a second |
//! | `curl localhost:8081/cache` | a route of our own on the admin server, behind its guard |
//! | `curl localhost:8081/metrics` | the daemon's metrics and ours |
//! | `kill -HUP PID` | a reload of `/etc/two_servers.conf`, which says how many seconds a stop may take |
//! | `curl 'localhost:8081/listener?stop=enough'` | the end of both |

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, io};

use axum::{Router, extract::State, routing::get};
use lockstepd::prometheus_client::{metrics::counter::Counter, registry::Registry};
use lockstepd::{BoxError, Daemon, Latch, Reload, Shutdown};

/// How many seconds a stop may take.
const CONFIGURATION: &str = "/etc/two_servers.conf";

/// What the handlers share.
#[derive(Clone, Default)]
struct Shop {
    visits: Counter,
    /// How many things are in the cache.
    cached: Arc<AtomicU64>,
}

fn main() -> ExitCode {
    let shop = Shop::default();
    let mut registry = Registry::with_prefix("shop");
    registry.register("visits", "Visits since the start", shop.visits.clone());
    let public = Router::new().fallback(visit).with_state(shop.clone());
    let cache = Router::new().route("/cache", get(cached)).with_state(shop.clone());

    let daemon = Daemon::new("two_servers")
        .server("public", "127.0.0.1:8080", public)
        .admin("127.0.0.1:8081")
        .admin_routes(cache)
        .metrics(registry)
        .on_reload(reload);
    let warm = daemon.latch("cache");
    daemon.task("cache", |shutdown| keep_cache(shop, warm, shutdown)).run()
}

async fn visit(State(shop): State<Shop>) -> String {
    format!("visit {}\n", shop.visits.inc() + 1)
}

async fn cached(State(shop): State<Shop>) -> String {
    format!("{} things\n", shop.cached.load(Ordering::Relaxed))
}

/// A member: it warms the cache, lets the daemon be ready, and would keep it fresh.
async fn keep_cache(shop: Shop, warm: Latch, shutdown: Shutdown) -> Result<(), BoxError> {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(1)) => shop.cached.store(3, Ordering::Relaxed),
        () = shutdown.triggered() => return Ok(()),
    }
    warm.release();
    shutdown.triggered().await;
    Ok(())
}

/// Reads what configures this program, anew and whole. After an error everything stays as it was.
fn reload() -> Result<Reload, BoxError> {
    let seconds = match fs::read_to_string(CONFIGURATION) {
        Ok(text) => text.trim().parse()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 20,
        Err(error) => return Err(error.into()),
    };
    Ok(Reload::new().drain_timeout(Duration::from_secs(seconds)))
}
