//! A service manager's ear: the socket that `NOTIFY_SOCKET` names.

use std::{
    io,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use tempfile::TempDir;

use super::wait::PATIENCE;

/// Hears what a daemon says at once, as PID 1 does, and keeps no descriptors.
#[derive(Debug)]
pub(crate) struct Manager {
    directory: TempDir,
    messages: Receiver<Vec<String>>,
}

/// Sent by ourselves: nothing that was sent before it comes after it.
const LAST: &str = "THE_LAST_MESSAGE";

// === impl Manager ===

impl Manager {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let socket = UnixDatagram::bind(directory.path().join("notify"));
        let socket = socket.expect("a socket can be bound there");
        let (sender, messages) = channel();
        thread::spawn(move || hear(&socket, &sender));
        Self { directory, messages }
    }

    /// The value of `NOTIFY_SOCKET`.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    /// Waits for the next message about the daemon's life; answers its lines.
    ///
    /// Messages about descriptors, and those that come at intervals, are passed over.
    #[track_caller]
    pub(crate) fn next(&self) -> Vec<String> {
        let message = self.messages.recv_timeout(PATIENCE);
        message.unwrap_or_else(|error| panic!("{error} while waiting for a notification"))
    }

    /// What has been said and not been asked for: everything, once the daemon has ended.
    pub(crate) fn rest(&self) -> Vec<Vec<String>> {
        self.say_last().expect("the thread listens");
        let mut messages = Vec::new();
        loop {
            match self.next() {
                message if message == [LAST] => return messages,
                message => messages.push(message),
            }
        }
    }

    fn say_last(&self) -> io::Result<usize> {
        UnixDatagram::unbound()?.send_to(LAST.as_bytes(), self.path())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // The thread then finds that nobody wants to hear of it, if it has not found so before.
        self.messages = channel().1;
        let _ = self.say_last();
    }
}

fn hear(socket: &UnixDatagram, sender: &Sender<Vec<String>>) {
    loop {
        let mut message = [0; 4096];
        // Descriptors that come along are closed by the kernel.
        let length = socket.recv(&mut message).expect("a datagram comes");
        let message = String::from_utf8_lossy(&message[..length]).into_owned();
        if is_of_no_interest(&message) {
            continue;
        }
        if sender.send(message.lines().map(str::to_owned).collect()).is_err() {
            return;
        }
    }
}

fn is_of_no_interest(message: &str) -> bool {
    let begins = ["FDSTORE", "BARRIER=", "WATCHDOG=", "EXTEND_TIMEOUT_USEC="];
    // The start is of interest, whatever it waits for.
    if message.contains("STATUS=Waiting for ") || message.contains("STATUS=Setting up for 0 s") {
        return false;
    }
    // A status that comes alone while all is well tells how many are being served.
    message.starts_with("STATUS=Serving ")
        || message.lines().any(|line| begins.iter().any(|begin| line.starts_with(begin)))
}
