//! The library in a program's own runtime, as tests and embedding programs use it.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod answers;
mod bodies;
mod embedding;
mod half_closed;
#[cfg(feature = "http2")]
mod http2;
mod own_listeners;
mod peers;
mod pipelines;
mod queue;
mod spawned;
mod streams;
mod upgrades;

use std::{future::pending, thread};

use lockstepd::{Cause, Daemon, Error, Exit, Monitor};
use support::Response;
use tokio::sync::oneshot;

/// A daemon that runs on a thread of its own until it is told to stop.
struct Running {
    monitor: Monitor,
    stop: oneshot::Sender<Cause>,
    thread: thread::JoinHandle<Result<Exit, Error>>,
}

impl Running {
    /// Starts it and waits until it is ready.
    #[track_caller]
    fn start(daemon: Daemon) -> Self {
        let monitor = daemon.monitor();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let waiting = monitor.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be had").block_on(async {
                let wait = async {
                    // The test may have given up waiting.
                    let _ = ready.send(waiting.ready().await);
                    pending::<()>().await;
                };
                let stop = async { stopped.await.unwrap_or(Cause::Terminate) };
                tokio::select! {
                    exit = daemon.run_until(stop) => exit,
                    () = wait => unreachable!("it waits for ever"),
                }
            })
        });
        assert!(is_ready.recv_timeout(support::PATIENCE).expect("it starts"), "it did not start");
        Self { monitor, stop, thread }
    }

    fn address(&self, server: &str) -> String {
        self.monitor.addresses(server)[0].to_string()
    }

    #[track_caller]
    fn get(&self, server: &str, path: &str) -> Response {
        support::get(&self.address(server), path)
    }

    #[track_caller]
    fn stop(self) -> Result<Exit, Error> {
        self.stop.send(Cause::Request("the test is over".to_owned())).expect("it runs");
        self.thread.join().expect("it does not panic")
    }
}
