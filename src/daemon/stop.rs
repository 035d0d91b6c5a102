//! The stop: the cause is recorded → STOPPING=1 → `/ready` says 503 → the lame duck time, if there is one → the
//! servers come to rest → the other members are joined → exit code.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval, sleep};

use crate::connections::drain::{Drain, Unfinished};
use crate::connections::linger::AT_TERMINAL;
use crate::connections::registry::Registry;
use crate::daemon::error::Exit;
use crate::daemon::running::{MANAGER_TIMEOUT, Running};
use crate::daemon::stuck::PollsInProgress;
use crate::handover::carrier::{Carrier, Loaded, Shortage};
use crate::handover::drain_history::{DrainHistory, LastDrain};
use crate::lifecycle::phase::Phase;
use crate::lifecycle::shutdown::{Cause, Shutdown};
use crate::lifecycle::signals::has_terminal;
use crate::log::error_text::say_without_log;
use crate::log::message_id;
use crate::manager::notify::Notifier;
use crate::manager::notify::STATUS_INTERVAL;
use crate::manager::store_names::{CARRIER_NAME, FILE_NAME, LISTENER_PREFIX};

/// How long the service manager is to wait, after each message about the stop, for the next before it kills the
/// service. Nothing is asked for beyond the drain time-out.
pub(crate) const EXTENSION: Duration = Duration::from_secs(10);

/// As [`MANAGER_TIMEOUT`], where the manager has never been seen to read, or where no connection is open: then only
/// the metrics of this drain would be lost.
const SHORT_MANAGER_TIMEOUT: Duration = Duration::from_millis(250);

/// How long before the end of the drain requests that wait for an application are answered by the proxy; an eighth of
/// its time-out at most. What can be handed over has been by then: the last hold begins earlier.
#[cfg(feature = "proxy")]
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// How long a member that was cancelled may take to end.
pub(crate) const ABORT: Duration = Duration::from_millis(100);

impl Running {
    /// Stops all members, whatever the cause.
    pub(crate) async fn stop(mut self) -> Exit {
        let cause = self.shutdown.cause().cloned().unwrap_or(Cause::Terminate);
        let notifier = self.process.notifier.clone();
        if self.phases.current() == Phase::Starting && !cause.is_failure() {
            // To the service manager a service that ends before it was ready has failed.
            notifier.ready("Stopping before the start was finished");
        }
        let lame_duck = self.lame_duck_after(&cause);
        self.phases.set(if lame_duck.is_zero() { Phase::Draining } else { Phase::LameDuck });
        let member = cause.member();
        if cause.is_failure() {
            tracing::error!(message_id = message_id::STOPPING, cause = %cause, member, "stopping");
            if self.process.tells_without_log {
                say_without_log(|| format!("stopping: {cause}"));
            }
        } else {
            tracing::info!(message_id = message_id::STOPPING, cause = %cause, member, "stopping");
        }
        if lame_duck.is_zero() {
            notifier.stopping(&format!("Stopping: {cause}"));
        } else {
            self.serve_as_lame_duck(&cause, lame_duck).await;
            self.phases.set(Phase::Draining);
        }
        self.shutdown.begin_drain();

        let mut drain = self.drain();
        if cause == Cause::Interrupt && has_terminal() {
            drain.limit_linger(AT_TERMINAL);
        }
        let deadline = drain.started + drain.timeout;
        #[cfg(feature = "proxy")]
        for (_, proxy) in &self.proxies {
            let last = LAST_ANSWERS.min(drain.timeout / 8);
            proxy.close_by(deadline.checked_sub(last).unwrap_or(drain.started));
        }
        let rest = async {
            let unfinished = self.bring_to_rest(&cause, &drain).await;
            self.shutdown.set_at_rest();
            // A server that is held does not end by itself; the others have ended.
            for server in drain.all() {
                self.group.abort(server.server());
            }
            let late = tokio::select! {
                late = self.group.join(deadline.max(Instant::now() + ABORT)) => late,
                () = self.shutdown.forced() => self.group.join(Instant::now() + ABORT).await,
            };
            (unfinished, late)
        };
        let (unfinished, late) = tokio::select! {
            rested = rest => rested,
            never = report_progress(&notifier, &cause, &drain) => never,
        };
        for (server, requests) in &unfinished.servers {
            tracing::warn!(
                message_id = message_id::CUT_OFF,
                server,
                requests,
                "requests were cut off",
            );
        }
        let is_cut = unfinished.requests() > 0;
        for member in &late {
            tracing::warn!(message_id = message_id::CUT_OFF, member, "member did not end in time");
        }
        // Something has held the stop up, also if nothing is lost by it.
        if is_cut || !late.is_empty() || Instant::now() >= deadline {
            let servers: Vec<_> = drain.all().cloned().collect();
            let polls_in_progress = PollsInProgress::now(&servers, &self.group.polls());
            sleep(PollsInProgress::PAUSE).await;
            for stuck in polls_in_progress.stuck() {
                tracing::warn!(message_id = message_id::CUT_OFF, "{stuck}");
            }
        }
        let exit = match (cause.is_failure(), is_cut || !late.is_empty()) {
            (true, _) => Exit::MemberFailed,
            (false, true) => Exit::CutOff,
            (false, false) => Exit::Clean,
        };
        self.phases.set(Phase::Stopped);
        report_stopped(&notifier, &cause, exit);
        exit
    }

    /// Hands connections over, or ends them where that is not possible.
    async fn bring_to_rest(&self, cause: &Cause, drain: &Drain) -> Unfinished {
        if let Some(carrier) = self.carrier(cause, drain).await {
            let unfinished = drain.hold().await;
            let (duration, requests) = (drain.started.elapsed(), unfinished.requests());
            let history = self.history.with(LastDrain { duration, requests });
            match self.load(carrier, drain, history).await {
                Ok(loaded) => {
                    self.files.leave();
                    tracing::info!(
                        message_id = message_id::HANDED_OVER,
                        connections = loaded.handed_over(),
                        "handed connections over",
                    );
                    let Some(shortage) =
                        loaded.shortage.as_ref().filter(|_| loaded.not_handed_over() > 0)
                    else {
                        return unfinished;
                    };
                    tracing::warn!(
                        message_id = message_id::NOT_HANDED_OVER,
                        connections = loaded.not_handed_over(),
                        error = %shortage,
                        "not all connections could be handed over; ending the rest in order",
                    );
                    // Connections in the carrier are the next process's; new clients wait in the queues.
                    for server in drain.all() {
                        server.set_handed_over();
                    }
                    return drain.end().await;
                }
                Err(error) => {
                    tracing::warn!(
                        message_id = message_id::NOT_HANDED_OVER,
                        connections = self.connections(),
                        %error,
                        "cannot hand connections over; ending all in order",
                    );
                    // The connections in it would stay open when they are ended here.
                    self.process.notifier.unstore(CARRIER_NAME);
                }
            }
        }
        // There may be no next process: clients are refused rather than left in a queue.
        for server in drain.all() {
            self.process.notifier.unstore(&format!("{LISTENER_PREFIX}{}", server.server()));
        }
        self.process.notifier.unstore(FILE_NAME);
        drain.end().await
    }

    /// Hands over the connections that are held, as many as fit.
    async fn load(
        &self,
        mut carrier: Carrier,
        drain: &Drain,
        history: DrainHistory,
    ) -> io::Result<Loaded> {
        let servers: Vec<_> = drain.all().collect();
        carrier.load(servers, false, drain.started + drain.timeout).await;
        carrier.add_doors(self.doors());
        #[cfg(feature = "tls")]
        carrier.add_ticket_keys(self.ticket_keys());
        carrier.finish(history)
    }

    /// A carrier to the next process, if there is going to be one.
    async fn carrier(&self, cause: &Cause, drain: &Drain) -> Option<Carrier> {
        let notifier = &self.process.notifier;
        // The service manager starts the service again after a failure, and perhaps after a stop of its own.
        // Without a next process a client of a stored connection would wait in vain.
        let restarts = cause.is_failure() || *cause == Cause::Terminate;
        if !self.settings.now().hand_over || !notifier.is_present() || !restarts {
            return None;
        }
        let listeners = self.announcement.own_descriptors();
        let has_clients = drain.all().any(|server| server.connections() > 0);
        let is_worth_it = has_clients && notifier.is_read();
        let limit = if is_worth_it { MANAGER_TIMEOUT } else { SHORT_MANAGER_TIMEOUT };
        match Carrier::stored(notifier, listeners, limit).await {
            Ok(Some(carrier)) => Some(carrier),
            Ok(None) => {
                tracing::info!(
                    "connections end here: the service manager does not keep them \
                     (set FileDescriptorStoreMax= in the unit to at least {})",
                    listeners + 1,
                );
                None
            }
            Err(error) => {
                let error = Shortage::describe(&error);
                tracing::warn!(
                    message_id = message_id::NOT_HANDED_OVER,
                    connections = self.connections(),
                    error,
                    "cannot reach the service manager's descriptor store; ending all connections in order",
                );
                notifier.unstore(CARRIER_NAME);
                None
            }
        }
    }
}

/// Ends a daemon that was setting up or waiting for an address: no client has been served, and nothing has to be
/// drained.
pub(crate) fn stop_early(shutdown: &Shutdown, notifier: &Notifier) -> Exit {
    let cause = shutdown.cause().cloned().unwrap_or(Cause::Terminate);
    let member = cause.member();
    if cause.is_failure() {
        tracing::error!(message_id = message_id::STOPPING, cause = %cause, member, "stopping");
    } else {
        tracing::info!(message_id = message_id::STOPPING, cause = %cause, member, "stopping");
        // To the service manager a service that ends before it was ready has failed.
        notifier.ready("Stopping before the start was finished");
    }
    notifier.stopping(&format!("Stopping: {cause}"));
    let exit = if cause.is_failure() { Exit::MemberFailed } else { Exit::Clean };
    report_stopped(notifier, &cause, exit);
    exit
}

fn report_stopped(notifier: &Notifier, cause: &Cause, exit: Exit) {
    tracing::info!(
        message_id = message_id::STOPPED,
        cause = %cause,
        exit_code = exit as u8,
        "stopped",
    );
    notifier.status(&format!("Stopped: {cause}"));
}

/// Tells the service manager once a second how far the stop has come, and asks it to wait.
async fn report_progress<T>(notifier: &Notifier, cause: &Cause, drain: &Drain) -> T {
    let mut seconds = interval(STATUS_INTERVAL);
    loop {
        seconds.tick().await;
        let busy: u64 = drain.all().map(|server: &Arc<Registry>| server.metrics.in_flight()).sum();
        let left = (drain.started + drain.timeout).saturating_duration_since(Instant::now());
        notifier.progress(
            &format!("Stopping: {cause}; {busy} requests in flight, {} s to go", left.as_secs()),
            EXTENSION.min(left + STATUS_INTERVAL),
        );
    }
}
