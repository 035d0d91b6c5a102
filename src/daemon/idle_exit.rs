//! Stopping when the daemon has been idle, without losing a client that comes at that moment.
//!
//! 1. No request is in flight and none has begun for the time given.
//! 2. Every server is held: nothing is accepted any more, idle connections are deposited.
//! 3. One more check, now that nothing is accepted or read: is a client waiting in a queue, or has one sent
//!    something? Then all servers are released and the daemon goes on.
//! 4. The stop begins. A client that connects from here on waits in the service manager's queue and starts
//!    the daemon again; connections that are open linger and are answered once more.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::connections::drain::Drain;
use crate::connections::registry::{Deposit, Registry};

/// How many checks make up the idle time; it is exceeded by one interval at most.
const CHECKS: u32 = 8;

/// Checks regularly whether there have been requests.
#[derive(Debug)]
pub(crate) struct Idleness {
    checks: Interval,
    /// The number of requests of each server at the last check; `None` if one was in flight.
    before: Option<Vec<u64>>,
    /// How many checks in a row have found no request.
    quiet: u32,
}

// === impl Idleness ===

impl Idleness {
    /// Begins to check; the daemon is idle after `time` without a request.
    pub(crate) fn of(time: Duration) -> Self {
        let mut checks = interval((time / CHECKS).max(Duration::from_millis(1)));
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { checks, before: None, quiet: 0 }
    }

    /// Waits until no request has been in flight for that time.
    ///
    /// # Cancel safety
    /// Cancel safe: checks that were made so far count at the next call.
    pub(crate) async fn reached(&mut self, servers: &[Arc<Registry>]) {
        loop {
            self.checks.tick().await;
            let now: Option<Vec<_>> = servers
                .iter()
                .map(|server| (!server.is_active()).then(|| server.metrics.requests()))
                .collect();
            self.quiet = if now.is_some() && now == self.before { self.quiet + 1 } else { 0 };
            self.before = now;
            if self.quiet >= CHECKS {
                self.quiet = 0;
                return;
            }
        }
    }
}

/// Holds every server of `drain` and checks once more; answers whether they are idle. If so they stay held.
pub(crate) async fn confirm(drain: &Drain) -> bool {
    if drain.try_hold().await && !drain.all().any(|server| has_waiting_client(server)) {
        return true;
    }
    drain.release();
    false
}

/// Tells whether a client waits to be accepted, or has sent something that has not been read.
fn has_waiting_client(server: &Registry) -> bool {
    server.with_deposits(|deposits| {
        let mut unread = false;
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        for deposit in deposits {
            let fd: BorrowedFd<'_> = match deposit {
                Deposit::Listener(listener) => listener.as_fd(),
                Deposit::Connection(idle) => {
                    unread |= !idle.unread.is_empty() || idle.skip.is_some();
                    // Only sockets are deposited.
                    let Some(socket) = idle.stream.socket() else { continue };
                    socket
                }
                // It may have begun since the last check.
                Deposit::Tunnel(_) => return true,
            };
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        // If poll(2) fails, a client may be waiting.
        unread || !poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
    })
}
