//! Everything said to the service manager.
//!
//! Invariants:
//! - Without `NOTIFY_SOCKET` every call is a no-op that succeeds.
//! - No text reaches the manager unsanitised: a newline in a STATUS would begin a field of its own.
//! - sd-notify words the messages; they are sent here, since it knows neither abstract sockets nor
//!   time-outs.
//! - What is sent is sent in order; [`Notifier::barrier`] waits until the manager has read it all.
//!
//! # Source
//! `sd_notify(3)`, systemd.service(5) `NotifyAccess=`, `FileDescriptorStoreMax=`, systemd.exec(5) `$FDSTORE`,
//! `$MEMORY_PRESSURE_WATCH`.

use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};
use sd_notify::NotifyState;

/// The longest STATUS text in bytes; `systemctl status` shows one line.
const STATUS_MAX: usize = 512;

/// How long the manager may take to read what was sent before the daemon goes on without it.
const MANAGER_TIMEOUT: Duration = Duration::from_secs(5);

/// The manager did not read in time: until it does, nobody waits for it again.
static DEAF: AtomicBool = AtomicBool::new(false);

/// A connection to the service manager, or to nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notifier {
    present: bool,
}

// === impl Notifier ===

impl Notifier {
    pub(crate) fn from_env() -> Self {
        Self { present: env::var_os("NOTIFY_SOCKET").is_some() }
    }

    /// Tells whether a service manager listens.
    pub(crate) fn is_present(self) -> bool {
        self.present
    }

    pub(crate) fn ready(self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(&sanitise(status))]);
    }

    pub(crate) fn stopping(self, status: &str) {
        self.send(&[NotifyState::Stopping, NotifyState::Status(&sanitise(status))]);
    }

    pub(crate) fn status(self, status: &str) {
        self.send(&[NotifyState::Status(&sanitise(status))]);
    }

    /// Feeds the manager's watchdog.
    pub(crate) fn watchdog(self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// How long the manager waits for [`Notifier::watchdog`], if it does.
    pub(crate) fn watchdog_limit(self) -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|limit| self.present && !limit.is_zero())
    }

    /// Says that a start or stop goes on, and asks for `time` from now before it is given up.
    pub(crate) fn progress(self, status: &str, time: Duration) {
        let usec = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(usec), NotifyState::Status(&sanitise(status))]);
    }

    /// Says why the program ends without having served, with the system's error number.
    pub(crate) fn failed(self, status: &str, errno: Option<i32>) {
        let status = sanitise(status);
        match errno.and_then(|errno| u32::try_from(errno).ok()) {
            Some(errno) => self.send(&[NotifyState::Errno(errno), NotifyState::Status(&status)]),
            None => self.send(&[NotifyState::Status(&status)]),
        }
    }

    /// Says that a reload begins; READY=1 has to follow, whether it works or not.
    pub(crate) fn reloading(self, status: &str) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => {
                self.send(&[NotifyState::Reloading, now, NotifyState::Status(&sanitise(status))]);
            }
            Err(error) => tracing::warn!(%error, "cannot read the monotonic clock"),
        }
    }

    /// How many descriptors the manager keeps for us: none without a manager, and `None` where it does
    /// not tell, as systemd before 254.
    ///
    /// It sets `$FDSTORE` only where it keeps any. `$MEMORY_PRESSURE_WATCH` is as old, and set wherever the
    /// kernel tells of memory pressure: where it stands alone, there is no store. Both are of the start.
    pub(crate) fn store_size(self) -> Option<usize> {
        match env::var("FDSTORE") {
            _ if !self.present => Some(0),
            Ok(size) => size.parse().ok(),
            Err(_) => env::var_os("MEMORY_PRESSURE_WATCH").map(|_| 0),
        }
    }

    /// Puts a descriptor into the file descriptor store under `name`.
    ///
    /// `FDPOLL=0`: the manager would otherwise drop a descriptor whose other end hangs up,
    /// which is just what happens to the carrier when this process exits.
    pub(crate) fn store(self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        if !self.present {
            return Ok(());
        }
        deliver(
            &[
                NotifyState::Custom("FDSTORE=1"),
                NotifyState::Custom(&format!("FDNAME={name}")),
                NotifyState::Custom("FDPOLL=0"),
            ],
            &[fd],
        )
    }

    /// Takes every descriptor called `name` out of the store.
    pub(crate) fn unstore(self, name: &str) {
        self.send(&[
            NotifyState::Custom("FDSTOREREMOVE=1"),
            NotifyState::Custom(&format!("FDNAME={name}")),
        ]);
    }

    /// Waits until the manager has read everything sent so far. Blocks the thread, 5 s at most.
    ///
    /// # Errors
    /// When nothing could be sent, or the manager did not read it in time.
    pub(crate) fn barrier(self) -> io::Result<()> {
        if !self.present {
            return Ok(());
        }
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        deliver(&[NotifyState::Custom("BARRIER=1")], &[theirs.as_fd()])?;
        drop(theirs);
        // The manager closes its copy of the write end once it has read up to here: a hang-up.
        let timeout = Timespec::try_from(MANAGER_TIMEOUT).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&ours, PollFlags::empty())];
        loop {
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => {
                    DEAF.store(true, Ordering::Relaxed);
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send(self, states: &[NotifyState<'_>]) {
        if !self.present {
            return;
        }
        if let Err(error) = deliver(states, &[]) {
            tracing::warn!(%error, "cannot notify the service manager");
        }
    }
}

/// Sends one message, with descriptors, to `$NOTIFY_SOCKET`: a path, or a name that begins with `@`.
fn deliver(states: &[NotifyState<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let name = env::var_os("NOTIFY_SOCKET").ok_or(io::ErrorKind::NotFound)?;
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not take us with it.
    socket.set_write_timeout(Some(MANAGER_TIMEOUT))?;
    socket.connect_addr(&address)?;
    let text = states.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n";
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("one descriptor at a time"));
    }
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::DONTWAIT, DEAF.load(Ordering::Relaxed));
    let sent = sendmsg(&socket, &[IoSlice::new(text.as_bytes())], &mut ancillary, flags);
    DEAF.store(sent == Err(Errno::AGAIN), Ordering::Relaxed);
    sent?;
    Ok(())
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
