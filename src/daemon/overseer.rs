//! What whatever a task does does not hold up: signals are heard, and a stop comes to its end.
//!
//! Tasks run code that is not ours, on threads that they may block. The overseer has a thread of its own,
//! and a runtime that nothing else runs in. It triggers the shutdown when a signal asks for it, and then
//! waits: a stop that has not ended some time after its drain time-out never will, and the process ends
//! there and then.
//!
//! # Invariants
//! - Nothing that the overseer waits for depends on a task, a lock that is held across foreign code, or the
//!   service manager: at the end even the log is given up.
//! - It lasts from before the first task until after the last: [`Overseeing`] is dropped at the very end.

use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::connections::registry::Registry;
use crate::daemon::error::Exit;
use crate::daemon::stuck::PollsInProgress;
use crate::http::access;
use crate::lifecycle::group::Polls;
use crate::lifecycle::settings::LiveSettings;
use crate::lifecycle::shutdown::{Cause, Shutdown};
use crate::lifecycle::signals::{self, Event, Held, Hold, Orders, Registered};
#[cfg(feature = "log")]
use crate::log::finish;
use crate::log::message_id;
use crate::manager::notify::Notifier;

/// How long after the drain time-out a stop may take for what is not a request: members end, connections are
/// handed over, the log is written.
const GRACE: Duration = Duration::from_secs(3);

/// Signals that come sooner than this after the shutdown was triggered say the same once more: a terminal
/// and the program that was started in it both pass one on.
const INSIST_AFTER: Duration = Duration::from_millis(500);

/// How long the runtime gets to tell of a signal that came just before the program is replaced.
const LAST_LOOK: Duration = Duration::from_millis(2);

/// How long it may take to tell why the process is ended.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Hears signals and bounds the stop.
#[derive(Debug)]
pub(crate) struct Overseer {
    pub(crate) shutdown: Shutdown,
    pub(crate) orders: Orders,
    pub(crate) notifier: Notifier,
    /// The drain time-out until there are members.
    pub(crate) drain_timeout: Duration,
    pub(crate) members: Members,
}

/// What is overseen, once it runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members(Arc<OnceLock<Running>>);

#[derive(Debug)]
struct Running {
    settings: LiveSettings,
    polls: Polls,
    servers: Vec<Arc<Registry>>,
}

/// Keeps the overseer's thread going until it is dropped.
#[derive(Debug)]
pub(crate) struct Overseeing {
    _finished: oneshot::Sender<()>,
}

// === impl Members ===

impl Members {
    pub(crate) fn run(&self, settings: LiveSettings, polls: Polls, servers: Vec<Arc<Registry>>) {
        // A daemon starts once.
        let _ = self.0.set(Running { settings, polls, servers });
    }
}

// === impl Overseer ===

impl Overseer {
    /// Registers the signals, and starts to hear them.
    ///
    /// # Errors
    /// When the kernel refuses a handler, or there can be no more threads or descriptors.
    pub(crate) fn start(self, holds: mpsc::Receiver<Hold>) -> io::Result<Overseeing> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let registered = {
            let _entered = runtime.enter();
            Registered::register()?
        };
        let (finished, is_finished) = oneshot::channel::<()>();
        thread::Builder::new().name("overseer".to_owned()).spawn(move || {
            // Of all threads only this one hears them.
            if let Err(error) = signals::unblock() {
                tracing::error!(%error, "signals are not heard");
            }
            runtime.block_on(async {
                tokio::select! {
                    // It is dropped, which is all that there is to hear.
                    _ = is_finished => {}
                    () = self.oversee(registered, holds) => self.end_process(),
                }
            });
        })?;
        Ok(Overseeing { _finished: finished })
    }

    /// Returns only if the stop does not come to its end.
    async fn oversee(&self, mut signals: Registered, mut holds: mpsc::Receiver<Hold>) {
        // When the shutdown was triggered, and when the stop has to have ended.
        let mut stop = None;
        loop {
            let end = stop.map(|(_, end)| end);
            tokio::select! {
                biased;
                Some(asked) = holds.recv() => {
                    if !self.hold(asked, &mut signals, &mut stop).await {
                        return;
                    }
                }
                event = signals.next() => self.heard(event, &mut stop),
                () = self.shutdown.triggered(), if stop.is_none() => self.stops(&mut stop),
                () = self.ceiling(end) => return,
            }
        }
    }

    fn heard(&self, event: Event, stop: &mut Option<(Instant, Instant)>) {
        match event {
            Event::Order(order) => self.orders.give(order),
            Event::Stop(cause) => {
                self.shutdown.trigger(cause);
                let Some((triggered, end)) = stop else { return self.stops(stop) };
                if triggered.elapsed() >= INSIST_AFTER && !self.shutdown.is_insisted() {
                    tracing::warn!("ending at once: a second signal came");
                    self.shutdown.insist();
                    *end = (*end).min(Instant::now() + GRACE);
                }
            }
        }
    }

    /// The stop begins, and has so much time.
    fn stops(&self, stop: &mut Option<(Instant, Instant)>) {
        let now = Instant::now();
        *stop = Some((now, after(now, self.drain_timeout() + GRACE)));
    }

    fn drain_timeout(&self) -> Duration {
        let running = self.members.0.get();
        running.map_or(self.drain_timeout, |running| running.settings.now().drain_timeout)
    }

    /// Ready when a stop, or what takes as long at most, has to have ended.
    async fn ceiling(&self, end: Option<Instant>) {
        match end {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    }

    /// Hears no signal until the hold is over, having told those that came before. Answers whether it was over
    /// in time: members may have been told to end, from which there is no way back.
    async fn hold(
        &self,
        asked: Hold,
        signals: &mut Registered,
        stop: &mut Option<(Instant, Instant)>,
    ) -> bool {
        if let Err(error) = signals::block() {
            tracing::warn!(%error, "signals may be lost while the program is replaced");
        }
        let told = sleep_until(Instant::now() + LAST_LOOK);
        tokio::pin!(told);
        loop {
            tokio::select! {
                event = signals.next() => self.heard(event, stop),
                () = &mut told => break,
            }
        }
        let (held, is_released) = Held::new();
        let too_late = async {
            self.shutdown.triggered().await;
            sleep_until(after(Instant::now(), self.drain_timeout() + GRACE)).await;
        };
        if asked.send(held).is_ok() {
            tokio::select! {
                // It is dropped, which is all that there is to hear; or this program ends here.
                _ = is_released => {}
                () = too_late => return false,
            }
        }
        if let Err(error) = signals::unblock() {
            tracing::error!(%error, "signals are not heard any more");
        }
        true
    }

    /// Ends the process, having told why if that can be done.
    fn end_process(&self) {
        let is_failure = self.shutdown.cause().is_some_and(Cause::is_failure);
        let exit = if is_failure { Exit::MemberFailed } else { Exit::CutOff };
        let (said, is_said) = channel();
        let (members, notifier) = (self.members.clone(), self.notifier.clone());
        let tell = move || {
            members.tell(&notifier, exit);
            // Whoever waits for it may have given up.
            let _ = said.send(());
        };
        // On a thread of its own: the log could be what does not come to its end.
        if thread::Builder::new().name("last-words".to_owned()).spawn(tell).is_ok() {
            let _ = is_said.recv_timeout(LAST_WORDS);
        }
        exit_now(exit)
    }
}

impl Members {
    fn tell(&self, notifier: &Notifier, exit: Exit) {
        let (requests, stuck) = self.0.get().map_or_else(Default::default, |running| {
            let requests: u64 =
                running.servers.iter().map(|server| server.metrics.in_flight()).sum();
            let polls_in_progress = PollsInProgress::now(&running.servers, &running.polls);
            thread::sleep(PollsInProgress::PAUSE);
            (requests, polls_in_progress.stuck())
        });
        let stuck = stuck.join(", ");
        let stuck = if stuck.is_empty() { "not known" } else { &stuck };
        tracing::error!(
            message_id = message_id::CUT_OFF,
            culprits = stuck,
            requests,
            exit_code = exit as u8,
            "the stop does not come to its end; ending the process",
        );
        notifier.status(&format!("Ended by force: {stuck}"));
        notifier.flush();
        access::flush();
        #[cfg(feature = "log")]
        finish();
    }
}

/// The moment that comes `time` after `begin`; beyond what a clock can tell is never.
fn after(begin: Instant, time: Duration) -> Instant {
    begin.checked_add(time).unwrap_or_else(|| begin + Duration::from_secs(1 << 30))
}

/// Ends the process without asking anybody: what a program has registered for its exit may hang as well.
fn exit_now(exit: Exit) -> ! {
    #[expect(unsafe_code, reason = "std has no exit that runs nothing of the program's")]
    // SAFETY: it takes a number and does not return.
    unsafe {
        libc::_exit(i32::from(exit as u8))
    }
}
