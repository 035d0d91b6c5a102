//! Feeding the service manager's watchdog, but only while every server makes progress.
//!
//! Progress is proven, not assumed: each acceptor has to turn once, each service has to answer a
//! real request over an in-memory connection, no member may sit in one poll for long, and the
//! program's own checks have to pass. What fails is named in the log before the manager acts.
//!
//! The watchdog has a thread of its own, since what it watches is the runtime: timers of a runtime
//! whose workers are blocked do not fire.
//!
//! # Source
//! `sd_watchdog_enabled(3)`, systemd.service(5) `WatchdogSec=`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::BoxError;
use crate::http::server::Serve;
use crate::lifecycle::group::Polls;
use crate::log::error_text::chain;
use crate::log::message_id;
use crate::manager::notify::Notifier;

/// What has to make progress.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// The manager acts when it has not been notified for so long.
    pub(crate) limit: Duration,
    pub(crate) notifier: Notifier,
    pub(crate) servers: Vec<Arc<dyn Serve>>,
    pub(crate) polls: Polls,
    pub(crate) checks: Vec<Check>,
    pub(crate) runtime: Handle,
}

/// A check of the program's own.
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) check: Box<dyn Fn() -> CheckFuture + Send + Sync>,
}

pub(crate) type CheckFuture = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// What one of the things that have to make progress has answered.
enum Answer {
    Progress,
    /// A check failed.
    Failure(String),
}

/// The watchdog's thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct WatchdogGuard {
    _stop: Sender<()>,
}

// === impl Watchdog ===

impl Watchdog {
    /// Starts watching.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn start(self) -> std::io::Result<WatchdogGuard> {
        let (stop, stopped) = channel();
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || self.watch(&stopped))?;
        Ok(WatchdogGuard { _stop: stop })
    }

    fn watch(&self, stopped: &Receiver<()>) {
        let mut logged = Vec::new();
        loop {
            let begin = Instant::now();
            let stuck = self.stuck();
            let pause = if stuck.is_empty() {
                self.notifier.watchdog();
                // Half the limit, as sd_watchdog_enabled(3) advises; `stuck` takes a quarter at most.
                (self.limit / 2).saturating_sub(begin.elapsed())
            } else {
                // There is little time left, and what was only late may make progress now.
                self.limit / 16
            };
            // A check may fail with another error text each time.
            let name = |what: &String| what.split(": ").next().map(str::to_owned);
            let is_new = |what: &&String| !logged.contains(&name(what));
            for what in stuck.iter().filter(is_new) {
                tracing::error!(
                    message_id = message_id::STUCK,
                    "no progress: {what}; the service manager's watchdog is not fed",
                );
            }
            logged = stuck.iter().map(name).collect();
            match stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Everything that makes no progress, in words.
    fn stuck(&self) -> Vec<String> {
        let time = self.limit / 4;
        let deadline = Instant::now() + time;
        let (answer, answers) = sync_channel(2 * self.servers.len() + self.checks.len());
        let mut missing = Vec::new();
        let mut failed = Vec::new();
        for server in &self.servers {
            let name = server.registry().server();
            let accepting = format!("the acceptors of \"{name}\" do not turn");
            let answering = format!("\"{name}\" does not answer");
            missing.extend([accepting.clone(), answering.clone()]);
            let (registry, turned) = (Arc::clone(server.registry()), answer.clone());
            self.runtime.spawn(async move {
                registry.turned().await;
                // The channel has room for all answers; the watchdog may not wait for this one any more.
                let _ = turned.try_send((accepting, Answer::Progress));
            });
            let (probe, answered) = (server.probe(), answer.clone());
            self.runtime.spawn(async move {
                if probe.await {
                    let _ = answered.try_send((answering, Answer::Progress));
                }
            });
        }
        for check in &self.checks {
            let name = format!("the check \"{}\" does not return", check.name);
            missing.push(name.clone());
            let failure = format!("the check \"{}\" failed", check.name);
            let (check, checked) = ((check.check)(), answer.clone());
            self.runtime.spawn(async move {
                let result = match check.await {
                    Ok(()) => Answer::Progress,
                    Err(error) => Answer::Failure(format!("{failure}: {}", chain(&*error))),
                };
                let _ = checked.try_send((name, result));
            });
        }
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((answered, result)) = answers.recv_timeout(left) else { break };
            missing.retain(|what| *what != answered);
            if let Answer::Failure(failure) = result {
                failed.push(failure);
            }
        }
        missing.append(&mut failed);
        let busy = self.polls.longer_than(time).into_iter();
        missing.extend(busy.map(|member| format!("member \"{member}\" does not yield")));
        missing
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}
