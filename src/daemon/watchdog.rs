//! Feeding the service manager's watchdog, but only while every server makes progress.
//!
//! Progress is proven, not assumed: each acceptor has to turn once, each service has to answer a
//! real request over an in-memory connection, no member may sit in one poll for long, and the
//! program's own checks have to pass. Whatever fails is named in the log before the manager acts.
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
    /// The manager acts when it has heard nothing for as long.
    pub(crate) limit: Duration,
    pub(crate) notifier: Notifier,
    pub(crate) servers: Vec<Arc<dyn Serve>>,
    pub(crate) polls: Polls,
    pub(crate) checks: Vec<Check>,
    pub(crate) runtime: Handle,
}

/// A look of the program's own.
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) look: Box<dyn Fn() -> Look + Send + Sync>,
}

pub(crate) type Look = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// What was heard of something that has to make progress.
enum Heard {
    Progress,
    /// It said that there is none.
    Failure(String),
}

/// Keeps the watchdog's thread going until it is dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    _stop: Sender<()>,
}

// === impl Watchdog ===

impl Watchdog {
    /// Starts watching.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn start(self) -> std::io::Result<Watching> {
        let (stop, stopped) = channel();
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || self.watch(&stopped))?;
        Ok(Watching { _stop: stop })
    }

    fn watch(&self, stopped: &Receiver<()>) {
        let mut told = Vec::new();
        loop {
            let begin = Instant::now();
            let stuck = self.stuck();
            let pause = if stuck.is_empty() {
                self.notifier.watchdog();
                // Half the limit, as sd_watchdog_enabled(3) advises; the look takes a quarter at most.
                (self.limit / 2).saturating_sub(begin.elapsed())
            } else {
                // There is little time left, and what was but late has a chance.
                self.limit / 16
            };
            // A check that fails may word it differently each time.
            let name = |what: &String| what.split(": ").next().map(str::to_owned);
            let is_new = |what: &&String| !told.contains(&name(what));
            for what in stuck.iter().filter(is_new) {
                tracing::error!(
                    message_id = message_id::STUCK,
                    "no progress: {what}; the service manager's watchdog is not fed",
                );
            }
            told = stuck.iter().map(name).collect();
            match stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Everything that makes no progress, in words.
    fn stuck(&self) -> Vec<String> {
        let patience = self.limit / 4;
        let deadline = Instant::now() + patience;
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
                // The channel has room for everybody; the watchdog may have given up on us.
                let _ = turned.try_send((accepting, Heard::Progress));
            });
            let (probe, answered) = (server.probe(), answer.clone());
            self.runtime.spawn(async move {
                if probe.await {
                    let _ = answered.try_send((answering, Heard::Progress));
                }
            });
        }
        for check in &self.checks {
            let name = format!("the check \"{}\" does not return", check.name);
            missing.push(name.clone());
            let failure = format!("the check \"{}\" failed", check.name);
            let (look, looked) = ((check.look)(), answer.clone());
            self.runtime.spawn(async move {
                let heard = match look.await {
                    Ok(()) => Heard::Progress,
                    Err(error) => Heard::Failure(format!("{failure}: {}", chain(&*error))),
                };
                let _ = looked.try_send((name, heard));
            });
        }
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((seen, heard)) = answers.recv_timeout(left) else { break };
            missing.retain(|what| *what != seen);
            if let Heard::Failure(failure) = heard {
                failed.push(failure);
            }
        }
        missing.append(&mut failed);
        let busy = self.polls.longer_than(patience).into_iter();
        missing.extend(busy.map(|member| format!("member \"{member}\" does not yield")));
        missing
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}
