//! The queue of messages to the service manager, and the thread that sends them.
//!
//! A manager that does not read holds up this thread alone: its socket has room for a few messages, and then
//! blocks the sender.
//!
//! Invariants:
//! - Messages are sent in the order in which they were added. A [replaceable](Message::replaceable) one removes
//!   the last of its kind that has not been sent, so that outdated ones do not fill the queue.
//! - A barrier whose caller has given up is skipped.
//! - When the manager cannot be reached, the log warns once, until it can be reached again.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::delivery::deliver;
use super::message::Message;

/// How many messages wait at most; only a manager that has not read for long gets so far behind.
const CAPACITY: usize = 256;

/// Shared by the thread, which takes messages out, and the notifiers, which add them.
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
    /// The thread is working on a job that it has taken out.
    is_busy: bool,
    /// Nothing will be added any more.
    is_closed: bool,
    /// Messages that found no room, since the log last said so.
    lost: u64,
}

enum Job {
    Send(Message),
    Barrier(BarrierRequest),
}

/// Asks to be told when the manager has read everything so far.
pub(super) struct BarrierRequest {
    /// How long the manager may take.
    pub(super) limit: Duration,
    pub(super) done: tokio::sync::oneshot::Sender<io::Result<()>>,
}

// === impl Outbox ===

impl Outbox {
    /// Starts the thread; it ends after [`Outbox::close`].
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let outbox = Arc::<Self>::default();
        let of_thread = Arc::clone(&outbox);
        thread::Builder::new().name("notify".to_owned()).spawn(move || of_thread.run())?;
        Ok(outbox)
    }

    /// Adds a message behind those that wait.
    pub(super) fn send(&self, message: Message) {
        let mut queue = self.lock();
        if let kind @ Some(_) = message.replaceable() {
            let is_replaced =
                |job: &Job| matches!(job, Job::Send(waiting) if waiting.replaceable() == kind);
            queue.jobs.retain(|job| !is_replaced(job));
        }
        if queue.jobs.len() < CAPACITY {
            queue.jobs.push_back(Job::Send(message));
        } else {
            queue.lost += 1;
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Adds a barrier behind the messages that wait.
    pub(super) fn barrier(&self, request: BarrierRequest) {
        self.lock().jobs.push_back(Job::Barrier(request));
        self.filled.notify_one();
    }

    /// Waits until everything has been sent, for `limit` at most. Blocks the thread.
    pub(super) fn flush(&self, limit: Duration) {
        let queue = self.lock();
        let is_unfinished = |queue: &mut Queue| queue.is_busy || !queue.jobs.is_empty();
        // The process goes on even if this times out.
        let _ = self.emptied.wait_timeout_while(queue, limit, is_unfinished);
    }

    /// Ends the thread once it has sent what waits.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    fn run(&self) {
        let mut is_unreachable = false;
        // Of a message with a descriptor, since the last barrier: the manager can do without the others.
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
                    let sent = deliver(&message);
                    match &sent {
                        Err(error) if !is_unreachable => {
                            tracing::warn!(%error, "cannot notify the service manager");
                        }
                        Ok(()) if is_unreachable => {
                            tracing::info!("the service manager is notified again");
                        }
                        _ => {}
                    }
                    is_unreachable = sent.is_err();
                    failed = sent.err().filter(|_| message.fd().is_some()).or(failed);
                }
                Job::Barrier(request) if request.done.is_closed() => {}
                Job::Barrier(BarrierRequest { limit, done }) => {
                    let passed = failed.take().map_or_else(|| pass_barrier(limit), Err);
                    // The caller may have given up meanwhile.
                    let _ = done.send(passed);
                }
            }
        }
    }

    /// Waits for the next job, which it answers with the number of messages that were lost since the last one.
    fn next(&self) -> Option<(Job, u64)> {
        let mut queue = self.lock();
        queue.is_busy = false;
        if queue.jobs.is_empty() {
            self.emptied.notify_all();
        }
        let is_idle = |queue: &mut Queue| queue.jobs.is_empty() && !queue.is_closed;
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
fn pass_barrier(limit: Duration) -> io::Result<()> {
    let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC)?;
    // This process's copy of the write end closes with the message.
    deliver(&Message::Barrier { fd: write_end })?;
    // The manager closes its copy once it has read up to here, which hangs up the read end.
    let deadline = Instant::now() + limit;
    let mut fds = [PollFd::new(&read_end, PollFlags::empty())];
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

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Send(message) => message.fmt(f),
            Self::Barrier(_) => f.write_str("Barrier"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> Message {
        Message::Status { status: text.to_owned() }
    }

    /// What would be sent, and how many messages were lost.
    fn waiting(outbox: &Outbox) -> (Vec<String>, u64) {
        outbox.close();
        let (mut texts, mut lost) = (Vec::new(), 0);
        while let Some((job, before)) = outbox.next() {
            let Job::Send(message) = job else { continue };
            let states = message.states();
            texts.push(states.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            lost += before;
        }
        (texts, lost)
    }

    #[test]
    fn only_the_last_status_and_the_last_watchdog_wait_and_the_rest_keeps_its_order() {
        let outbox = Outbox::default();
        outbox.send(status("one"));
        outbox.send(Message::Watchdog);
        outbox.send(Message::Ready { status: "ready".to_owned() });
        outbox.send(Message::Progress { microseconds: 7, status: "two".to_owned() });
        outbox.send(Message::Unstore { name: "name".to_owned() });
        outbox.send(Message::Watchdog);
        outbox.send(Message::Failed { errno: Some(2), status: "why".to_owned() });
        outbox.send(status("three"));
        let expected = [
            "READY=1 STATUS=ready",
            "FDSTOREREMOVE=1 FDNAME=name",
            "WATCHDOG=1",
            "ERRNO=2 STATUS=why",
            "STATUS=three",
        ];
        assert_eq!(waiting(&outbox), (expected.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn what_finds_no_room_is_lost_and_counted() {
        let outbox = Outbox::default();
        for number in 0..CAPACITY + 3 {
            outbox.send(Message::Unstore { name: number.to_string() });
        }
        let (texts, lost) = waiting(&outbox);
        assert_eq!((texts.len(), lost), (CAPACITY, 3));
        assert_eq!(texts[CAPACITY - 1], format!("FDSTOREREMOVE=1 FDNAME={}", CAPACITY - 1));
    }
}
