//! The smallest daemon: one server, and everything that systemd wants of a service.
//!
//! `cargo run --example minimal`, then `curl localhost:8080`. It needs none of the library's features.

use axum::{Router, routing::get};

fn main() -> std::process::ExitCode {
    let router = Router::new().route("/", get(|| async { "Hello\n" }));
    lockstepd::Daemon::new("minimal").server("public", "127.0.0.1:8080", router).run()
}
