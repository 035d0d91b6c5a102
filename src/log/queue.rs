//! The bounded queue between the threads that log and the one thread that writes.
//!
//! Invariants:
//! - Logging never waits: a line that finds the queue full is lost, and counted.
//! - The queue is full when 4096 lines wait, or 16 MiB of them.
//! - A loss is logged as soon as there is room again. A line that cannot be written is lost, too.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// How many lines wait at most.
const CAPACITY: usize = 4096;

/// How much memory they may take, in bytes.
const ROOM: usize = 16 << 20;

/// How long the end of the process waits for the log.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Where lines end up.
pub(super) trait Sink: Send + 'static {
    type Line: Send + 'static;

    /// Writes one line whole; may block.
    fn write(&mut self, line: Self::Line) -> io::Result<()>;

    /// Makes sure that what was written has arrived, where that can be known; may block. Called before every
    /// wait for the next line.
    fn confirm(&mut self) {}

    /// A line that says how many others were lost.
    fn loss(&self, lost: u64) -> Self::Line;

    /// Waits until the reader, journald say, has taken what was written, where that matters and can be known; not
    /// for long.
    fn settle(&self) {}
}

/// The producers' end.
pub(super) struct Queue<L> {
    /// Without a bound of its own, which would take the memory of all places from the start.
    messages: Sender<Message<L>>,
    /// How many lines are in it.
    waiting: Arc<AtomicUsize>,
    /// The memory of the lines in it.
    filled: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

enum Message<L> {
    Line { line: L, size: usize },
    Flush(Flush),
}

/// Answered when everything before it has been written, and, to `settle`, the reader has taken it.
struct Flush {
    done: SyncSender<()>,
    settle: bool,
}

/// Leaves a flush in the queue, whatever its type of lines.
type LeaveFlush = dyn Fn(Flush) + Send + Sync;

/// The queue of this process: there is one log.
static QUEUE: OnceLock<Box<LeaveFlush>> = OnceLock::new();

/// Lines that were lost since the start.
static LOST: AtomicU64 = AtomicU64::new(0);

// === impl Queue ===

impl<L: Send + 'static> Queue<L> {
    /// Starts the writer's thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(sink: impl Sink<Line = L>) -> io::Result<Self> {
        let (messages, received) = channel();
        let (waiting, filled, lost) = Default::default();
        let queue = Self { messages, waiting, filled, lost };
        let Self { waiting, filled, lost, .. } = queue.clone();
        let writer = Writer { sink, received, waiting, filled, lost };
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok(queue)
    }

    /// Makes this the queue that [`flush`] waits for.
    pub(super) fn install(&self) {
        let messages = self.messages.clone();
        // Without a writer the flush is dropped, which ends the wait for it.
        let leave = move |flush| drop(messages.send(Message::Flush(flush)));
        // A second log is never installed, so the first stays the one to flush.
        let _ = QUEUE.set(Box::new(leave));
    }

    /// Leaves a line to the writer; `size` is roughly the memory that it takes.
    pub(super) fn push(&self, line: L, size: usize) {
        let filled = self.filled.fetch_add(size, Ordering::Relaxed);
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        if filled.saturating_add(size) > ROOM
            || waiting >= CAPACITY
            || self.messages.send(Message::Line { line, size }).is_err()
        {
            self.filled.fetch_sub(size, Ordering::Relaxed);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<L> Clone for Queue<L> {
    fn clone(&self) -> Self {
        Self {
            messages: self.messages.clone(),
            waiting: Arc::clone(&self.waiting),
            filled: Arc::clone(&self.filled),
            lost: Arc::clone(&self.lost),
        }
    }
}

impl<L> fmt::Debug for Queue<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// How many lines were lost since the start.
#[cfg(feature = "admin")]
pub(crate) fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Counts lines that were lost before they came here.
pub(crate) fn count_lost(lines: u64) {
    LOST.fetch_add(lines, Ordering::Relaxed);
}

/// Waits until what was logged so far has been written, for a second at most.
pub(crate) fn flush() {
    wait(false);
}

/// The same at the end of the process, and waits until the reader has taken it, see [`Sink::settle`].
pub(crate) fn finish() {
    wait(true);
}

fn wait(settle: bool) {
    let Some(leave) = QUEUE.get() else { return };
    let deadline = Instant::now() + FLUSH_TIMEOUT;
    let (done, written) = sync_channel(1);
    leave(Flush { done, settle });
    // The process ends even if this times out.
    let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
}

/// The consumer's end.
struct Writer<S: Sink> {
    sink: S,
    received: Receiver<Message<S::Line>>,
    waiting: Arc<AtomicUsize>,
    filled: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

impl<S: Sink> Writer<S> {
    fn run(mut self) {
        while let Some(message) = self.next() {
            match message {
                Message::Line { line, size } => {
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    if self.sink.write(line).is_err() {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                        LOST.fetch_add(1, Ordering::Relaxed);
                    }
                    self.filled.fetch_sub(size, Ordering::Relaxed);
                }
                Message::Flush(Flush { done, settle }) => {
                    self.sink.confirm();
                    if settle {
                        self.sink.settle();
                    }
                    // The wait for it may have timed out.
                    let _ = done.try_send(());
                }
            }
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let line = self.sink.loss(lost);
                if self.sink.write(line).is_err() {
                    // It cannot be written now, and is tried again after the next line.
                    self.lost.fetch_add(lost, Ordering::Relaxed);
                }
            }
        }
    }

    /// The next message; none if every producer is gone.
    fn next(&mut self) -> Option<Message<S::Line>> {
        self.received.try_recv().ok().or_else(|| {
            self.sink.confirm();
            self.received.recv().ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;

    /// Writes a line once it may.
    struct Slow {
        may: Receiver<()>,
        written: Sender<String>,
    }

    impl Sink for Slow {
        type Line = String;

        fn write(&mut self, line: String) -> io::Result<()> {
            self.may.recv().map_err(io::Error::other)?;
            self.written.send(line).map_err(io::Error::other)
        }

        fn loss(&self, lost: u64) -> String {
            format!("{lost} lost")
        }
    }

    #[test]
    fn what_finds_no_memory_left_is_lost_and_told_and_the_memory_comes_back() {
        let (allow, may) = sync_channel(99);
        let (written, lines) = channel();
        let queue = Queue::start(Slow { may, written }).unwrap();
        for number in 0..6 {
            queue.push(number.to_string(), ROOM / 4);
        }
        for _ in 0..5 {
            allow.send(()).unwrap();
        }
        let line = || lines.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!([line(), line(), line(), line(), line()], ["0", "2 lost", "1", "2", "3"]);
        while queue.filled.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        queue.push("whole".to_owned(), ROOM);
        allow.send(()).unwrap();
        assert_eq!(line(), "whole");
    }
}
