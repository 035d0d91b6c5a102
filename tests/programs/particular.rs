//! Two servers, of which one has settings of its own.
//!
//! ```text
//! cargo run --example particular DRAIN_TIMEOUT OWN_DRAIN_TIMEOUT
//! ```
//!
//! `usual` has the daemon's settings; `special` takes five fields in a request, logs all of them, writes names with
//! capitals, and has a drain time-out of its own. A reload allows six fields to both. `POST /` tells how long its
//! body is.

use std::{process::ExitCode, time::Duration};

use axum::{Router, routing::post};
use lockstepd::{AccessLog, Daemon, Format, Limits, LogSettings, Reload, Server};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut time = || -> Duration {
        let text = arguments.next().expect("say two times");
        humantime::parse_duration(&text).expect("a time such as 2s")
    };
    let (drain_timeout, own_drain_timeout) = (time(), time());
    let mut log = LogSettings::default();
    log.format = Format::Json;
    let router =
        Router::new().route("/", post(|body: String| async move { format!("{}\n", body.len()) }));
    let special = Server::new("special", "127.0.0.1:0", router.clone())
        .limits(fields(5))
        .access_log(AccessLog::All)
        .title_case_headers(true)
        .drain_timeout(own_drain_timeout);
    Daemon::new("particular")
        .log(log)
        .drain_timeout(drain_timeout)
        .on_reload(|| Ok(Reload::new().limits(fields(6)).server_limits("special", fields(6))))
        .server("usual", "127.0.0.1:0", router)
        .add_server(special)
        .run()
}

fn fields(most: usize) -> Limits {
    let mut limits = Limits::default();
    limits.headers = most;
    limits
}
