//! The waiting room: where requests are while the application is away.
//!
//! While the door is open nobody waits, and passing costs one load. It shuts when the application cannot be reached,
//! or somebody holds it. Behind a shut door one request at a time tries; when the application takes it, two may,
//! then four, so that an application which has just started is not run over. When nobody waits any more, the
//! door is open again.
//!
//! # Invariants
//! - Requests try in the order in which they came.
//! - No more than `max` wait, those left out that try, or have waited before a hand-over.
//! - A place that is given up, because its client left or its time is over, costs no other one its turn.

mod places;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep_until};

pub(super) use self::places::{Active, Permit, Waiting};
use crate::handover::shut_door::Away;

/// How many requests may try at the same time at most, before the door is open.
const BUDGET_MAX: usize = 64;

/// The waiting room of one application.
#[derive(Debug, Default)]
pub(crate) struct Room {
    is_open: AtomicBool,
    inner: Mutex<Inner>,
    /// Requests that are with the application, endless answers left out.
    active: AtomicUsize,
    /// Requests that wait, those that try included.
    waiting: AtomicUsize,
    /// Told when none are.
    at_rest: Notify,
    /// By when the last has to have left: the daemon ends.
    closing: watch::Sender<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<oneshot::Sender<Permit>>,
    /// How many may try, and do.
    budget: usize,
    trying: usize,
    /// Nobody may try.
    held: Option<Held>,
    /// How many holds there have been.
    holds: u64,
    /// Since when the application is away.
    away: Option<Instant>,
    /// What was wrong the last time.
    trouble: String,
}

/// A hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) number: u64,
    /// When it ends by itself.
    pub(super) until: Instant,
    /// The application has been seen to be away since it began.
    pub(super) was_away: bool,
}

/// Why there was no turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    Full,
    Late,
}

/// What the door is, for people.
#[cfg(feature = "admin")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    Open,
    Away,
    Held,
}

// === impl Room ===

impl Room {
    pub(super) fn new() -> Self {
        Self { is_open: AtomicBool::new(true), ..Self::default() }
    }

    /// Waits for a turn; behind no more than `max` others, or before all where it had one already. It counts among those
    /// who wait from where it has its place.
    ///
    /// # Cancel safety
    /// A request that is dropped gives its place, or its turn, up.
    pub(super) async fn enter(
        self: &Arc<Self>,
        until: Instant,
        max: Option<usize>,
        waits: &mut Option<Waiting>,
    ) -> Result<Permit, Refused> {
        if self.is_open() {
            return Ok(Permit::free());
        }
        let turn = {
            let mut inner = self.inner();
            if self.is_open() {
                return Ok(Permit::free());
            }
            // Not each time: after a restart all who wait come at once.
            let length = inner.queue.len();
            if length.is_power_of_two() || max.is_some_and(|max| length >= max) {
                inner.queue.retain(|place| !place.is_closed());
            }
            let (place, turn) = oneshot::channel();
            match max {
                // Where nobody may wait, somebody has to try: the door would never open again.
                Some(max) if inner.queue.len() >= max && !inner.has_turn() => {
                    return Err(Refused::Full);
                }
                Some(_) => inner.queue.push_back(place),
                None => inner.queue.push_front(place),
            }
            waits.get_or_insert_with(|| self.wait());
            turn
        };
        self.let_in();
        tokio::select! {
            biased;
            Ok(permit) = turn => Ok(permit),
            () = self.is_over(until) => Err(Refused::Late),
        }
    }

    /// Waits until `until`, or until the room closes.
    pub(super) async fn is_over(&self, until: Instant) {
        let mut closing = self.closing.subscribe();
        loop {
            let end = closing.borrow_and_update().map_or(until, |end| end.min(until));
            tokio::select! {
                () = sleep_until(end) => return,
                // The sender lives as long as the room.
                _ = closing.changed() => {}
            }
        }
    }

    /// Says by when the last has to have left: the daemon ends.
    pub(crate) fn close_by(&self, end: Instant) {
        self.closing.send_replace(Some(end));
    }

    /// Tells whether nobody may wait any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closing.borrow().is_some_and(|end| end <= Instant::now())
    }

    /// The application cannot be reached: others wait; answers whether they did not before.
    pub(super) fn shut(&self, trouble: &str) -> bool {
        self.shut_since(None, trouble)
    }

    /// As [`Room::shut`]; it is known to be away since then.
    pub(super) fn shut_since(&self, since: Option<Instant>, trouble: &str) -> bool {
        let mut inner = self.inner();
        inner.budget = 1;
        trouble.clone_into(&mut inner.trouble);
        let is_news = inner.away.is_none();
        if is_news {
            inner.away = Some(since.unwrap_or_else(Instant::now));
        }
        self.is_open.store(false, Ordering::Release);
        is_news
    }

    /// Why the door is shut, if it is.
    pub(super) fn shut_by(&self) -> Option<(Option<Held>, Option<Away>)> {
        let inner = self.inner();
        let trouble = &inner.trouble;
        let away = inner.away.map(|since| Away { time: since.elapsed(), trouble: trouble.clone() });
        (inner.held.is_some() || away.is_some()).then_some((inner.held, away))
    }

    /// Lets nobody in until [`Room::release`]; answers the hold's number.
    pub(super) fn hold(&self, until: Instant, was_away: bool) -> u64 {
        let mut inner = self.inner();
        inner.holds += 1;
        let number = inner.holds;
        inner.held = Some(Held { number, until, was_away });
        self.is_open.store(false, Ordering::SeqCst);
        number
    }

    /// The hold that is in force.
    pub(super) fn held(&self) -> Option<Held> {
        self.inner().held
    }

    /// The application was seen to be away during the hold with this number.
    pub(super) fn saw_away(&self, hold: u64) {
        if let Some(held) = self.inner().held.as_mut().filter(|held| held.number == hold) {
            held.was_away = true;
        }
    }

    /// Tells whether somebody holds the application. A request that is [with it](Room::begin) has to ask after that:
    /// either the hold sees the request, or the request the hold, however they meet.
    pub(super) fn is_held_by_any(&self) -> bool {
        !self.is_open.load(Ordering::SeqCst) && self.inner().held.is_some()
    }

    /// Ends the hold with this number, or any; answers whether there was one. Whether the application is there has
    /// to be seen.
    pub(super) fn release(self: &Arc<Self>, hold: Option<u64>) -> bool {
        let was_held = {
            let mut inner = self.inner();
            inner.budget = 1;
            inner.held.take_if(|held| hold.is_none_or(|hold| hold == held.number)).is_some()
        };
        if was_held {
            self.let_in();
        }
        was_held
    }

    /// Waits until no request is with the application.
    pub(super) async fn at_rest(&self) {
        loop {
            let told = self.at_rest.notified();
            if self.active() == 0 {
                return;
            }
            told.await;
        }
    }

    /// A request with this permit is with the application from here on; unless the door has been shut since it came
    /// through.
    ///
    /// It counts first, and looks then; a hold shuts the door first, and counts then. One of the two sees the other.
    pub(super) fn begin(self: &Arc<Self>, permit: &Permit) -> Option<Active> {
        self.active.fetch_add(1, Ordering::SeqCst);
        let active = Active(Arc::clone(self));
        let may_begin = if permit.is_free() {
            self.is_open.load(Ordering::SeqCst)
        } else {
            !self.is_held_by_any()
        };
        may_begin.then_some(active)
    }

    /// How many requests are with the application, endless answers left out.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::SeqCst)
    }

    /// A request waits from here on.
    pub(super) fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(Arc::clone(self))
    }

    /// How many requests wait for the application, those included that try to reach it.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    #[cfg(feature = "admin")]
    pub(crate) fn door(&self) -> Door {
        let inner = self.inner();
        if inner.held.is_some() {
            Door::Held
        } else if inner.away.is_some() {
            Door::Away
        } else {
            Door::Open
        }
    }

    /// Why requests wait, if they do; for people.
    pub(crate) fn trouble(&self) -> Option<String> {
        if self.is_open() {
            return None;
        }
        let inner = self.inner();
        if inner.held.is_some() {
            return Some("held".to_owned());
        }
        inner.away.map(|_| format!("away: {}", inner.trouble))
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Gives turns to those who wait, as many as may have one; opens the door if nobody waits.
    fn let_in(self: &Arc<Self>) {
        let mut inner = self.inner();
        while inner.has_turn() {
            let Some(place) = inner.queue.pop_front() else { break };
            inner.trying += 1;
            // Dropped under the lock it would lock again: what was refused is taken apart instead.
            if let Err(mut refused) = place.send(Permit { room: Some(Arc::clone(self)) }) {
                refused.room = None;
                inner.trying -= 1;
            }
        }
    }

    /// The application has taken a request: more may try. Answers how long it was away, if it is back for all.
    fn taken(self: &Arc<Self>) -> Option<std::time::Duration> {
        let back = {
            let mut inner = self.inner();
            inner.budget = (inner.budget + 1).min(BUDGET_MAX);
            while inner.queue.front().is_some_and(oneshot::Sender::is_closed) {
                inner.queue.pop_front();
            }
            if inner.queue.is_empty() && inner.held.is_none() {
                self.is_open.store(true, Ordering::Release);
                inner.away.take().map(|since| since.elapsed())
            } else {
                None
            }
        };
        self.let_in();
        back
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    /// Tells whether one more may try.
    fn has_turn(&self) -> bool {
        self.held.is_none() && self.trying < self.budget
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout_at;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_hold_counts_a_request_that_came_through_the_door_or_sends_it_back() {
        let room = Arc::new(Room::new());
        let until = Instant::now() + Duration::from_secs(1);
        let through = room.enter(until, Some(1), &mut None).await.unwrap();
        let counted = room.enter(until, Some(1), &mut None).await.unwrap();
        let active = room.begin(&counted).unwrap();
        let hold = room.hold(until, false);
        assert!(room.begin(&through).is_none());
        assert!(timeout_at(until, room.at_rest()).await.is_err());
        drop(active);
        room.at_rest().await;
        assert!(room.release(Some(hold)));
    }
}
