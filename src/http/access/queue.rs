//! The bounded queue between requests and the one thread that formats their log lines.
//!
//! To format a line costs more than to answer a request. Where every request is logged, a request's task only
//! leaves its record here; a thread makes events of the records, in batches, so that it does not have to be woken
//! for each.
//!
//! Invariants:
//! - A request never waits: a line that finds the queue full is lost, and counted.
//! - A loss is logged as soon as there is room again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Line;

/// How many lines wait at most.
const CAPACITY: usize = 4096;

/// How long a batch gathers while there is traffic.
const BATCH: Duration = Duration::from_millis(5);

/// How long the end of the process waits for the thread.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

enum Message {
    Line(Line),
    /// Answered when every line before it has become an event.
    Flush(SyncSender<()>),
}

/// The queue of this process; its thread is started when the first request is to be logged. `None`: the thread
/// could not be started.
static QUEUE: OnceLock<Option<SyncSender<Message>>> = OnceLock::new();

/// Lines that were lost since the last line that tells how many.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Leaves a line to the thread.
pub(super) fn push(line: Line) {
    match QUEUE.get_or_init(start) {
        Some(queue) => {
            if queue.try_send(Message::Line(line)).is_err() {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
        None => line.log(),
    }
}

/// Waits until every line so far has become an event, for a second at most.
pub(super) fn flush() {
    let Some(Some(queue)) = QUEUE.get() else { return };
    let deadline = Instant::now() + FLUSH_TIMEOUT;
    let (done, written) = sync_channel(1);
    while queue.try_send(Message::Flush(done.clone())).is_err() {
        if Instant::now() >= deadline {
            return;
        }
        thread::sleep(BATCH);
    }
    // The process ends even if this times out.
    let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
}

fn start() -> Option<SyncSender<Message>> {
    let (queue, received) = sync_channel(CAPACITY);
    let thread = thread::Builder::new().name("log-access".to_owned());
    match thread.spawn(move || run(&received)) {
        Ok(_) => Some(queue),
        Err(error) => {
            tracing::warn!(%error, "no thread for the access log; requests word their lines themselves");
            None
        }
    }
}

fn run(received: &Receiver<Message>) {
    while let Ok(first) = received.recv() {
        handle(first);
        loop {
            thread::sleep(BATCH);
            let mut batch = received.try_iter().peekable();
            if batch.peek().is_none() {
                break;
            }
            batch.for_each(handle);
            tell_loss();
        }
    }
}

fn handle(message: Message) {
    match message {
        Message::Line(line) => line.log(),
        // `flush` may have timed out.
        Message::Flush(done) => drop(done.try_send(())),
    }
}

fn tell_loss() {
    let lost = LOST.swap(0, Ordering::Relaxed);
    if lost > 0 {
        #[cfg(feature = "log")]
        crate::log::count_lost(lost);
        tracing::warn!(lost, "requests were not logged: the log was too slow");
    }
}
