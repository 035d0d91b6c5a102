//! The journal at the end of the queue: tracing-journald's layer, on the log's thread.
//!
//! The layer sends with a socket that blocks, and a journal that stops would stop us; here it stops this thread
//! alone. It also says nothing of what it could not send. So a socket of our own, connected to where the
//! journal listens, finds out about the journal:
//!
//! - While nobody listens there, nothing is sent: the line in hand waits, and so does the queue behind.
//! - Lines are confirmed by finding the same journal there after they were sent, a batch at a time while more
//!   are waiting. If it is not, they are sent once more: they are rather there twice than not at all.
//! - At the end of the process an empty datagram, which the journal ignores, tells by being read that
//!   all before it has been.
//!
//! What cannot be known, and is neither in the journal nor counted: lines that the journal had accepted and
//! not read when its socket was closed (a restart of `systemd-journald.service` alone keeps it open); what the
//! journal itself drops; and a line that the kernel refuses for want of memory, or that needs a memory file
//! (see `large`) while too many descriptors are on their way (`ETOOMANYREFS`).
//!
//! Not counted either is, at an upgrade in place while the journal is stopped, what still waits after the time
//! that the upgrade gives it.
//!
//! # Source
//! systemd's "Native Journal Protocol"; systemd.journal-fields(7); unix(7).

mod large;
#[cfg(test)]
mod model;
mod place;
mod recorded;
mod recorder;
mod replay;
mod spans;

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_send_buffer_size;
use tracing::callsite::{Callsite, Identifier};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_journald::{Priority, PriorityMappings};

use self::large::fit;
use self::recorded::{Recorded, RecordedEvent, Values};
use self::replay::{Replay, told};
use crate::log::queue::Sink;

pub(super) use self::recorder::Recorder;

const SOCKET: &str = "/run/systemd/journal/socket";

/// How often a journal that is away is looked for. The end of the process waits longer than that.
const SEARCH_INTERVAL: Duration = Duration::from_millis(100);

/// How long the end of the process waits for the journal to take its last entries. The journal looks up
/// in /proc whose they are, and they lack their unit if the process is gone by then.
const TAKEN_TIMEOUT: Duration = Duration::from_millis(100);

/// How much shorter than the send buffer a datagram has to be.
const BUFFER_OVERHEAD: usize = 32;

/// How many lines are confirmed at once at most, and how much memory they take before that.
const BATCH: usize = 32;
const BATCH_ROOM: usize = 256 << 10;

/// Takes recorded events to the journal.
#[derive(Debug)]
pub(super) struct JournalSink {
    identifier: String,
    /// `None` while the journal is away.
    journal: Option<Journal>,
    /// Made when there is something to write, and the journal: the layer's socket is not connected, and
    /// so is good for the next journal, too.
    replay: Option<Replay>,
    sent: Vec<Line>,
    sent_size: usize,
}

/// An event with its message.
#[derive(Debug)]
struct Line {
    event: RecordedEvent,
    message: Recorded,
}

/// The journal that listens, by a socket that is connected to it.
#[derive(Debug)]
struct Journal {
    socket: UnixDatagram,
    /// The inode of its socket: another one is of another journal.
    inode: u64,
    /// The longest entry that the layer sends as a datagram: its socket has the buffer that ours has.
    datagram_max: usize,
}

// === impl JournalSink ===

impl JournalSink {
    /// Connects to the journal.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(super) fn connect(identifier: &str) -> io::Result<Self> {
        Ok(Self { journal: Some(Journal::find()?), ..Self::away(identifier) })
    }

    /// Connects to the journal as soon as there is something to write, and the journal.
    pub(super) fn away(identifier: &str) -> Self {
        let identifier = identifier.to_owned();
        Self { identifier, journal: None, replay: None, sent: Vec::new(), sent_size: 0 }
    }

    /// The journal and the way there; waits for it while it is away.
    fn reach(&mut self) -> (&Journal, &mut Replay) {
        while let Err(_away) = self.try_reach() {
            thread::sleep(SEARCH_INTERVAL);
        }
        match (&self.journal, &mut self.replay) {
            (Some(journal), Some(replay)) => (journal, replay),
            _ => unreachable!("both have been reached"),
        }
    }

    fn try_reach(&mut self) -> io::Result<()> {
        if self.journal.is_none() {
            self.journal = Some(Journal::find()?);
        }
        if self.replay.is_none() {
            self.replay = Some(replay(&self.identifier)?);
        }
        Ok(())
    }

    fn send(&mut self, line: &mut Line) {
        let Line { event, message } = line;
        let (journal, replay) = self.reach();
        fit(event, message, journal.datagram_max);
        replay.event(event, message);
    }
}

/// What is recorded, to the journal.
fn replay(identifier: &str) -> io::Result<Replay> {
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    let layer = tracing_journald::layer()?
        .with_field_prefix(None)
        .with_syslog_identifier(identifier.to_owned())
        .with_priority_mappings(priorities);
    Ok(Replay::to(layer))
}

impl Sink for JournalSink {
    type Line = RecordedEvent;

    fn write(&mut self, mut event: RecordedEvent) -> io::Result<()> {
        let message = Recorded::Str(told(&mut event));
        let mut line = Line { event, message };
        self.send(&mut line);
        self.sent_size += line.event.size() + line.message.text_len();
        self.sent.push(line);
        if self.sent.len() >= BATCH || self.sent_size > BATCH_ROOM {
            self.confirm();
        }
        Ok(())
    }

    fn confirm(&mut self) {
        while !self.sent.is_empty() {
            if self.journal.as_ref().is_some_and(Journal::is_there) {
                self.sent.clear();
            } else {
                self.journal = None;
                let mut lines = std::mem::take(&mut self.sent);
                for line in &mut lines {
                    self.send(line);
                }
                self.sent = lines;
            }
        }
        self.sent_size = 0;
    }

    fn loss(&self, lost: u64) -> RecordedEvent {
        let text = format!("{lost} log lines were lost: the journal was too slow, or away");
        let values = Values::new(vec![Some(Recorded::Str(text))]);
        RecordedEvent { metadata: &LOSS, values, spans: Vec::new() }
    }

    fn settle(&self) {
        if let Some(journal) = &self.journal {
            journal.settle(Instant::now() + TAKEN_TIMEOUT);
        }
    }
}

// === impl Journal ===

impl Journal {
    fn find() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(SOCKET)?;
        let datagram_max = socket_send_buffer_size(&socket)?.saturating_sub(BUFFER_OVERHEAD);
        Ok(Self { socket, inode: inode()?, datagram_max })
    }

    /// Tells whether this one still listens.
    fn is_there(&self) -> bool {
        self.socket.connect(SOCKET).is_ok() && inode().is_ok_and(|inode| inode == self.inode)
    }

    /// Waits until all that was sent before has been read.
    fn settle(&self, deadline: Instant) {
        let wait = || {
            thread::sleep(Duration::from_micros(100));
            Instant::now() < deadline
        };
        loop {
            match self.socket.send(&[]) {
                Ok(_) => break,
                // There is no room behind those that it has not read.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && wait() => {}
                Err(_) => return,
            }
        }
        while !is_taken(&self.socket) && wait() {}
    }
}

fn inode() -> io::Result<u64> {
    Ok(fs::metadata(SOCKET)?.ino())
}

/// Tells whether the other end has read everything that was sent, `SIOCOUTQ` in unix(7).
fn is_taken(socket: &UnixDatagram) -> bool {
    let mut unread: libc::c_int = 0;
    #[expect(unsafe_code, reason = "an ioctl that no crate has for Unix sockets")]
    // SAFETY: the descriptor is open, and the kernel writes one int.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    asked < 0 || unread == 0
}

/// The event of a loss. No level keeps it from the journal, and no page shows it: it is not logged, but
/// written.
static LOSS: Metadata<'static> = Metadata::new(
    "loss",
    module_path!(),
    Level::WARN,
    Some(file!()),
    Some(line!()),
    Some(module_path!()),
    FieldSet::new(&["message"], Identifier(&Loss)),
    Kind::EVENT,
);

struct Loss;

impl Callsite for Loss {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &LOSS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_datagram_is_taken_once_it_has_been_read() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        assert!(is_taken(&ours));
        ours.send(b"").unwrap();
        assert!(!is_taken(&ours));
        theirs.recv(&mut [0; 99]).unwrap();
        assert!(is_taken(&ours));
    }
}
