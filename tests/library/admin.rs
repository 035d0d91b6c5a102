//! What a program adds to its admin server.

use std::sync::atomic::AtomicU64;

use axum::{
    Router,
    routing::{any, get},
};
use lockstepd::{
    Daemon, Exit,
    prometheus_client::{
        metrics::{counter::Counter, histogram::Histogram},
        registry::Registry,
    },
};

use crate::{Running, support::Client};

fn daemon() -> Daemon {
    let router = Router::new().route("/", get(|| async { "Hello\n" }));
    Daemon::new("test").server("public", "127.0.0.1:0", router).admin("127.0.0.1:0")
}

#[test]
fn routes_of_the_programs_own_are_behind_the_guard() {
    let own = Router::new().route("/cache", get(|| async { "warm\n" }));
    let running = Running::start(daemon().admin_routes(own));
    assert_eq!(running.get("admin", "/cache").body, "warm\n");
    assert_eq!(running.get("admin", "/nothing").status, 404);
    let mut rebound = Client::connect(&running.address("admin"));
    rebound.send("GET /cache HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(rebound.response("GET").status, 403);
    drop(rebound);
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn a_route_of_the_programs_own_cannot_take_the_place_of_the_daemons() {
    let own = Router::new().route("/live", any(|| async { "mine\n" }));
    let running = Running::start(daemon().admin_routes(own));
    assert_eq!(running.get("admin", "/live").body, "live\n");
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn metrics_of_the_programs_own_are_shown_with_the_daemons() {
    let orders = Counter::<u64, AtomicU64>::default();
    let sizes = Histogram::new([1.0, 10.0]);
    let mut registry = Registry::with_prefix("shop");
    registry.register("orders", "Orders taken", orders.clone());
    registry.register("order_size", "Items of an order", sizes.clone());
    let running = Running::start(daemon().metrics(registry));
    orders.inc_by(3);
    sizes.observe(100.0);
    let metrics = running.get("admin", "/metrics").body;
    for line in [
        "# TYPE shop_orders_total counter",
        "shop_orders_total 3",
        "shop_order_size_bucket{le=\"+Inf\"} 1",
        "lockstepd_connections{server=\"public\"} 0",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line:?} is not in\n{metrics}");
    }
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}
