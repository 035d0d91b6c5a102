//! A program with a runtime of its own, in which the daemon is one thing among others.
//!
//! `cargo run --example own_runtime`, then `curl localhost:8080`, and Ctrl-C.
//!
//! It needs that where the threads have to be set up in a way of one's own, or something has to happen in the
//! runtime when the daemon has ended. Whoever only awaits something before serving has `Daemon::run_with`.
//!
//! The order matters: systemd's sockets are taken first, before there are threads, so there is no
//! `#[tokio::main]`. Signals and the log are the program's own; a reload and an upgrade in place are not there.

use std::process::ExitCode;
use std::thread;

use axum::{Router, routing::get};
use lockstepd::{Cause, Daemon, Error, Exit, Inherited};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    match run() {
        Ok(exit) => exit.into(),
        Err(error) => error.report(),
    }
}

fn run() -> Result<Exit, Error> {
    let inherited = Inherited::take()?;
    let threads = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("own-thread")
        .enable_all()
        .build()
        .map_err(|source| Error::System { attempt: "start a runtime", source })?;
    threads.block_on(async {
        let router = Router::new().route("/", get(hello));
        let daemon = Daemon::new("own_runtime").inherited(inherited).server(
            "public",
            "127.0.0.1:8080",
            router,
        );
        let heard = |kind| {
            signal(kind).map_err(|source| Error::System { attempt: "listen for signals", source })
        };
        let mut terminate = heard(SignalKind::terminate())?;
        let mut interrupt = heard(SignalKind::interrupt())?;
        let exit = daemon
            .run_until(async {
                tokio::select! {
                    _ = terminate.recv() => Cause::Terminate,
                    _ = interrupt.recv() => Cause::Interrupt,
                }
            })
            .await?;
        // Nothing of the daemon is left; the runtime is still there.
        eprintln!("own_runtime: the last word");
        Ok(exit)
    })
}

async fn hello() -> String {
    format!("Hello from {}\n", thread::current().name().unwrap_or("a thread without a name"))
}
