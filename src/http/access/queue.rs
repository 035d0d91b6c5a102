//! The bounded queue between requests and the one thread that words their log lines.
//!
//! To word a line costs more than to answer a request. Where every request is logged, all that it does
//! itself is to leave what is known of it here; a thread makes events of that, in batches, so that it
//! does not have to be woken for each.
//!
//! Invariants:
//! - A request never waits: what finds the queue full is lost, and counted.
//! - A loss is told, in the log, as soon as there is room again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Line;

/// How many requests wait at most.
const CAPACITY: usize = 4096;

/// How long a batch gathers while there is traffic.
const BATCH: Duration = Duration::from_millis(5);

/// How long the end of the process waits for the thread.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

enum Message {
    Line(Line),
    /// Answered when everything before it has become events.
    Flush(SyncSender<()>),
}

/// The queue of this process; its thread is started when the first request is to be logged. `None`: there
/// can be no more threads.
static QUEUE: OnceLock<Option<SyncSender<Message>>> = OnceLock::new();

/// Requests that were not logged and not told of yet.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Leaves a request to the thread.
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

/// Waits until what was left so far has become events, for a second at most.
pub(crate) fn flush() {
    let Some(Some(queue)) = QUEUE.get() else { return };
    let deadline = Instant::now() + FLUSH_TIMEOUT;
    let (done, written) = sync_channel(1);
    while queue.try_send(Message::Flush(done.clone())).is_err() {
        if Instant::now() >= deadline {
            return;
        }
        thread::sleep(BATCH);
    }
    // Late or never: the process ends all the same.
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
        // Whoever asked may have given up.
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
