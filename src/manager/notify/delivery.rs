//! Sending one message through sd-notify.
//!
//! Each call of sd-notify is a socket of its own, connected anew: a service manager that was away and came
//! back needs nothing. It blocks while the manager does not read, and is called from the thread of the
//! [`Outbox`](super::outbox::Outbox) alone.
//!
//! # Source
//! `sd_notify(3)`, `unix(7)` `ETOOMANYREFS`; no SIGPIPE comes of a datagram, in whatever way it is sent.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::abstract_socket;
use super::message::Message;

/// How long other processes of our user may take to receive what keeps us from sending a descriptor, and
/// how soon it is tried again.
const PATIENCE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(10);

/// Sends one message to `$NOTIFY_SOCKET`. Blocks while the manager does not read.
pub(super) fn deliver(message: &Message) -> io::Result<()> {
    // For sd-notify, to have no manager is a success; a barrier would be passed at once.
    let address = env::var_os("NOTIFY_SOCKET").ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "NOTIFY_SOCKET is no longer in the environment")
    })?;
    check(&address)?;
    persist(|| match (address.as_bytes().strip_prefix(b"@"), message.fd()) {
        (Some(name), _) => abstract_socket::send(name, message),
        (None, Some(fd)) => sd_notify::notify_with_fds(&message.states(), &[fd]),
        (None, None) => sd_notify::notify(&message.states()),
    })
}

/// Refuses what is no Unix socket with better words than the kernel has for a path that is none.
fn check(address: &OsStr) -> io::Result<()> {
    if address.as_bytes().starts_with(b"vsock") {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("NOTIFY_SOCKET={} is no Unix socket", address.to_string_lossy()),
        ));
    }
    Ok(())
}

/// Sends once more what was not sent for a reason that passes. Whatever fails has sent nothing: a datagram
/// goes as a whole.
fn persist(mut send: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match send() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Other processes of our user have too many descriptors on their way, unix(7), for a moment.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::TOOMANYREFS) => {
                if Instant::now() >= end {
                    return Err(error);
                }
                thread::sleep(RETRY);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signal_or_other_processes_descriptors_kept_from_being_sent_is_sent_again() {
        let mut errors = vec![Errno::TOOMANYREFS, Errno::INTR, Errno::TOOMANYREFS, Errno::INTR];
        persist(|| errors.pop().map_or(Ok(()), |errno| Err(errno.into()))).unwrap();
        assert!(errors.is_empty());
    }

    #[test]
    fn other_processes_descriptors_are_waited_for_two_seconds() {
        let begin = Instant::now();
        let error = persist(|| Err(Errno::TOOMANYREFS.into())).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::TOOMANYREFS));
        assert!(begin.elapsed() >= PATIENCE, "{:?}", begin.elapsed());
    }

    #[test]
    fn any_other_error_is_answered_at_once() {
        let mut calls = 0;
        let error = persist(|| {
            calls += 1;
            Err(Errno::CONNREFUSED.into())
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(calls, 1);
    }

    #[test]
    fn an_address_of_a_virtual_machines_host_is_told_to_be_no_unix_socket() {
        let error = check(OsStr::new("vsock-stream:2:1234")).unwrap_err().to_string();
        assert_eq!(error, "NOTIFY_SOCKET=vsock-stream:2:1234 is no Unix socket");
        check(OsStr::new("/run/systemd/notify")).unwrap();
    }
}
