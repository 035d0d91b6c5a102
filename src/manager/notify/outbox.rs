//! What is to be said to the service manager, and the thread that says it.
//!
//! A manager that does not read holds up this thread and nobody else: its socket has room for a few
//! messages, and blocks whoever sends more.
//!
//! Invariants:
//! - Messages are sent in the order in which they were put here. A [passing](Message::passing) one takes
//!   the place of the last of its kind that has not been sent, so that no more wait than were news.
//! - What nobody waits for any more is not done.

use std::collections::VecDeque;
use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pipe::{PipeFlags, pipe_with};

/// How many messages wait at most; only a manager that has long stopped to read gets so far behind.
const CAPACITY: usize = 256;

/// How long other processes of our user may take to receive what keeps us from sending a descriptor, and
/// how soon it is tried again.
const PATIENCE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(10);

/// One message, with the descriptor that goes along.
#[derive(Debug)]
pub(super) struct Message {
    text: String,
    fd: Option<OwnedFd>,
    passing: Option<Passing>,
}

/// What is news only until there is newer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Passing {
    Status,
    Watchdog,
}

/// The thread's end, and everybody else's.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    /// Notified when there is something to do.
    filled: Condvar,
    /// Notified when all has been done.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// The thread is at something that is in the queue no more.
    is_busy: bool,
    /// Nobody is left who could add anything.
    is_over: bool,
    /// Messages that found no room, since that was told last.
    lost: u64,
}

enum Job {
    Send(Message),
    Barrier(Reply),
}

/// Who waits for a barrier.
pub(super) struct Reply {
    /// How long the manager may take.
    pub(super) patience: Duration,
    pub(super) done: tokio::sync::oneshot::Sender<io::Result<()>>,
}

// === impl Message ===

impl Message {
    pub(super) fn new(text: String) -> Self {
        Self { text, fd: None, passing: None }
    }

    pub(super) fn with_fd(text: String, fd: OwnedFd) -> Self {
        Self { text, fd: Some(fd), passing: None }
    }

    pub(super) fn passing(text: String, passing: Passing) -> Self {
        Self { text, fd: None, passing: Some(passing) }
    }
}

// === impl Outbox ===

impl Outbox {
    /// Starts the thread; it ends after [`Outbox::close`].
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let outbox = Arc::<Self>::default();
        let ours = Arc::clone(&outbox);
        thread::Builder::new().name("notify".to_owned()).spawn(move || ours.run())?;
        Ok(outbox)
    }

    /// Has a message sent, after those that wait.
    pub(super) fn send(&self, message: Message) {
        let mut queue = self.lock();
        if message.passing.is_some() {
            queue.jobs.retain(
                |job| !matches!(job, Job::Send(waiting) if waiting.passing == message.passing),
            );
        }
        if queue.jobs.len() < CAPACITY {
            queue.jobs.push_back(Job::Send(message));
        } else {
            queue.lost += 1;
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Has the manager asked whether it has read everything before this.
    pub(super) fn barrier(&self, reply: Reply) {
        self.lock().jobs.push_back(Job::Barrier(reply));
        self.filled.notify_one();
    }

    /// Waits until everything has been sent, for `patience` at most. Blocks the thread.
    pub(super) fn flush(&self, patience: Duration) {
        let queue = self.lock();
        let is_unfinished = |queue: &mut Queue| queue.is_busy || !queue.jobs.is_empty();
        // Late or never: the process goes on all the same.
        let _ = self.emptied.wait_timeout_while(queue, patience, is_unfinished);
    }

    /// Says that nothing is added any more.
    pub(super) fn close(&self) {
        self.lock().is_over = true;
        self.filled.notify_one();
    }

    fn run(&self) {
        // Since the last barrier.
        let mut failed = None;
        while let Some((job, lost)) = self.next() {
            if lost > 0 {
                tracing::warn!(
                    lost,
                    "the service manager has not been told everything: it does not read"
                );
            }
            match job {
                Job::Send(message) => {
                    if let Err(error) = deliver(&message.text, message.fd.as_ref()) {
                        tracing::warn!(%error, "cannot notify the service manager");
                        failed = Some(error);
                    }
                }
                Job::Barrier(reply) if reply.done.is_closed() => {}
                Job::Barrier(Reply { patience, done }) => {
                    let passed = failed.take().map_or_else(|| pass_barrier(patience), Err);
                    // Nobody listens any more: it is the same to us.
                    let _ = done.send(passed);
                }
            }
        }
    }

    /// Waits for the next job; answers how many messages were lost since, too.
    fn next(&self) -> Option<(Job, u64)> {
        let mut queue = self.lock();
        queue.is_busy = false;
        if queue.jobs.is_empty() {
            self.emptied.notify_all();
        }
        let is_idle = |queue: &mut Queue| queue.jobs.is_empty() && !queue.is_over;
        let mut queue =
            self.filled.wait_while(queue, is_idle).unwrap_or_else(PoisonError::into_inner);
        let job = queue.jobs.pop_front()?;
        queue.is_busy = true;
        Some((job, std::mem::take(&mut queue.lost)))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until the manager has read everything sent so far.
fn pass_barrier(patience: Duration) -> io::Result<()> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    deliver("BARRIER=1", Some(&theirs))?;
    drop(theirs);
    // The manager closes its copy of the write end once it has read up to here: a hang-up.
    let deadline = Instant::now() + patience;
    let mut fds = [PollFd::new(&ours, PollFlags::empty())];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends one message to `$NOTIFY_SOCKET`: a path, or a name that begins with `@`. Blocks while the manager
/// does not read.
fn deliver(text: &str, fd: Option<&OwnedFd>) -> io::Result<()> {
    let name = env::var_os("NOTIFY_SOCKET").ok_or(io::ErrorKind::NotFound)?;
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    let end = Instant::now() + PATIENCE;
    let fds: Vec<_> = fd.into_iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("one descriptor at a time"));
    }
    loop {
        match sendmsg(
            &socket,
            &[IoSlice::new(text.as_bytes())],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            // Other processes of our user have too many descriptors on their way, unix(7), for a moment.
            Err(Errno::TOOMANYREFS) if Instant::now() < end => thread::sleep(RETRY),
            Err(error) => return Err(error.into()),
        }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Send(message) => message.fmt(f),
            Self::Barrier(_) => f.write_str("Barrier"),
        }
    }
}
