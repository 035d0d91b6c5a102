//! Bringing all servers to rest: either held, for a hand-over, or ended.
//!
//! # Held, without a stall
//! The next process starts only when this one has ended, which has to wait for its requests in flight. If
//! the other clients had to wait as well, a download of ten seconds would stall all of them for ten seconds,
//! and so would a client that sends half a body and then nothing. So connections are held for short times only:
//!
//! 1. All are asked to hold: idle connections are deposited, requests in flight finish.
//!    With short requests this takes well under a millisecond, and the hand-over can go on.
//! 2. A connection that is still busy after a [grace](GRACE) is a straggler. The others are released and
//!    served as before, new connections included, until the stragglers have finished; then again
//!    from 1, with four times the grace, since requests here seem to be longer.
//! 3. Shortly before the drain time-out the hold is firm: what is not done by the time-out is cut. It is firm so early
//!    that requests which take as long as the stragglers did are done by then, and [`FIRM`] before it at least. Clients
//!    without a request in flight wait for so long at most, where the alternative is to cut others off.
//!
//! Streams of the program's own cannot leave the process: from the beginning they are told `Connection: close`, and the
//! last of them are closed when everything else is held.
//!
//! # A time-out of its own
//! A server may have a longer or a shorter time-out than the others. The longest is that of the drain; a server whose
//! own has passed is not waited for, and what it still has in flight is cut off if the others are done before it.
//!
//! # Ended
//! Where no process takes over, accepting stops, busy connections finish with `Connection: close`, and
//! idle ones linger: a client whose next request is already on its way gets an answer, and is told
//! not to send another. Each lingers for as long as [that is likely](crate::connections::linger). Both that and the
//! time-out are ceilings, never sleeps: without connections this is over at once. Tunnels have no end to wait for: they
//! go on for as long as others linger, and are closed then.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::connections::registry::{Mode, Registry};
use crate::lifecycle::shutdown::Shutdown;

/// How long idle connections are first held back while a request in flight may finish.
const GRACE: Duration = Duration::from_millis(100);

/// How long before the drain time-out connections are held for the last time, at least.
const FIRM: Duration = Duration::from_secs(1);

/// How long it may take to accept what waits in an own listener; its acceptor takes a second at most, unless it blocks.
const ACCEPTED_MAX: Duration = Duration::from_secs(2);

/// How often it is looked up meanwhile how long stragglers take.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long idle connections may take to be held after a second signal.
const HURRY: Duration = Duration::from_millis(250);

/// The longest time-out that is counted, decades: a clock cannot express the end of a longer one.
pub(crate) const ENDLESS: Duration = Duration::from_secs(1 << 30);

/// What did not come to rest.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Unfinished {
    /// Connections that could not be held, or have not ended.
    pub(crate) connections: usize,
    /// The servers with requests in flight, and how many: they are cut off if the process ends now.
    pub(crate) servers: Vec<(String, u64)>,
}

/// What has to come to rest, and by when.
#[derive(Debug)]
pub(crate) struct Drain {
    /// The servers of the program.
    servers: Vec<Arc<Registry>>,
    /// The admin server, which answers until the others are done.
    admin: Option<Arc<Registry>>,
    pub(crate) started: Instant,
    /// The longest time-out of all servers.
    pub(crate) timeout: Duration,
    /// That of servers that have none of their own.
    common: Duration,
    linger: Duration,
    /// A second signal ends the drain at once.
    shutdown: Shutdown,
}

// === impl Unfinished ===

impl Unfinished {
    /// All requests in flight.
    pub(crate) fn requests(&self) -> u64 {
        self.servers.iter().map(|(_, requests)| requests).sum()
    }
}

// === impl Drain ===

impl Drain {
    /// A drain that begins now; `common` is the time-out of servers that have none of their own.
    pub(crate) fn new(
        servers: Vec<Arc<Registry>>,
        admin: Option<Arc<Registry>>,
        common: Duration,
        linger: Duration,
        shutdown: Shutdown,
    ) -> Self {
        let timeout = longest(&servers, common).min(ENDLESS);
        let linger = linger.min(ENDLESS);
        Self { servers, admin, started: Instant::now(), timeout, common, linger, shutdown }
    }

    /// Lets idle connections linger for so long at most.
    pub(crate) fn limit_linger(&mut self, most: Duration) {
        self.linger = self.linger.min(most);
    }

    /// Until when a server is waited for, if that is not as long as for all.
    fn end_of(&self, server: &Registry) -> Option<Instant> {
        let timeout = server.drain_timeout(self.common);
        // The admin server answers until the others are done.
        let is_admin = self.admin.as_ref().is_some_and(|admin| ptr::eq(&raw const **admin, server));
        (timeout < self.timeout && !is_admin).then(|| self.started + timeout)
    }

    /// Holds every server if that takes no longer than the [grace](GRACE); answers whether it did.
    pub(crate) async fn try_hold(&self) -> bool {
        for server in self.all() {
            server.hold();
        }
        self.each(self.all(), Instant::now() + GRACE, Registry::held).await
    }

    /// Holds every server, as well as it can be done in time.
    pub(crate) async fn hold(&self) -> Unfinished {
        let end = self.started + self.timeout;
        for server in self.all() {
            server.forget_stragglers();
        }
        self.linger_own(self.firm()).await;
        let mut grace = GRACE;
        loop {
            let now = Instant::now();
            let is_firm = now >= self.firm();
            let patience = if is_firm { end } else { end.min(now + grace) };
            if self.hold_until(patience).await || is_firm || self.shutdown.is_forced() {
                break;
            }
            let stragglers: usize = self.all().map(|server| server.release()).sum();
            tracing::info!(requests = stragglers, "serving on until requests in flight are done");
            while Instant::now() < self.firm() && !self.shutdown.is_forced() {
                let look = self.firm().min(Instant::now() + LOOK_INTERVAL);
                if self.each(self.all(), look, Registry::stragglers_finished).await {
                    break;
                }
            }
            grace *= 4;
        }
        self.close_own(end).await;
        if let Some(admin) = &self.admin {
            // If the other servers could not be held, it has not been asked yet.
            admin.hold();
            self.each([admin], end.max(Instant::now() + GRACE), Registry::held).await;
        }
        let patience = end.min(self.started + self.linger);
        self.each(self.all(), patience, Registry::upgraded_ended).await;
        if self.shutdown.is_forced() {
            // The second signal is about the requests in flight. Idle connections may have been released
            // again: to be held takes them a moment only, and they are handed over.
            let held = async {
                for server in self.all() {
                    server.hold();
                }
                for server in self.all() {
                    server.held_but_busy().await;
                }
            };
            // What is not held by then is cut, and counted below.
            let _ = timeout_at(Instant::now() + HURRY, held).await;
        }
        self.unrest()
    }

    /// From when on connections are held for the last time.
    fn firm(&self) -> Instant {
        let straggled = self.all().map(|server| server.straggled()).max().unwrap_or_default();
        // Some have begun later than those, and find the machine busier.
        let lead = (straggled * 5 / 4).max(FIRM.min(self.timeout / 4));
        self.started + self.timeout.saturating_sub(lead)
    }

    /// Asks every server to hold, and the admin server once the others are held: it answers until then.
    /// Tells whether all are held in time.
    async fn hold_until(&self, patience: Instant) -> bool {
        for server in &self.servers {
            server.hold();
        }
        if !self.each(&self.servers, patience, Registry::held).await {
            return false;
        }
        let Some(admin) = &self.admin else { return true };
        admin.hold();
        self.each([admin], patience.max(Instant::now() + GRACE), Registry::held).await
    }

    fn unrest(&self) -> Unfinished {
        let mut unrest = Unfinished::default();
        for server in self.all() {
            unrest.connections += server.unheld();
            let requests = server.metrics.in_flight();
            if requests > 0 {
                unrest.servers.push((server.server().to_owned(), requests));
            }
        }
        unrest
    }

    /// Has own streams end after one more answer, and waits for that until the linger is over.
    async fn linger_own(&self, deadline: Instant) {
        let lingered = deadline.min(Instant::now() + self.linger);
        for server in self.all() {
            server.end_own(Mode::Linger);
        }
        self.each(self.all(), lingered, Registry::own_ended).await;
    }

    /// Ends the rest of what is own when everything else is held: what waits in own listeners is accepted, idle own
    /// streams are closed, and requests that have just begun finish.
    async fn close_own(&self, end: Instant) {
        let own: Vec<_> = self.all().filter(|server| server.has_own()).collect();
        if own.is_empty() {
            return;
        }
        let accepted = end.min(Instant::now() + ACCEPTED_MAX);
        self.each(own.clone(), accepted, Registry::turned).await;
        for server in &own {
            server.end_own(Mode::Close);
        }
        self.each(own.clone(), end, Registry::own_ended).await;
        self.each(own, end, Registry::held).await;
    }

    /// Gives back every deposit, and serves on.
    pub(crate) fn release(&self) {
        for server in self.all() {
            server.end_own(Mode::Serve);
            server.release();
        }
    }

    /// Ends every connection, as well as it can be done in time.
    pub(crate) async fn end(&self) -> Unfinished {
        let end = self.started + self.timeout;
        let lingered = end.min(Instant::now() + self.linger);
        for server in &self.servers {
            server.linger();
        }
        self.each(&self.servers, lingered, Registry::ended).await;
        for server in &self.servers {
            server.close();
        }
        self.each(&self.servers, end, Registry::quiet).await;
        if let Some(admin) = &self.admin {
            admin.linger();
            self.each([admin], lingered, Registry::ended).await;
            admin.close();
            self.each([admin], end.max(Instant::now() + GRACE), Registry::quiet).await;
        }
        self.unrest()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Registry>> {
        self.servers.iter().chain(&self.admin)
    }

    /// Waits for each server until `deadline`, or until its own end; answers whether all were in time. One whose
    /// own end has passed is not waited for any more: what it has in flight is counted when the drain is over.
    async fn each<'p>(
        &self,
        servers: impl IntoIterator<Item = &'p Arc<Registry>>,
        deadline: Instant,
        wait: impl AsyncFn(&Registry),
    ) -> bool {
        let all = async {
            for server in servers {
                let end = self.end_of(server).filter(|end| *end <= deadline);
                let waited = timeout_at(end.unwrap_or(deadline), wait(server)).await;
                if waited.is_err() && end.is_none() {
                    return false;
                }
            }
            true
        };
        tokio::select! {
            biased;
            waited = all => waited,
            () = self.shutdown.forced() => false,
        }
    }
}

/// The longest drain time-out of `servers`, where that of the daemon is `common`.
pub(crate) fn longest(servers: &[Arc<Registry>], common: Duration) -> Duration {
    servers.iter().map(|server| server.drain_timeout(common)).max().unwrap_or(common).max(common)
}

#[cfg(test)]
mod tests;
