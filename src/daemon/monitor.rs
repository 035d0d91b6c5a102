//! The daemon's phase and addresses, for the rest of the program.

use std::sync::Arc;

use tokio::sync::SetOnce;

use crate::lifecycle::phase::{Latches, Phase, Phases};
use crate::sockets::address::Address;

/// A view of a daemon from outside: its phase, and where it listens.
///
/// It is for probes of an application's own, and for tests that bind port 0 and have to find out
/// which port they got.
///
/// # Examples
/// ```
/// use lockstepd::{Daemon, Monitor, Phase};
///
/// let daemon = Daemon::new("shop");
/// let warm = daemon.latch("cache");
/// let monitor: Monitor = daemon.monitor();
/// assert_eq!(monitor.phase(), Phase::Starting);
/// assert!(!monitor.phase().is_ready());
/// assert_eq!(monitor.waiting_for(), ["cache"]);
/// warm.release();
///
/// /// Tells where the server listens, once the daemon runs.
/// async fn tell(monitor: Monitor) {
///     if monitor.ready().await {
///         println!("serving on {:?}", monitor.addresses("public"));
///     }
/// }
/// # let _ = tell;
/// ```
#[derive(Clone, Debug)]
pub struct Monitor {
    pub(crate) phases: Phases,
    pub(crate) latches: Latches,
    pub(crate) bound: Bound,
}

/// The addresses of every server by its name, once they are known.
pub(crate) type Bound = Arc<SetOnce<Vec<(String, Vec<Address>)>>>;

// === impl Monitor ===

impl Monitor {
    pub(crate) fn new() -> Self {
        Self { phases: Phases::new(), latches: Latches::new(), bound: Bound::default() }
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phases.current()
    }

    /// The names of the latches that readiness still waits for.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<String> {
        self.latches.waiting()
    }

    /// Waits until the daemon is ready; answers false if it stops, or could not start, before that.
    ///
    /// # Cancel safety
    /// Cancel safe: dropping the future loses nothing.
    pub async fn ready(&self) -> bool {
        let mut phases = self.phases.subscribe();
        // The sender lives in self, so the channel cannot close while this waits.
        phases.wait_for(|phase| *phase != Phase::Starting).await.is_ok_and(|phase| phase.is_ready())
    }

    /// Where a server listens: the real port where 0 was configured. Empty before the sockets are
    /// bound, and for a server that does not exist.
    #[must_use]
    pub fn addresses(&self, server: &str) -> Vec<Address> {
        let all = self.bound.get().into_iter().flatten();
        all.filter(|(name, _)| name == server).flat_map(|(_, bound)| bound.clone()).collect()
    }
}
