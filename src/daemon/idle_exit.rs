//! Leaving when nobody needs us, without losing whoever comes at that moment.
//!
//! 1. No request is in flight and none has begun for the time given.
//! 2. Every server is held: nothing is accepted any more, idle connections are deposited.
//! 3. One more look, now that nothing moves: is a client waiting in a queue, or has one sent
//!    something? Then everybody is released and the daemon stays.
//! 4. The stop begins. Who connects from here on waits in the service manager's queue and starts
//!    the daemon again; connections that are open linger and are answered once more.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::connections::drain::Drain;
use crate::connections::registry::{Deposit, Registry};

/// How many looks are taken in the idle time; it is exceeded by one at most.
const LOOKS: u32 = 8;

/// Looks now and then whether there is anything to do.
#[derive(Debug)]
pub(crate) struct Idleness {
    looks: Interval,
    /// The number of requests of each server at the last look; `None` if one was in flight.
    before: Option<Vec<u64>>,
    quiet: u32,
}

// === impl Idleness ===

impl Idleness {
    /// Begins to look; `time` is how long nothing may have happened.
    pub(crate) fn of(time: Duration) -> Self {
        let mut looks = interval((time / LOOKS).max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { looks, before: None, quiet: 0 }
    }

    /// Waits until no request has been in flight for the time.
    ///
    /// # Cancel safety
    /// Cancel safe: what was seen so far counts at the next call.
    pub(crate) async fn reached(&mut self, servers: &[Arc<Registry>]) {
        loop {
            self.looks.tick().await;
            let now: Option<Vec<_>> = servers
                .iter()
                .map(|server| (!server.is_active()).then(|| server.metrics.requests()))
                .collect();
            self.quiet = if now.is_some() && now == self.before { self.quiet + 1 } else { 0 };
            self.before = now;
            if self.quiet >= LOOKS {
                self.quiet = 0;
                return;
            }
        }
    }
}

/// Holds every server of `drain` and looks once more; they stay held if nobody has come.
pub(crate) async fn confirm(drain: &Drain) -> bool {
    if drain.try_hold().await && !drain.all().any(|server| somebody_waits(server)) {
        return true;
    }
    drain.release();
    false
}

/// Tells whether a client has connected or sent something that nobody has seen yet.
fn somebody_waits(server: &Registry) -> bool {
    server.with_deposits(|deposits| {
        let mut unread = false;
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        for deposit in deposits {
            let fd: BorrowedFd<'_> = match deposit {
                Deposit::Listener(listener) => listener.as_fd(),
                Deposit::Connection(idle) => {
                    unread |= !idle.unread.is_empty() || idle.skip.is_some();
                    idle.stream.as_fd()
                }
            };
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        // If it cannot be seen, somebody may be there.
        unread || poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    })
}
