//! Named members that live and end together.
//!
//! The contract: the first member to end, by success, error or panic, triggers the shutdown with
//! itself as the cause; all members are joined, until a deadline; later errors are logged.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

use crate::BoxError;
use crate::lifecycle::shutdown::{Cause, Shutdown};
use crate::log::error_text::{chain, panic_message};

/// The members of one daemon.
#[derive(Debug)]
pub(crate) struct Group {
    shutdown: Shutdown,
    members: JoinSet<Result<(), BoxError>>,
    polls: Polls,
    names: HashMap<Id, (String, AbortHandle)>,
}

// === impl Group ===

impl Group {
    pub(crate) fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, members: JoinSet::new(), polls: Polls::default(), names: HashMap::new() }
    }

    /// Adds a member; it runs from here on.
    pub(crate) fn spawn(
        &mut self,
        name: impl Into<String>,
        member: impl Future<Output = Result<(), BoxError>> + Send + 'static,
    ) {
        let name = name.into();
        let handle = self.members.spawn(self.polls.watch(&name, member));
        self.names.insert(handle.id(), (name, handle));
    }

    /// What the members are doing, for the watchdog.
    pub(crate) fn polls(&self) -> Polls {
        self.polls.clone()
    }

    /// Waits for the next member to end, and records it. Waits for ever if there is none.
    ///
    /// # Cancel safety
    /// Cancel safe: an end that is not seen is seen by the next call.
    pub(crate) async fn next_end(&mut self) {
        match self.members.join_next_with_id().await {
            Some(ended) => self.record(ended),
            None => std::future::pending().await,
        }
    }

    /// Joins all members until `deadline`; answers the names of those that had not ended by then.
    pub(crate) async fn join(&mut self, deadline: Instant) -> Vec<String> {
        while let Ok(Some(ended)) = timeout_at(deadline, self.members.join_next_with_id()).await {
            self.record(ended);
        }
        self.names.drain().map(|(_, (name, _))| name).collect()
    }

    /// Cancels the member called `name`.
    pub(crate) fn abort(&mut self, name: &str) {
        for (member, handle) in self.names.values() {
            if member == name {
                handle.abort();
            }
        }
    }

    fn record(&mut self, ended: Result<(Id, Result<(), BoxError>), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let (member, _) = self.names.remove(&id).expect("every member has a name");
        let cause = match ended {
            Ok((_, Ok(()))) => Cause::Ended { member },
            Ok((_, Err(error))) => Cause::Failed { member, error: chain(&*error) },
            Err(error) if error.is_panic() => {
                Cause::Panicked { member, message: panic_message(&*error.into_panic()) }
            }
            // Only `abort` cancels a member, and its caller knows.
            Err(_) => return,
        };
        let member = cause.member().unwrap_or_default().to_owned();
        if !self.shutdown.trigger(cause.clone()) && cause.is_failure() {
            tracing::error!(member, cause = %cause, "another member failed during the stop");
        }
    }
}

// === impl Polls ===

/// Since when each member is being polled: one that does not return from a poll is stuck, and
/// blocks a worker thread of the runtime.
#[derive(Clone, Debug)]
pub(crate) struct Polls {
    epoch: std::time::Instant,
    members: Arc<Mutex<Vec<Arc<Poll>>>>,
}

#[derive(Debug)]
struct Poll {
    name: String,
    /// Milliseconds from the epoch to the beginning of the poll, plus one; zero between polls.
    since: AtomicU64,
}

impl Default for Polls {
    fn default() -> Self {
        Self { epoch: std::time::Instant::now(), members: Arc::default() }
    }
}

impl Polls {
    fn watch<F: Future>(&self, name: &str, member: F) -> impl Future<Output = F::Output> + use<F> {
        let poll = Arc::new(Poll { name: name.to_owned(), since: AtomicU64::new(0) });
        self.lock().push(Arc::clone(&poll));
        let epoch = self.epoch;
        async move {
            let mut member = pin!(member);
            poll_fn(|cx| {
                poll.since.store(millis(epoch.elapsed()) + 1, Ordering::Relaxed);
                let polled = member.as_mut().poll(cx);
                poll.since.store(0, Ordering::Relaxed);
                polled
            })
            .await
        }
    }

    /// The members that have not returned from a poll for longer than `time`.
    pub(crate) fn longer_than(&self, time: Duration) -> Vec<String> {
        let now = millis(self.epoch.elapsed());
        let is_stuck = |poll: &&Arc<Poll>| match poll.since.load(Ordering::Relaxed) {
            0 => false,
            since => now.saturating_sub(since) > millis(time),
        };
        self.lock().iter().filter(is_stuck).map(|poll| poll.name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Poll>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> (Group, Shutdown) {
        let shutdown = Shutdown::default();
        (Group::new(shutdown.clone()), shutdown)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn the_first_member_to_end_stops_all() {
        let (mut group, shutdown) = group();
        let heard = shutdown.clone();
        group.spawn("waiter", async move {
            heard.triggered().await;
            Ok(())
        });
        group.spawn("quick", async { Ok(()) });
        group.next_end().await;
        assert_eq!(shutdown.cause(), Some(&Cause::Ended { member: "quick".to_owned() }));
        assert!(group.join(soon()).await.is_empty());
    }

    #[tokio::test]
    async fn an_error_is_the_cause_with_its_sources() {
        let (mut group, shutdown) = group();
        group.spawn("mailer", async { Err("no route".into()) });
        group.next_end().await;
        assert_eq!(shutdown.cause().unwrap().to_string(), "mailer failed: no route");
    }

    #[tokio::test]
    async fn a_panic_is_the_cause_with_its_message() {
        let (mut group, shutdown) = group();
        group.spawn("mailer", async { panic!("out of {}", "stamps") });
        group.next_end().await;
        assert_eq!(shutdown.cause().unwrap().to_string(), "mailer panicked: out of stamps");
    }

    #[tokio::test]
    async fn a_later_failure_does_not_change_the_cause() {
        let (mut group, shutdown) = group();
        shutdown.trigger(Cause::Terminate);
        group.spawn("mailer", async { Err("late".into()) });
        assert!(group.join(soon()).await.is_empty());
        assert_eq!(shutdown.cause(), Some(&Cause::Terminate));
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_never_ends_is_named_at_the_deadline() {
        let (mut group, _) = group();
        group.spawn("stubborn", std::future::pending());
        assert_eq!(group.join(soon()).await, ["stubborn"]);
    }
}
