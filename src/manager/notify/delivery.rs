//! Sending one message through sd-notify.
//!
//! Each call of sd-notify opens and connects a socket of its own, so nothing has to be done when the service
//! manager was restarted. It blocks while the manager does not read, and is called from the thread of the
//! [`Outbox`](super::outbox::Outbox) alone.
//!
//! # Source
//! `sd_notify(3)`, `unix(7)` `ETOOMANYREFS`; a datagram socket never raises SIGPIPE.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::abstract_socket;
use super::message::Message;

/// How long other processes of the same user may take to receive the descriptors that they have in flight, and how
/// often sending is tried meanwhile.
const CROWDED_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Sends one message to `$NOTIFY_SOCKET`. Blocks while the manager does not read.
pub(super) fn deliver(message: &Message) -> io::Result<()> {
    // sd-notify answers Ok without a manager; a barrier would seem to be passed.
    let address = env::var_os("NOTIFY_SOCKET").ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "NOTIFY_SOCKET is no longer in the environment")
    })?;
    check_address(&address)?;
    retry(|| match (address.as_bytes().strip_prefix(b"@"), message.fd()) {
        (Some(name), _) => abstract_socket::send(name, message),
        (None, Some(fd)) => sd_notify::notify_with_fds(&message.states(), &[fd]),
        (None, None) => sd_notify::notify(&message.states()),
    })
}

/// Refuses an address that is no Unix socket. The kernel's error would be that of a missing file.
fn check_address(address: &OsStr) -> io::Result<()> {
    if address.as_bytes().starts_with(b"vsock") {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("NOTIFY_SOCKET={} is no Unix socket", address.to_string_lossy()),
        ));
    }
    Ok(())
}

/// Calls `send` until it succeeds or fails for a reason that does not pass by itself. A call that failed has sent
/// nothing: a datagram is sent whole or not at all.
fn retry(mut send: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let end = Instant::now() + CROWDED_TIMEOUT;
    loop {
        match send() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Processes of this user have too many descriptors in flight, for a moment: unix(7).
            Err(error) if Errno::from_io_error(&error) == Some(Errno::TOOMANYREFS) => {
                if Instant::now() >= end {
                    return Err(error);
                }
                thread::sleep(RETRY_INTERVAL);
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
        retry(|| errors.pop().map_or(Ok(()), |errno| Err(errno.into()))).unwrap();
        assert!(errors.is_empty());
    }

    #[test]
    fn other_processes_descriptors_are_waited_for_two_seconds() {
        let begin = Instant::now();
        let error = retry(|| Err(Errno::TOOMANYREFS.into())).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::TOOMANYREFS));
        assert!(begin.elapsed() >= CROWDED_TIMEOUT, "{:?}", begin.elapsed());
    }

    #[test]
    fn any_other_error_is_answered_at_once() {
        let mut calls = 0;
        let error = retry(|| {
            calls += 1;
            Err(Errno::CONNREFUSED.into())
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(calls, 1);
    }

    #[test]
    fn an_address_of_a_virtual_machines_host_is_told_to_be_no_unix_socket() {
        let error = check_address(OsStr::new("vsock-stream:2:1234")).unwrap_err().to_string();
        assert_eq!(error, "NOTIFY_SOCKET=vsock-stream:2:1234 is no Unix socket");
        check_address(OsStr::new("/run/systemd/notify")).unwrap();
    }
}
