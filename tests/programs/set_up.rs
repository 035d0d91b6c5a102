//! What a program does before it can serve, and how it may go wrong.
//!
//! ```text
//! cargo run --example set_up HOW PUBLIC
//! ```
//!
//! | HOW | what happens |
//! |---|---|
//! | `wait` | the set-up waits for a line on standard input; `fail`, `panic`, `refuse` and `other` end it badly, `stop` well |
//! | `block` | the set-up blocks its thread, as nothing in an async program should |
//! | `threads` | a mistake: a thread is started before the daemon runs |
//! | `silent` | nothing sets up a log; a line on standard input ends a member with an error |

use std::{io, process::ExitCode, thread, time::Duration};

use axum::{Router, routing::get};
use lockstepd::{BoxError, Cause, Daemon, Error, Exit, Format, LogSettings};
use tokio::task::spawn_blocking;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [how, public] = &arguments[..] else {
        eprintln!("say wait, block, threads or silent, and an address");
        return Exit::Usage.into();
    };
    let public = public.clone();
    let router = Router::new().route("/", get(|| async { "Hello\n" }));
    let mut log = LogSettings::default();
    log.format = Format::Json;
    let daemon = Daemon::new("set_up").log(log);
    match &**how {
        "wait" => daemon.run_with(async move |daemon| {
            tracing::info!("setting up");
            match &*order().await? {
                "stop" => {
                    daemon.shutdown().trigger(Cause::Request("nothing to do".to_owned()));
                    Ok(daemon.server("public", &*public, router))
                }
                "fail" => Err(io::Error::other("there is no database").into()),
                "panic" => panic!("there is no table"),
                "refuse" => {
                    Err(Error::Configuration("\"there\" is no database's name".to_owned()).into())
                }
                "other" => Ok(Daemon::new("other").server("public", &*public, router)),
                _ => Ok(daemon.server("public", &*public, router)),
            }
        }),
        "block" => daemon.run_with(async move |daemon| {
            tracing::info!("setting up");
            thread::sleep(Duration::from_secs(3600));
            Ok(daemon)
        }),
        "threads" => {
            thread::spawn(|| thread::sleep(Duration::from_secs(3600)));
            daemon.server("public", &*public, router).run()
        }
        "silent" => daemon
            .log(None)
            .server("public", &*public, router)
            .task("worker", |_| async { Err(order().await?.into()) })
            .run(),
        _ => Exit::Usage.into(),
    }
}

/// The next line of standard input.
async fn order() -> Result<String, BoxError> {
    let line = spawn_blocking(|| io::stdin().lines().next()).await?;
    Ok(line.transpose()?.unwrap_or_default())
}
