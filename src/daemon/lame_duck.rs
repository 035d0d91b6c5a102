//! The lame duck time: between the order to stop and the drain, clients are served as before, while `/ready` says 503.
//!
//! A load balancer looks at `/ready` now and then, and sends new requests until it has seen several failures. This is
//! the time that it has for that. It is a sleep on purpose, connections or not: who is going to connect is not known
//! here.

use std::time::Duration;

use tokio::time::{Instant, interval, sleep_until};

use crate::connections::drain::{ENDLESS, longest};
use crate::daemon::running::Running;
use crate::daemon::stop::EXTENSION;
use crate::lifecycle::shutdown::Cause;
use crate::manager::notify::STATUS_INTERVAL;

impl Running {
    /// Tells the shutdown whether the drain begins with it, or is begun here. Once the daemon is ready: before that,
    /// no load balancer sends anything.
    pub(crate) fn prepare_lame_duck(&self) {
        self.shutdown.set_lame_duck(!self.settings.now().lame_duck.is_zero());
    }

    /// For how long clients are served on, at a stop for this cause.
    pub(crate) fn lame_duck_after(&self, cause: &Cause) -> Duration {
        let is_possible = cause.leaves_whole()
            && self.phases.current().is_ready()
            && !self.shutdown.is_drain_begun();
        if is_possible { self.settings.now().lame_duck.min(ENDLESS) } else { Duration::ZERO }
    }

    /// Serves on for that time, or until a second signal or a failure begins the drain.
    pub(crate) async fn serve_as_lame_duck(&mut self, cause: &Cause, time: Duration) {
        let end = Instant::now() + time;
        let left = || end.saturating_duration_since(Instant::now());
        let status = || format!("Stopping: {cause}; serving as before for {} s", seconds(left()));
        let notifier = &self.process.notifier;
        tracing::info!(seconds = time.as_secs_f64(), "serving as before, but not ready any more");
        notifier.stopping(&status());
        let servers: Vec<_> = self.drain().all().cloned().collect();
        let drain_timeout = longest(&servers, self.settings.now().drain_timeout);
        let mut ticks = interval(STATUS_INTERVAL);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.drain_begun() => break,
                () = sleep_until(end) => break,
                // A failure begins the drain; others have heard of the stop.
                () = self.group.next_end() => {}
                _ = ticks.tick() => {
                    let needed = left().saturating_add(drain_timeout).saturating_add(STATUS_INTERVAL);
                    notifier.progress(&status(), EXTENSION.min(needed));
                }
            }
        }
        tracing::info!("the lame duck time is over: draining");
    }
}

/// Rounded up: no time is left only when it is over.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
