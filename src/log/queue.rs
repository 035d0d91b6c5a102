//! The bounded queue between whoever logs and the one thread that writes.
//!
//! Invariants:
//! - Logging never waits: a line that finds the queue full is lost, and counted.
//! - A loss is told, in the log, as soon as there is room again. What cannot be written is lost, too.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// How many lines wait at most.
const CAPACITY: usize = 4096;

/// How long the end of the process waits for the log.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Where lines end up.
pub(super) trait Sink: Send + 'static {
    /// Writes one line whole; may block.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;

    /// A line of its own that tells of `lost` others.
    fn loss(&self, lost: u64) -> Vec<u8>;

    /// Waits until whoever reads has taken what was written, where that matters and can be known; not
    /// for long.
    fn settle(&self) {}
}

/// The producers' end.
#[derive(Clone)]
pub(super) struct Queue {
    messages: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it has been written, and, to `settle`, whoever reads has taken it.
    Flush {
        done: SyncSender<()>,
        settle: bool,
    },
}

/// The queue of this process: there is one log.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Lines that were lost since the start.
static LOST: AtomicU64 = AtomicU64::new(0);

// === impl Queue ===

impl Queue {
    /// Starts the writer's thread.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start(sink: impl Sink) -> io::Result<Self> {
        let (messages, received) = sync_channel(CAPACITY);
        let lost = Arc::<AtomicU64>::default();
        let queue = Self { messages, lost: Arc::clone(&lost) };
        let writer = Writer { sink, received, lost };
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok(queue)
    }

    /// Makes this the queue that [`flush`] waits for.
    pub(super) fn install(&self) {
        // A second log is never installed, so the first stays the one to flush.
        let _ = QUEUE.set(self.clone());
    }

    pub(super) fn push(&self, line: Vec<u8>) {
        if self.messages.try_send(Message::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Queue {
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

/// The same at the end of the process, of which the journal wants to know more than that.
pub(crate) fn finish() {
    wait(true);
}

fn wait(settle: bool) {
    let Some(queue) = QUEUE.get() else { return };
    let deadline = Instant::now() + FLUSH_TIMEOUT;
    let (done, written) = sync_channel(1);
    let mut message = Message::Flush { done, settle };
    while let Err(TrySendError::Full(back)) = queue.messages.try_send(message) {
        if Instant::now() >= deadline {
            return;
        }
        message = back;
        thread::sleep(Duration::from_millis(1));
    }
    // Late or never: the process ends all the same.
    let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
}

/// The consumer's end.
struct Writer<S> {
    sink: S,
    received: Receiver<Message>,
    lost: Arc<AtomicU64>,
}

impl<S: Sink> Writer<S> {
    fn run(mut self) {
        while let Ok(message) = self.received.recv() {
            match message {
                Message::Line(line) => {
                    if self.sink.write(&line).is_err() {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                        LOST.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Message::Flush { done, settle } => {
                    if settle {
                        self.sink.settle();
                    }
                    // Whoever asked may have given up.
                    let _ = done.try_send(());
                }
            }
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let line = self.sink.loss(lost);
                if self.sink.write(&line).is_err() {
                    // There is nowhere to tell it now; with the next line there may be.
                    self.lost.fetch_add(lost, Ordering::Relaxed);
                }
            }
        }
    }
}
