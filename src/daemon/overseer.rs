//! Receives signals and bounds the stop, on a thread that no task can block.
//!
//! Handlers and members may block the runtime's threads. The overseer has a thread of its own, and a runtime
//! in which nothing else runs. It triggers the shutdown when a signal asks for it, and ends the process if the
//! stop has not ended some time after the lame duck time and the drain time-out.
//!
//! # Invariants
//! - Nothing that the overseer waits for depends on a task, on a lock that is held while a handler or member
//!   runs, or on the service manager; the log gets [`REPORT_TIMEOUT`] at most.
//! - It runs from before the first task until after the last: [`OverseerGuard`] is dropped at the very end.

use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tokio::runtime::{self, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

use crate::connections::drain::longest;
use crate::connections::registry::Registry;
use crate::daemon::error::Exit;
use crate::daemon::stuck::PollsInProgress;
use crate::http::access;
use crate::lifecycle::group::Polls;
use crate::lifecycle::settings::LiveSettings;
use crate::lifecycle::shutdown::{Cause, Shutdown};
use crate::lifecycle::signals::{self, BlockRequest, Event, Handlers, Orders, SignalsBlocked};
#[cfg(feature = "log")]
use crate::log::finish;
use crate::log::message_id;
use crate::manager::notify::Notifier;

/// How much longer than the lame duck time and the drain time-out a stop may take: members end, connections are
/// handed over, the log is written.
const GRACE: Duration = Duration::from_secs(3);

/// A signal that comes sooner than this after the shutdown was triggered is taken for a repetition: a terminal
/// and a wrapper that was started in it both pass one on. So is one that comes sooner after the drain has begun: it
/// may have been meant to end the lame duck time.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_millis(500);

/// How long the runtimes get at most to deliver a signal that came just before the signals are blocked.
const DELIVERY_TIME: Duration = Duration::from_millis(10);

/// How long the report on a process that is ended by force may take.
const REPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Receives signals and bounds the stop.
#[derive(Debug)]
pub(crate) struct Overseer {
    pub(crate) shutdown: Shutdown,
    pub(crate) orders: Orders,
    pub(crate) notifier: Notifier,
    /// The drain time-out until there are members.
    pub(crate) drain_timeout: Duration,
    pub(crate) members: Members,
}

/// What the overseer knows of the members; empty until they run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members(Arc<OnceLock<RunningMembers>>);

#[derive(Debug)]
struct RunningMembers {
    settings: LiveSettings,
    polls: Polls,
    servers: Vec<Arc<Registry>>,
}

/// The overseer's thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct OverseerGuard {
    _finished: oneshot::Sender<()>,
}

/// A stop that has begun.
#[derive(Clone, Copy, Debug)]
struct Stop {
    /// When it was triggered; or when the drain has begun, if that was later.
    since: Instant,
    is_draining: bool,
    /// When it has to have ended.
    end: Instant,
}

// === impl Members ===

impl Members {
    pub(crate) fn set(&self, settings: LiveSettings, polls: Polls, servers: Vec<Arc<Registry>>) {
        // Never set before: a daemon starts once.
        let _ = self.0.set(RunningMembers { settings, polls, servers });
    }
}

// === impl Overseer ===

impl Overseer {
    /// Registers the signal handlers, and starts the thread.
    ///
    /// # Errors
    /// When the kernel refuses a handler, or there can be no more threads or descriptors.
    pub(crate) fn start(
        self,
        block_requests: mpsc::Receiver<BlockRequest>,
    ) -> io::Result<OverseerGuard> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handlers = {
            let _entered = runtime.enter();
            Handlers::register()?
        };
        let (finished, is_finished) = oneshot::channel::<()>();
        thread::Builder::new().name("overseer".to_owned()).spawn(move || {
            // All other threads have the signals blocked.
            if let Err(error) = signals::unblock() {
                tracing::error!(%error, "signals are not heard");
            }
            runtime.block_on(async {
                tokio::select! {
                    // The sender was dropped; nothing is ever sent.
                    _ = is_finished => {}
                    () = self.oversee(handlers, block_requests) => self.end_process(),
                }
            });
        })?;
        Ok(OverseerGuard { _finished: finished })
    }

    /// Returns only if the stop does not end in time.
    async fn oversee(
        &self,
        mut signals: Handlers,
        mut block_requests: mpsc::Receiver<BlockRequest>,
    ) {
        let mut stop = None;
        loop {
            let end = stop.map(|stop: Stop| stop.end);
            tokio::select! {
                biased;
                Some(request) = block_requests.recv() => {
                    if !self.block_signals(request, &mut signals, &mut stop).await {
                        return;
                    }
                }
                event = signals.next() => self.handle(event, &mut stop),
                () = self.shutdown.triggered(), if stop.is_none() => self.begin(&mut stop),
                () = self.shutdown.drain_begun(), if stop.is_some_and(|stop| !stop.is_draining) => {
                    self.begin(&mut stop);
                }
                () = is_over(end) => return,
            }
        }
    }

    fn handle(&self, event: Event, stop: &mut Option<Stop>) {
        match event {
            Event::Order(order) => self.orders.give(order),
            Event::Stop(cause) => {
                self.shutdown.trigger(cause);
                let Some(Stop { since, is_draining, end }) = stop else { return self.begin(stop) };
                if since.elapsed() < SECOND_SIGNAL_AFTER {
                    return;
                }
                if !*is_draining {
                    tracing::info!("ending the lame duck time: a second signal came");
                    self.shutdown.begin_drain();
                    self.begin(stop);
                } else if !self.shutdown.is_forced() {
                    tracing::warn!("ending at once: a second signal came");
                    self.shutdown.force();
                    *end = (*end).min(Instant::now() + GRACE);
                }
            }
        }
    }

    /// Notes that the stop, or its drain, begins, and by when it has to have ended.
    fn begin(&self, stop: &mut Option<Stop>) {
        let now = Instant::now();
        let is_draining = self.shutdown.is_drain_begun();
        let lame_duck = if is_draining { Duration::ZERO } else { self.lame_duck() };
        let time = lame_duck.saturating_add(self.drain_timeout()).saturating_add(GRACE);
        *stop = Some(Stop { since: now, is_draining, end: after(now, time) });
    }

    fn lame_duck(&self) -> Duration {
        let running = self.members.0.get();
        running.map_or(Duration::ZERO, |running| running.settings.now().lame_duck)
    }

    fn drain_timeout(&self) -> Duration {
        let running = self.members.0.get();
        running.map_or(self.drain_timeout, |running| {
            longest(&running.servers, running.settings.now().drain_timeout)
        })
    }

    /// Handles the signals that have come, and blocks them until the answer to `request` is dropped. Answers
    /// whether it was dropped in time, if the shutdown was triggered meanwhile: an upgrade that has ended the
    /// members cannot go back to serving.
    async fn block_signals(
        &self,
        request: BlockRequest,
        signals: &mut Handlers,
        stop: &mut Option<Stop>,
    ) -> bool {
        if let Err(error) = signals::block() {
            tracing::warn!(%error, "signals may be lost while the program is replaced");
        }
        let BlockRequest { answer, runtime } = request;
        let delivered = timeout(DELIVERY_TIME, delivered(&runtime));
        tokio::pin!(delivered);
        loop {
            tokio::select! {
                biased;
                event = signals.next() => self.handle(event, stop),
                // If the time is over: what is not delivered by now is lost.
                _ = &mut delivered => break,
            }
        }
        let (blocked, is_unblocked) = SignalsBlocked::new();
        let too_late = async {
            self.shutdown.triggered().await;
            sleep_until(after(Instant::now(), self.drain_timeout().saturating_add(GRACE))).await;
        };
        if answer.send(blocked).is_ok() {
            tokio::select! {
                // The sender was dropped: the upgrade failed. If it succeeds, this program ends here.
                _ = is_unblocked => {}
                () = too_late => return false,
            }
        }
        if let Err(error) = signals::unblock() {
            tracing::error!(%error, "signals are not heard any more");
        }
        true
    }

    /// Reports why, if that can be done in time, and ends the process.
    fn end_process(&self) {
        let is_failure = self.shutdown.cause().is_some_and(Cause::is_failure);
        let exit = if is_failure { Exit::MemberFailed } else { Exit::CutOff };
        let (reported, is_reported) = channel();
        let (members, notifier) = (self.members.clone(), self.notifier.clone());
        let report = move || {
            members.report(&notifier, exit);
            // The receiver may have timed out.
            let _ = reported.send(());
        };
        // On a thread of its own: the log may be what is stuck.
        if thread::Builder::new().name("final-report".to_owned()).spawn(report).is_ok() {
            // The process ends even if this times out.
            let _ = is_reported.recv_timeout(REPORT_TIMEOUT);
        }
        exit_now(exit)
    }
}

impl Members {
    /// Logs what did not end, and tells the service manager.
    fn report(&self, notifier: &Notifier, exit: Exit) {
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

/// Waits until the signals that were taken from the kernel have been delivered by the drivers of both runtimes, the
/// overseer's, in which this is awaited, and `other`. For ever if that cannot be known.
async fn delivered(other: &Handle) {
    let turned = other.spawn(signals::driver_turned()).await;
    if !matches!(turned, Ok(Ok(()))) {
        std::future::pending::<()>().await;
    }
    // A runtime of one thread has its driver turn before it goes on behind this.
    yield_now().await;
}

/// Waits until `end`, or for ever if there is none.
async fn is_over(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// `time` after `begin`; decades later if the clock cannot express that.
fn after(begin: Instant, time: Duration) -> Instant {
    begin.checked_add(time).unwrap_or_else(|| begin + Duration::from_secs(1 << 30))
}

/// Ends the process without running what the program has registered for its exit, which may hang as well.
fn exit_now(exit: Exit) -> ! {
    #[expect(unsafe_code, reason = "std has no exit that runs nothing of the program's")]
    // SAFETY: it takes a number and does not return.
    unsafe {
        libc::_exit(i32::from(exit as u8))
    }
}
