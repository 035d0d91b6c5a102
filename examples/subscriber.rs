//! A tracing subscriber of one's own: what is set before `run` stays, and gets the library's events, too.
//!
//! `cargo run --example subscriber`, then `curl localhost:8080`: lines of JSON, the daemon's and our own.
//!
//! Under systemd standard error is the journal's, and each line an entry. What the library's own log does is then
//! up to the subscriber: each field is a field of the journal, no request waits for a journal that has stopped, and
//! `SIGHUP` sets the level anew.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use axum::{Router, routing::get};
use lockstepd::Daemon;

fn main() -> ExitCode {
    // The journal has the time, and wants no colours.
    let is_terminal = io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .without_time()
        .with_ansi(is_terminal)
        .with_writer(io::stderr)
        .init();
    tracing::info!(before = "the daemon", "it begins");
    let router = Router::new().route("/", get(hello));
    Daemon::new("subscriber").server("public", "127.0.0.1:8080", router).run()
}

async fn hello() -> &'static str {
    tracing::debug!("this is below the subscriber's level, which is INFO");
    "Hello\n"
}
