//! Making room: where there are more connections than there may be, the one that has been idle longest is evicted.
//!
//! A parked connection notes in its [`Signal`](super::Signal) since when it has been idle: an atomic store and
//! four bytes. Which has been idle longest is looked up only where room is wanted. One look at all connections
//! finds many, and they stay those that have been idle longest, since any other becomes idle later. Where none is
//! idle, the next that becomes idle offers itself, without another look.
//!
//! Invariants:
//! - A connection on which a byte has come does not end: an evicted connection is closed by its own task, which
//!   looks whether a byte has come, and then keeps it.
//! - Evicted connections that have not ended yet count as room, so that no other is evicted in their place.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Entry, Handle, Registry, State};

/// In place of the time since which a connection has been idle: it is not idle.
const BUSY: u32 = 0;
/// In place of that time: it is idle, and is to end.
const EVICTED: u32 = u32::MAX;
/// How many milliseconds there are in between: 49 days, then they begin again. A connection that has been idle
/// for longer seems to have been so for a shorter time.
const ROUND: u32 = EVICTED - 1;

/// How long a connection should be idle before it is evicted. A client that comes more often keeps its
/// connection, and one that has just connected has time for its first byte.
pub(crate) const EVICTABLE_AFTER: Duration = Duration::from_millis(100);

/// How many are found at a look, at least: this part of all connections, and so many in any case.
const FOUND_PART: usize = 16;
const FOUND_MIN: usize = 64;

/// Whether there is room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Room {
    /// There is, or will be when the evicted connections have ended.
    Made,
    /// Not before that time: no connection has been idle for long enough.
    Later(Duration),
    /// All connections are busy. One that becomes idle wakes the acceptors.
    None,
}

/// Connections with the time since which they have been idle, the longest first. Some may be busy by now.
pub(super) type LongestIdle = VecDeque<(u32, usize)>;

// === impl Registry ===

impl Registry {
    /// Sees to it that there are no more than `most` connections; answers how many, all of which have been idle
    /// for `idle` at least, were evicted now, and whether that will do.
    pub(crate) fn make_room(&self, most: usize, idle: Duration) -> (usize, Room) {
        let now = self.now();
        let mut state = self.lock();
        let mut chosen = 0;
        loop {
            let surplus = state.connections().saturating_sub(state.evicted).saturating_sub(most);
            if surplus == 0 {
                return (chosen, Room::Made);
            }
            let Some((since, key)) = self.find_longest_idle(&mut state, surplus, now) else {
                return (chosen, Room::None);
            };
            let left = idle.saturating_sub(age(since, now));
            if !left.is_zero() {
                return (chosen, Room::Later(left));
            }
            state.longest_idle.pop_front();
            let signal = &state.entries[key].signal;
            let order = Ordering::SeqCst;
            if signal.idle.compare_exchange(since, EVICTED, order, order).is_ok() {
                signal.waker.wake();
                self.wake_parked(&mut state, key);
                state.evicted += 1;
                chosen += 1;
            }
        }
    }

    /// Says that there is room again: connections that become idle need not offer themselves.
    pub(crate) fn has_room(&self) {
        if self.wants_idle.load(Ordering::Relaxed) {
            self.wants_idle.store(false, Ordering::SeqCst);
        }
    }

    /// The connection that has been idle longest, if any is idle.
    fn find_longest_idle(
        &self,
        state: &mut State,
        wanted: usize,
        now: u32,
    ) -> Option<(u32, usize)> {
        state.forget_busy();
        if state.longest_idle.is_empty() && !self.wants_idle.load(Ordering::SeqCst) {
            // Before the look: a connection that becomes idle after it offers itself.
            self.wants_idle.store(true, Ordering::SeqCst);
            state.look(wanted, now);
            if !state.longest_idle.is_empty() {
                self.wants_idle.store(false, Ordering::SeqCst);
            }
        }
        state.longest_idle.front().copied()
    }

    pub(super) fn now(&self) -> u32 {
        self.stamp(Instant::now())
    }

    pub(super) fn stamp(&self, time: Instant) -> u32 {
        let millis = time.saturating_duration_since(self.began).as_millis() % u128::from(ROUND);
        1 + u32::try_from(millis).expect("a remainder is less than what it was divided by")
    }
}

impl State {
    /// Drops those at the front that are not idle any more, or have been busy in between.
    fn forget_busy(&mut self) {
        while self.longest_idle.front().is_some_and(|(since, key)| !self.is_idle(*since, *key)) {
            self.longest_idle.pop_front();
        }
    }

    fn is_idle(&self, since: u32, key: usize) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| entry.signal.idle.load(Ordering::SeqCst) == since)
    }

    /// Finds the connections that have been idle longest, `wanted` at least if so many are idle.
    fn look(&mut self, wanted: usize, now: u32) {
        let since = |entry: &Entry| entry.signal.idle.load(Ordering::SeqCst);
        let all = self.entries.iter().map(|(key, entry)| (since(entry), key));
        let mut idle: Vec<_> = all.filter(|(since, _)| ![BUSY, EVICTED].contains(since)).collect();
        // Of those that have been idle equally long the lower key comes first: after a restart it was
        // idle longer.
        let order = |(since, key): &(u32, usize)| (Reverse(age(*since, now)), *key);
        let many = (self.entries.len() / FOUND_PART).max(FOUND_MIN).max(wanted);
        if idle.len() > many {
            idle.select_nth_unstable_by_key(many, order);
            idle.truncate(many);
        }
        idle.sort_unstable_by_key(order);
        self.longest_idle = idle.into();
    }

    /// A connection has become idle while room was wanted.
    fn offer(&mut self, since: u32, key: usize, now: u32) {
        self.longest_idle.push_back((since, key));
        if self.longest_idle.len() > 2 * self.entries.len() {
            // Most of them have been busy in between.
            self.look(usize::MAX, now);
        }
        self.wake_acceptors();
    }

    /// A connection has ended, or is busy again; `idle` is what its signal said until then.
    pub(super) fn count_out(&mut self, idle: u32) {
        self.evicted -= usize::from(idle == EVICTED);
    }
}

// === impl Handle ===

impl Handle {
    /// Says that the connection waits for a byte, and has been idle `since` then.
    pub(crate) fn idle(&self, since: Instant) {
        let Self { registry, key, signal } = self;
        if signal.idle.load(Ordering::Relaxed) != BUSY {
            return;
        }
        let since = registry.stamp(since);
        signal.idle.store(since, Ordering::SeqCst);
        if signal.is_own() {
            registry.progress.notify_waiters();
        }
        if registry.wants_idle.load(Ordering::SeqCst) {
            registry.lock().offer(since, *key, registry.now());
        }
    }

    /// Says that a byte has come.
    pub(crate) fn busy(&self) {
        let Self { registry, signal, .. } = self;
        if signal.idle.load(Ordering::Relaxed) == BUSY {
            return;
        }
        let idle = signal.idle.swap(BUSY, Ordering::SeqCst);
        if idle == EVICTED {
            let mut state = registry.lock();
            state.count_out(idle);
            // Another has to end instead.
            state.wake_acceptors();
        }
    }

    /// Tells whether the connection is to end, unless a byte has come.
    pub(crate) fn is_evicted(&self) -> bool {
        self.signal.idle.load(Ordering::SeqCst) == EVICTED
    }
}

// === impl Entry ===

impl Entry {
    /// Tells whether it is a connection that waits for a byte.
    pub(super) fn is_idle(&self) -> bool {
        self.signal.idle.load(Ordering::SeqCst) != BUSY
    }

    /// In which order connections are handed over: those with half a request first, and the one that has been
    /// idle longest last, where it is cut off if there are too many.
    pub(super) fn order(&self, now: u32) -> Option<Duration> {
        match self.signal.idle.load(Ordering::SeqCst) {
            BUSY => None,
            EVICTED => Some(Duration::MAX),
            since => Some(age(since, now)),
        }
    }
}

pub(super) fn age(since: u32, now: u32) -> Duration {
    let millis = (u64::from(now) + u64::from(ROUND) - u64::from(since)) % u64::from(ROUND);
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use std::io::stdin;
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use tokio::time::advance;

    use super::*;
    use crate::connections::registry::Registration;

    /// Connections that became idle one after the other, a second apart.
    async fn idle(registry: &Arc<Registry>, count: usize) -> Vec<Registration> {
        let mut idle = Vec::new();
        for _ in 0..count {
            let registration = registry.join_connection(Some(stdin().as_fd()));
            registration.handle().idle(Instant::now());
            advance(Duration::from_secs(1)).await;
            idle.push(registration);
        }
        idle
    }

    fn evicted(connections: &[Registration]) -> Vec<usize> {
        let is_evicted = |index: &usize| connections[*index].handle().is_evicted();
        (0..connections.len()).filter(is_evicted).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_connections_idle_longest_end_first_however_many_and_whichever_came_first() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        let mut connections = idle(&registry, 1000).await;
        // The first hundred have had a request since.
        for registration in &connections[..100] {
            registration.handle().busy();
            registration.handle().idle(Instant::now());
        }
        advance(EVICTABLE_AFTER).await;
        for most in (900..1000).rev() {
            assert_eq!(registry.make_room(most, EVICTABLE_AFTER), (1, Room::Made));
        }
        assert_eq!(evicted(&connections), (100..200).collect::<Vec<_>>());
        connections.drain(100..200);
        assert_eq!(registry.make_room(10, EVICTABLE_AFTER), (890, Room::Made));
        assert_eq!(evicted(&connections).len(), 890);
        assert!(connections[90..100].iter().all(|kept| !kept.handle().is_evicted()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_evicted_connection_with_a_request_stays_and_another_ends_instead() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        let connections = idle(&registry, 3).await;
        assert_eq!(registry.make_room(2, EVICTABLE_AFTER), (1, Room::Made));
        assert_eq!(evicted(&connections), [0]);
        connections[0].handle().busy();
        assert_eq!(registry.make_room(2, EVICTABLE_AFTER), (1, Room::Made));
        assert_eq!(evicted(&connections), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_is_idle_the_next_that_becomes_idle_is_found_without_a_look() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        let connections: Vec<_> =
            (0..200).map(|_| registry.join_connection(Some(stdin().as_fd()))).collect();
        assert_eq!(registry.make_room(199, EVICTABLE_AFTER), (0, Room::None));
        // However often they become idle, the queue is bounded.
        for _ in 0..100 {
            for connection in &connections {
                connection.handle().busy();
                connection.handle().idle(Instant::now());
            }
        }
        assert!(registry.lock().longest_idle.len() <= 2 * connections.len() + 1);
        assert_eq!(registry.make_room(199, EVICTABLE_AFTER), (0, Room::Later(EVICTABLE_AFTER)));
        advance(EVICTABLE_AFTER).await;
        assert_eq!(registry.make_room(199, EVICTABLE_AFTER), (1, Room::Made));
        assert_eq!(evicted(&connections), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_by_itself_is_room_only_once() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        let mut connections = idle(&registry, 3).await;
        assert_eq!(registry.make_room(2, EVICTABLE_AFTER), (1, Room::Made));
        drop(connections.remove(0));
        assert_eq!(registry.make_room(2, EVICTABLE_AFTER), (0, Room::Made));
        assert_eq!(registry.make_room(1, EVICTABLE_AFTER), (1, Room::Made));
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_49_days_time_goes_on() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        advance(Duration::from_millis(u64::from(ROUND) - 1500)).await;
        let connections = idle(&registry, 3).await;
        assert_eq!(registry.make_room(1, EVICTABLE_AFTER), (2, Room::Made));
        assert_eq!(evicted(&connections), [0, 1]);
    }
}
