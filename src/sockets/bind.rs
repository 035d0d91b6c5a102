//! Binding addresses, and waiting for one that is not there yet.
//!
//! At boot an address may come a little later than the daemon (DHCP, a VPN, an IPv6 address that is still being
//! probed), and a process that is just ending may still have the port. Under a service manager, which is told,
//! binding is tried again for a while; an operator who starts the program by hand reads the error at once.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::lifecycle::shutdown::Shutdown;
use crate::manager::notify::Notifier;
use crate::manager::notify::STATUS_INTERVAL;
use crate::manager::store_names::LISTENER_PREFIX;
use crate::sockets::address::Address;
use crate::sockets::listener::{Bound, ListenError};

/// How long an address is waited for. The service manager then starts the program anew.
const WAIT_UNDER_MANAGER: Duration = Duration::from_secs(30);

/// How long a program started by hand waits for another start at the same socket file, which holds its lock.
const WAIT_FOR_LOCK: Duration = Duration::from_secs(5);

/// How soon binding is tried again, and how soon where another start holds the lock of the socket file.
const RETRY: Duration = Duration::from_millis(250);
const RETRY_LOCK: Duration = Duration::from_millis(20);

/// By how much each notification extends the service manager's start time-out.
const EXTENSION: Duration = Duration::from_secs(10);

/// Binds the addresses of a daemon that starts.
#[derive(Debug)]
pub(crate) struct Binder<'n> {
    notifier: &'n Notifier,
    shutdown: Shutdown,
    started: Instant,
}

// === impl Binder ===

impl<'n> Binder<'n> {
    /// All addresses together are waited for from now on.
    pub(crate) fn new(notifier: &'n Notifier, shutdown: Shutdown) -> Self {
        Self { notifier, shutdown, started: Instant::now() }
    }

    /// Takes the listeners of a server that does not exist any more out of the service manager's store.
    pub(crate) fn forget(&self, server: &str) {
        self.notifier.unstore(&format!("{LISTENER_PREFIX}{server}"));
    }

    /// Binds `address` and listens, as soon as that can be done; at once or not at all unless it `may_wait`.
    ///
    /// # Errors
    /// When it cannot be done in time, or a shutdown is triggered meanwhile.
    pub(crate) async fn bind(
        &self,
        address: &Address,
        server: &str,
        mode: u32,
        v6only: bool,
        may_wait: bool,
    ) -> Result<Bound, ListenError> {
        let mut has_waited = false;
        let mut told = None::<Instant>;
        loop {
            let bound = Bound::bind(address, server, mode, v6only);
            let is_locked = bound.as_ref().is_err_and(ListenError::is_locked);
            let wait = match self.notifier.is_present() {
                true => WAIT_UNDER_MANAGER,
                false if is_locked => WAIT_FOR_LOCK,
                false => Duration::ZERO,
            };
            let left = wait.saturating_sub(self.started.elapsed());
            let error = match bound {
                Err(error)
                    if error.may_pass()
                        && may_wait
                        && !self.shutdown.is_triggered()
                        && !left.is_zero() =>
                {
                    error
                }
                Ok(bound) => {
                    if has_waited {
                        tracing::info!(server, %address, "bound an address that was waited for");
                    }
                    return Ok(bound);
                }
                Err(error) => return Err(error),
            };
            let retry = if is_locked { RETRY_LOCK } else { RETRY };
            if is_locked {
                // It takes a moment only: no line in the log.
            } else if !std::mem::replace(&mut has_waited, true) {
                tracing::warn!(
                    server,
                    %address,
                    %error,
                    seconds = left.as_secs(),
                    "cannot bind an address yet, and try again",
                );
            }
            if told.is_none_or(|told| told.elapsed() >= STATUS_INTERVAL) {
                told = Some(Instant::now());
                let status = format!("Waiting for {} s more: {error}", left.as_secs());
                self.notifier.progress(&status, EXTENSION);
            }
            tokio::select! {
                () = sleep(retry.min(left)) => {}
                () = self.shutdown.triggered() => return Err(error),
            }
        }
    }
}
