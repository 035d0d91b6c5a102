//! A daemon in a program that has a runtime of its own.
//!
//! ```text
//! cargo run --example embedded early|late|inside PUBLIC
//! ```
//!
//! The service manager's sockets are taken before the runtime starts its threads (`early`), or by the
//! daemon itself, for which it is then too late (`late`). `SIGTERM` is the program's own: it hears it, and
//! tells the daemon. With `inside` it makes the mistake to call `run` where there is a runtime already.

use std::process::ExitCode;
use std::time::Duration;

use axum::{
    Router,
    routing::{get, post},
};
use lockstepd::{BoxError, Cause, Daemon, Exit, Inherited};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [when, public] = &arguments[..] else {
        eprintln!("say early, late or inside, and an address");
        return Exit::Usage.into();
    };
    if when == "inside" {
        let daemon = Daemon::new("embedded").server("public", &**public, Router::new());
        return Runtime::new().expect("there can be threads").block_on(async { daemon.run() });
    }
    match run(when == "early", public) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("embedded: {error}");
            Exit::Configuration.into()
        }
    }
}

fn run(early: bool, public: &str) -> Result<Exit, BoxError> {
    let router = Router::new()
        .route("/", get(|| async { "Hello\n" }))
        .route("/length", post(|body: String| async move { format!("{}\n", body.len()) }));
    let mut daemon = Daemon::new("embedded")
        .server("public", public, router)
        .drain_timeout(Duration::from_secs(10));
    if early {
        daemon = daemon.inherited(Inherited::take()?);
    }
    Runtime::new()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let monitor = daemon.monitor();
        let told = monitor.clone();
        tokio::spawn(async move {
            if told.ready().await {
                eprintln!("ready on {}", told.addresses("public")[0]);
            }
        });
        let exit = daemon.run_until(async {
            terminate.recv().await;
            Cause::Terminate
        });
        Ok(exit.await?)
    })
}
