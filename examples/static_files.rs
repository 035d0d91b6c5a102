//! Files: tower-http's `ServeDir` as it is, with ranges, modification times and types of its own.
//!
//! `cargo run --example static_files`, then
//!
//! | command | what it shows |
//! |---|---|
//! | `curl localhost:8080/minimal.rs` | a file of the directory `examples` |
//! | `curl -r 0-61 localhost:8080/minimal.rs` | a part of it, as a browser asks for when it goes on |
//!
//! `$SITE` names another directory; in the unit that is `Environment=SITE=/srv/site`. A download is a request
//! in flight: a restart waits for it, up to the drain time-out, and serves the other clients meanwhile. So let
//! `Daemon::drain_timeout` be as long as a large file takes, and `TimeoutStopSec=` some seconds longer.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use lockstepd::{Daemon, Error};
use tower_http::services::ServeDir;

fn main() -> ExitCode {
    let directory = PathBuf::from(env::var_os("SITE").unwrap_or_else(|| "examples".into()));
    Daemon::new("static_files").run_with(async |daemon| {
        if !directory.is_dir() {
            let text = format!("there is no directory {} (set SITE)", directory.display());
            return Err(Error::Configuration(text).into());
        }
        // Any tower service will do; a `Router` takes it with `fallback_service`.
        Ok(daemon.server("public", "127.0.0.1:8080", ServeDir::new(directory)))
    })
}
