//! The one shutdown broadcast: triggered once, with a cause, received by every task that waits for it.
//!
//! Invariants:
//! - The first cause wins and never changes; it decides STATUS, log and exit code.
//! - A trigger is never lost: a task that waits only later gets it, too.
//! - The drain begins with the trigger, or, where there is a lame duck time and the cause leaves the daemon whole, at
//!   the end of that time. A failure begins it at once.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A handle to the daemon's one shutdown: any task may trigger it, any task may wait for it.
///
/// [`Daemon::shutdown`](crate::Daemon::shutdown) gives it to handlers, and each task gets one. One made by
/// `default` belongs to no daemon; it is for tests of code that takes a `Shutdown`.
///
/// # Examples
/// ```
/// use lockstepd::{Cause, Shutdown};
///
/// let shutdown = Shutdown::default();
/// assert!(!shutdown.is_draining() && !shutdown.is_triggered());
/// assert!(shutdown.trigger(Cause::Request("sold out".to_owned())));
/// assert!(!shutdown.trigger(Cause::Terminate), "the first cause wins");
/// assert_eq!(shutdown.cause(), Some(&Cause::Request("sold out".to_owned())));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

/// Why the daemon stops.
///
/// # Examples
/// ```
/// use lockstepd::{Cause, Shutdown};
///
/// async fn tell(shutdown: Shutdown) {
///     shutdown.triggered().await;
///     if let Some(cause) = shutdown.cause().filter(|cause| cause.is_failure()) {
///         let member = cause.member().unwrap_or("nobody");
///         tracing::warn!(member, "stopping, as {cause}");
///     }
/// }
/// # let _ = tell;
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// The service manager asked (`SIGTERM`): it may be a stop or the first half of a restart.
    Terminate,
    /// A user at a terminal asked (`SIGINT`).
    Interrupt,
    /// The program or its operator asked, for example through `/listener?stop=REASON`.
    Request(String),
    /// No request came for the time that was set.
    Idle,
    /// The program was to be replaced in place, which ended its members.
    Upgrade,
    /// A member came to its end without an error.
    Ended {
        /// The member's name.
        member: String,
    },
    /// A member came to its end with an error.
    Failed {
        /// The member's name.
        member: String,
        /// The error, with its sources.
        error: String,
    },
    /// A member panicked.
    Panicked {
        /// The member's name.
        member: String,
        /// The panic's message.
        message: String,
    },
}

#[derive(Debug, Default)]
struct Inner {
    cause: OnceLock<Cause>,
    token: CancellationToken,
    draining: watch::Sender<Draining>,
    /// A stop that leaves the daemon whole does not begin the drain: the daemon does, when its lame duck time is over.
    has_lame_duck: AtomicBool,
    at_rest: CancellationToken,
    forced: CancellationToken,
}

/// Whether requests in flight should come to their end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Draining {
    #[default]
    No,
    /// During the attempt of an upgrade in place.
    Attempt,
    /// For a stop; this never ends.
    Stop,
}

// === impl Shutdown ===

impl Shutdown {
    /// Starts the shutdown; answers whether this call was the first and so set the cause.
    pub fn trigger(&self, cause: Cause) -> bool {
        let is_failure = cause.is_failure();
        let first = self.inner.cause.set(cause).is_ok();
        self.inner.token.cancel();
        let may_wait = self.cause().is_some_and(Cause::leaves_whole)
            && self.inner.has_lame_duck.load(Ordering::Relaxed);
        // A member that fails during the lame duck time ends it.
        if is_failure || !may_wait {
            self.begin_drain();
        }
        first
    }

    /// Waits until the shutdown has been triggered. The future borrows nothing.
    ///
    /// With a [lame duck time](crate::Daemon::lame_duck) clients are served on as before after this, until
    /// [`Shutdown::draining`].
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future loses nothing.
    pub fn triggered(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.inner.token.clone().cancelled_owned()
    }

    /// Waits until requests in flight should come to their end. A stream that would go on for ever,
    /// such as server-sent events or a WebSocket, has to listen to this.
    ///
    /// That is the case from [`Shutdown::triggered`] on, or from the end of the
    /// [lame duck time](crate::Daemon::lame_duck), if there is one; and also while the program is being replaced in
    /// place (`SIGUSR2`), which needs every connection at rest but stops nothing: if the upgrade fails,
    /// streams that begin later go on.
    ///
    /// The future borrows nothing, so that a stream can own it: `events.take_until(shutdown.draining())`.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future loses nothing.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let inner = Arc::clone(&self.inner);
        async move {
            // The sender lives in `inner`, so the channel cannot close while this waits.
            let _ = inner.draining.subscribe().wait_for(|now| *now != Draining::No).await;
        }
    }

    /// Waits until no request is in flight any more and none will come: from here on no handler adds
    /// to a queue, and the task that empties it can finish.
    ///
    /// It comes after [`Shutdown::triggered`], at the drain time-out at the latest. The future borrows nothing.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future loses nothing.
    pub fn at_rest(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.inner.at_rest.clone().cancelled_owned()
    }

    /// Tells whether requests in flight should come to their end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.inner.draining.borrow() != Draining::No
    }

    /// Tells whether the shutdown has been triggered.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.inner.token.is_cancelled()
    }

    /// The cause, once there is one.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.inner.cause.get()
    }

    /// Tells whether both are of the same daemon.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Begins or ends the drain of an attempt; that of a stop never ends.
    pub(crate) fn set_draining(&self, draining: bool) {
        // Under the channel's lock: a stop at the same time is not undone.
        self.inner.draining.send_modify(|now| {
            if *now != Draining::Stop {
                *now = if draining { Draining::Attempt } else { Draining::No };
            }
        });
    }

    /// Has the daemon begin the drain, some time after a trigger that leaves it whole; or no longer.
    pub(crate) fn set_lame_duck(&self, has_lame_duck: bool) {
        self.inner.has_lame_duck.store(has_lame_duck, Ordering::Relaxed);
    }

    /// Begins the drain of a stop, once it has been triggered; the lame duck time is over.
    pub(crate) fn begin_drain(&self) {
        self.inner.draining.send_replace(Draining::Stop);
    }

    /// Waits until the drain of a stop has begun.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future loses nothing.
    pub(crate) async fn drain_begun(&self) {
        // The sender lives in self, so the channel cannot close while this waits.
        let _ = self.inner.draining.subscribe().wait_for(|now| *now == Draining::Stop).await;
    }

    /// Tells whether the drain of a stop has begun.
    pub(crate) fn is_drain_begun(&self) -> bool {
        *self.inner.draining.borrow() == Draining::Stop
    }

    /// Ends the waiting: what is still in flight is cut off.
    pub(crate) fn force(&self) {
        self.inner.forced.cancel();
    }

    /// Waits until the stop is forced.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future loses nothing.
    pub(crate) async fn forced(&self) {
        self.inner.forced.cancelled().await;
    }

    /// Tells whether the stop is forced: what is in flight is not waited for.
    pub(crate) fn is_forced(&self) -> bool {
        self.inner.forced.is_cancelled()
    }

    /// Tells the tasks that the servers are at rest.
    pub(crate) fn set_at_rest(&self) {
        self.inner.at_rest.cancel();
    }
}

// === impl Cause ===

impl Cause {
    /// Tells whether this cause is a failure, which makes the exit code 1. [`Cause::Upgrade`] is one: a
    /// process with this cause should have been replaced, and still runs.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Panicked { .. } | Self::Upgrade)
    }

    /// Tells whether everything still runs, and somebody wants it to stop: then clients can be served for the lame
    /// duck time. With [`Cause::Idle`] there are none.
    pub(crate) fn leaves_whole(&self) -> bool {
        matches!(self, Self::Terminate | Self::Interrupt | Self::Request(_))
    }

    /// The member that caused the stop, where it was one.
    #[must_use]
    pub fn member(&self) -> Option<&str> {
        match self {
            Self::Ended { member }
            | Self::Failed { member, .. }
            | Self::Panicked { member, .. } => Some(member),
            Self::Terminate | Self::Interrupt | Self::Request(_) | Self::Idle | Self::Upgrade => {
                None
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminate => f.write_str("SIGTERM"),
            Self::Interrupt => f.write_str("SIGINT"),
            Self::Request(reason) if reason.is_empty() => f.write_str("stop requested"),
            Self::Request(reason) => write!(f, "stop requested: {reason}"),
            Self::Idle => f.write_str("idle"),
            Self::Upgrade => f.write_str("the program could not be replaced"),
            Self::Ended { member } => write!(f, "{member} ended"),
            Self::Failed { member, error } => write!(f, "{member} failed: {error}"),
            Self::Panicked { member, message } => write!(f, "{member} panicked: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_wins() {
        let shutdown = Shutdown::default();
        assert!(shutdown.trigger(Cause::Interrupt));
        assert!(!shutdown.trigger(Cause::Terminate));
        assert_eq!(shutdown.cause(), Some(&Cause::Interrupt));
    }

    #[tokio::test]
    async fn a_drain_that_was_called_off_does_not_reach_later_waiters() {
        let shutdown = Shutdown::default();
        shutdown.set_draining(true);
        shutdown.draining().await;
        shutdown.set_draining(false);
        assert!(!shutdown.is_draining() && !shutdown.is_triggered());
        shutdown.trigger(Cause::Terminate);
        shutdown.set_draining(false);
        shutdown.draining().await;
    }

    #[tokio::test]
    async fn with_a_lame_duck_time_the_drain_begins_later_and_not_by_itself() {
        let shutdown = Shutdown::default();
        shutdown.set_lame_duck(true);
        shutdown.set_draining(true);
        shutdown.trigger(Cause::Terminate);
        // The upgrade in place is called off.
        shutdown.set_draining(false);
        assert!(shutdown.is_triggered() && !shutdown.is_draining());
        // A task that has heard of the stop ends.
        shutdown.trigger(Cause::Ended { member: "mailer".to_owned() });
        assert!(!shutdown.is_draining());
        shutdown.begin_drain();
        shutdown.set_draining(false);
        shutdown.drain_begun().await;
        assert!(shutdown.is_draining());
    }

    #[test]
    fn what_is_broken_or_idle_is_no_lame_duck() {
        let member = || "mailer".to_owned();
        for cause in [
            Cause::Idle,
            Cause::Upgrade,
            Cause::Ended { member: member() },
            Cause::Failed { member: member(), error: String::new() },
            Cause::Panicked { member: member(), message: String::new() },
        ] {
            let shutdown = Shutdown::default();
            shutdown.set_lame_duck(true);
            shutdown.trigger(cause);
            assert!(shutdown.is_drain_begun());
        }
    }

    #[test]
    fn a_failure_ends_the_lame_duck_time() {
        let shutdown = Shutdown::default();
        shutdown.set_lame_duck(true);
        shutdown.trigger(Cause::Interrupt);
        assert!(!shutdown.is_draining());
        shutdown.trigger(Cause::Failed { member: "mailer".to_owned(), error: String::new() });
        assert!(shutdown.is_drain_begun());
        assert_eq!(shutdown.cause(), Some(&Cause::Interrupt));
    }

    #[tokio::test]
    async fn a_late_waiter_still_gets_the_trigger() {
        let shutdown = Shutdown::default();
        shutdown.trigger(Cause::Terminate);
        shutdown.triggered().await;
        assert!(shutdown.is_triggered());
    }
}
