//! Everything that is sent to the service manager.
//!
//! Invariants:
//! - Without `NOTIFY_SOCKET` every call is a no-op that succeeds.
//! - No text reaches the manager unsanitised: a newline in a STATUS would begin a field of its own.
//! - Callers never wait: a thread sends the messages (see `outbox`), in order, through sd-notify (see
//!   `delivery`). Only [`Notifier::barrier`] waits until the manager has read them, and [`Notifier::flush`]
//!   until they are sent.
//!
//! # Source
//! `sd_notify(3)`, systemd.service(5) `NotifyAccess=`, `FileDescriptorStoreMax=`, systemd.exec(5) `$FDSTORE`,
//! `$MEMORY_PRESSURE_WATCH`.

mod abstract_socket;
mod delivery;
mod message;
mod outbox;

use std::env;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::message::Message;
use self::outbox::{BarrierRequest, Outbox};

/// The longest STATUS text in bytes; `systemctl status` shows one line.
const STATUS_MAX: usize = 512;

/// How often STATUS may change.
pub(crate) const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// How long a process that ends waits until everything has been sent.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Sends messages to the service manager, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Notifier {
    /// None: there is no manager.
    shared: Option<Arc<Shared>>,
}

/// What the clones of a notifier share; the sending thread ends with the last of them.
#[derive(Debug)]
struct Shared {
    outbox: Arc<Outbox>,
    /// The manager has passed a barrier at least once.
    is_read: AtomicBool,
}

// === impl Notifier ===

impl Notifier {
    /// Starts the thread that sends to the manager named in the environment.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn from_env() -> io::Result<Self> {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self::none());
        }
        let shared = Shared { outbox: Outbox::start()?, is_read: AtomicBool::new(false) };
        Ok(Self { shared: Some(Arc::new(shared)) })
    }

    /// For a daemon that no service manager knows of: sends nothing.
    pub(crate) fn none() -> Self {
        Self { shared: None }
    }

    /// Tells whether there is a service manager.
    pub(crate) fn is_present(&self) -> bool {
        self.shared.is_some()
    }

    pub(crate) fn ready(&self, status: &str) {
        self.send(Message::Ready { status: sanitise(status) });
    }

    pub(crate) fn stopping(&self, status: &str) {
        self.send(Message::Stopping { status: sanitise(status) });
    }

    pub(crate) fn status(&self, status: &str) {
        self.send(Message::Status { status: sanitise(status) });
    }

    /// Feeds the manager's watchdog.
    pub(crate) fn watchdog(&self) {
        self.send(Message::Watchdog);
    }

    /// How long the manager waits for the next [`Notifier::watchdog`], if it has a watchdog for this service.
    pub(crate) fn watchdog_limit(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|limit| self.is_present() && !limit.is_zero())
    }

    /// Says that a start or stop goes on, and asks the manager to wait for another `time` from now.
    pub(crate) fn progress(&self, status: &str, time: Duration) {
        let microseconds = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.send(Message::Progress { microseconds, status: sanitise(status) });
    }

    /// Says why the program ends without having served, with the system's error number.
    pub(crate) fn failed(&self, status: &str, errno: Option<i32>) {
        let errno = errno.and_then(|errno| u32::try_from(errno).ok());
        self.send(Message::Failed { errno, status: sanitise(status) });
    }

    /// Says that a reload begins; READY=1 has to follow, whether it works or not.
    pub(crate) fn reloading(&self, status: &str) {
        match NotifyState::monotonic_usec_now() {
            Ok(since) => self.send(Message::Reloading { since, status: sanitise(status) }),
            Err(error) => tracing::warn!(%error, "cannot read the monotonic clock"),
        }
    }

    /// How many descriptors the manager's store keeps for this service: 0 without a manager, and `None` where
    /// the manager does not say, as systemd before 254.
    ///
    /// It sets `$FDSTORE` only where it keeps any. `$MEMORY_PRESSURE_WATCH` came with the same version, and is set
    /// wherever the kernel tells of memory pressure: where it stands alone, there is no store. Both tell how it was
    /// at the start.
    pub(crate) fn store_size(&self) -> Option<usize> {
        match env::var("FDSTORE") {
            _ if !self.is_present() => Some(0),
            Ok(size) => size.parse().ok(),
            Err(_) => env::var_os("MEMORY_PRESSURE_WATCH").map(|_| 0),
        }
    }

    /// Puts a descriptor into the file descriptor store under `name`.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn store(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.is_present() {
            self.send(Message::Store { name: name.to_owned(), fd: fd.try_clone_to_owned()? });
        }
        Ok(())
    }

    /// Takes every descriptor called `name` out of the store.
    pub(crate) fn unstore(&self, name: &str) {
        self.send(Message::Unstore { name: name.to_owned() });
    }

    /// Waits until the manager has read every message before this call, for `limit` at most.
    ///
    /// # Errors
    /// When one could not be sent, or the manager did not read them in time.
    pub(crate) async fn barrier(&self, limit: Duration) -> io::Result<()> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let (done, passed) = oneshot::channel();
        shared.outbox.barrier(BarrierRequest { limit, done });
        let passed = match timeout(limit, passed).await {
            Ok(Ok(passed)) => passed,
            Ok(Err(_)) | Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        shared.is_read.fetch_or(passed.is_ok(), Ordering::Relaxed);
        passed
    }

    /// Tells whether the manager has ever passed a barrier, and so read its messages.
    pub(crate) fn is_read(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.is_read.load(Ordering::Relaxed))
    }

    /// Waits until everything has been sent, for half a second at most. Blocks the thread: for the end of the
    /// process.
    pub(crate) fn flush(&self) {
        if let Some(outbox) = self.outbox() {
            outbox.flush(FLUSH_TIMEOUT);
        }
    }

    fn send(&self, message: Message) {
        if let Some(outbox) = self.outbox() {
            outbox.send(message);
        }
    }

    fn outbox(&self) -> Option<&Outbox> {
        self.shared.as_ref().map(|shared| &*shared.outbox)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

/// One line of bounded length, without control characters.
fn sanitise(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(STATUS_MAX));
    for c in text.chars() {
        if line.len() + c.len_utf8() > STATUS_MAX {
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

#[cfg(test)]
pub(crate) mod as_received;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_begin_a_field_of_its_own() {
        assert_eq!(sanitise("stopped by\nMAINPID=1\r\0"), "stopped by MAINPID=1  ");
    }

    #[test]
    fn a_status_is_bounded_at_a_character() {
        let line = sanitise(&"ä".repeat(1000));
        assert_eq!(line.len(), STATUS_MAX);
    }
}
