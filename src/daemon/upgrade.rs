//! The upgrade in place, in order: dry run → servers held → connections into the carrier → signals blocked →
//! members end → execve(2). Up to the members' end nothing is lost if a step fails.

use std::os::fd::OwnedFd;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::connections::drain::{Drain, Unfinished};
use crate::daemon::running::Running;
use crate::handover::announcement::Announcement;
use crate::handover::carrier::Carrier;
use crate::handover::drain_history::LastDrain;
use crate::handover::program::{Program, UpgradeError};
use crate::http::access;
use crate::lifecycle::group::Group;
use crate::lifecycle::phase::Phase;
use crate::lifecycle::shutdown::{Cause, Shutdown};
use crate::lifecycle::signals::Orders;
#[cfg(feature = "log")]
use crate::log::flush;
use crate::log::message_id;

impl Running {
    /// Replaces the program in place; returns only if that failed.
    pub(crate) async fn upgrade(&mut self, orders: &Orders) {
        if self.phases.current() != Phase::Ready {
            tracing::warn!("not upgrading: the start is not finished");
            return;
        }
        tracing::info!("upgrading in place");
        self.phases.set(Phase::Reloading);
        self.process.notifier.reloading("Upgrading in place");
        let drain = self.drain();
        let error = self.replace(&drain, orders).await;
        drain.release();
        self.shutdown.set_draining(false);
        if self.shutdown.is_triggered() {
            // STOPPING=1 follows.
            return;
        }
        tracing::error!(message_id = message_id::NOT_UPGRADED, %error, "not upgraded");
        self.trouble = Some(format!("not upgraded: {error}"));
        self.phases.set(Phase::Ready);
        self.process.notifier.ready(&self.serving());
    }

    async fn replace(&mut self, drain: &Drain, orders: &Orders) -> UpgradeError {
        let announcement = self.announcement.reachable(&self.files);
        // Before requests are held up: a pipe that nobody reads is waited for only here.
        let settled = tokio::select! {
            settled = spawn_blocking(access::settle) => settled,
            () = stopped(&self.shutdown, &mut self.group) => return UpgradeError::Stopping,
        };
        let prepared = tokio::select! {
            prepared = prepare(&self.process.program, &announcement, drain, &self.shutdown) => prepared,
            () = stopped(&self.shutdown, &mut self.group) => {
                return UpgradeError::Stopping;
            }
        };
        let (mut carrier, read_end, last) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return error,
        };
        carrier.add_doors(self.doors());
        #[cfg(feature = "tls")]
        carrier.add_ticket_keys(self.ticket_keys());
        let connections = match carrier.finish(self.history.with(last)) {
            Ok(loaded) => loaded.handed_over(),
            Err(error) => return error.into(),
        };
        // From here on a signal stays pending for the new program; one that came before is handled first.
        let blocked = tokio::select! {
            () = stopped(&self.shutdown, &mut self.group) => return UpgradeError::Stopping,
            blocked = orders.block_signals() => blocked,
        };
        let Some(blocked) = blocked.filter(|_| !self.shutdown.is_triggered()) else {
            return UpgradeError::Stopping;
        };
        if self.has_tasks {
            // Members cannot be started again: if execve(2) fails now, the daemon stops. The dry run has shown
            // that the program can be executed.
            self.shutdown.trigger(Cause::Upgrade);
            self.shutdown.set_at_rest();
            for server in drain.all() {
                self.group.abort(server.server());
            }
            for member in self.group.join(drain.started + drain.timeout).await {
                tracing::warn!(member, "member did not end in time");
            }
        }
        tracing::info!(
            message_id = message_id::HANDED_OVER,
            connections,
            "handed connections over"
        );
        // The threads of the log and of the notifier end with the program.
        self.process.notifier.flush();
        access::flush_within(settled.unwrap_or_default());
        #[cfg(feature = "log")]
        flush();
        self.process.program.replace(&read_end, &blocked)
    }
}

/// Waits until a signal, a request or a member's end has triggered the shutdown.
async fn stopped(shutdown: &Shutdown, group: &mut Group) {
    loop {
        tokio::select! {
            () = shutdown.triggered() => return,
            () = group.next_end() => {}
        }
    }
}

/// Everything up to the carrier; answers it with the connections in it, its read end for the new program, and how the
/// drain was.
async fn prepare(
    program: &Program,
    announcement: &Announcement,
    drain: &Drain,
    shutdown: &Shutdown,
) -> Result<(Carrier, OwnedFd, LastDrain), UpgradeError> {
    program.dry_run(announcement).await?;
    let begin = Instant::now();
    // Only now: if the new program refuses to start, no stream has to end.
    shutdown.set_draining(true);
    let Unfinished { connections, .. } = drain.hold().await;
    if connections > 0 {
        return Err(UpgradeError::Busy { connections });
    }
    let (mut carrier, read_end) = Carrier::new()?;
    let servers: Vec<_> = drain.all().collect();
    let loaded = carrier.load(servers, true, drain.started + drain.timeout).await;
    if let Some(shortage) = loaded.shortage {
        // Unlike at a stop, connections for which there is no room can stay here.
        return Err(UpgradeError::Shortage { connections: loaded.not_handed_over(), shortage });
    }
    // No request is in flight here. The dry run does not count: clients were served during it.
    let last = LastDrain { duration: begin.elapsed(), requests: 0 };
    Ok((carrier, read_end, last))
}
