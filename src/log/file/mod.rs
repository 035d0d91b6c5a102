//! Lines that are appended to a file by a thread of their own, none of which is lost while there is room.
//!
//! Whoever has a line leaves it here, formatted; the thread writes what has gathered, every 5 ms while there is
//! traffic.
//!
//! Invariants:
//! - Leaving a line never waits. One that finds 16 MiB waiting is lost, which is counted and told.
//! - A write has whole lines. A pipe gets 4096 bytes at once at most, which it takes in one piece.
//! - What cannot be written, on a full disk say, waits and is tried again every second, and at once in another file.
//!   The first error is told, and that it is over. A file that cannot be opened yet is tried in the same way.
//! - Half a line that somebody else left is ended before the first write, and one of this log is completed, also where a
//!   reload has opened the same file anew.
//! - The path is looked at once a second before something is written: renamed, the file is made anew.
//! - A panic of the thread loses no line: the thread goes on where it was.

mod output;
mod waiting;
mod writer;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

pub(crate) use self::output::OpenFile;
use self::output::Output;
use self::waiting::{Pushed, Waiting};
use self::writer::Writer;

/// How many bytes of lines wait at most.
const ROOM: usize = 16 << 20;

/// How long the end of the process waits for the file.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an upgrade waits while no request is answered, if a flush before that has shown that nobody reads.
const STUCK_TIMEOUT: Duration = Duration::from_millis(20);

/// The log in a file. The thread ends, once everything is written, when this is dropped.
pub(crate) struct FileLog<O = OpenFile>(Arc<Shared<O>>);

/// How lines are to be formatted for the file that is written to now. Another file makes another form, even where the
/// format is the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Form(u32);

/// What became of a line that was left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Left {
    /// It is going to be written, or is lost and counted.
    Taken,
    /// There is another file by now: it has to be formatted anew.
    Outdated,
}

/// What whoever has lines and the thread share.
struct Shared<O> {
    form: AtomicU32,
    state: Mutex<State<O>>,
    /// The thread waits for it.
    work: Condvar,
    /// Whoever flushes waits for it.
    done: Condvar,
}

struct State<O> {
    waiting: Waiting,
    /// How many lines are taken, and not written.
    taken: u64,
    /// The file for what is not marked in `waiting`.
    next: Next<O>,
    /// How many flushes were asked for, and how many are done.
    asked: u64,
    answered: u64,
    /// The thread waits until there is a line.
    is_idle: bool,
    is_closed: bool,
}

/// Whether another file takes the place of the one that is written to.
enum Next<O> {
    Stays,
    /// This one does, or none.
    Changes(Option<O>),
}

/// The logs of this process, which its end flushes.
static ALL: Mutex<Vec<Weak<dyn Flush>>> = Mutex::new(Vec::new());

trait Flush: Send + Sync {
    /// Waits until every line so far is written; answers how many are not.
    fn flush(&self, deadline: Instant) -> u64;
}

// === impl Form ===

impl Form {
    /// The format that came with the file; none where there is no file.
    pub(crate) fn format(self) -> Option<u8> {
        let [format, ..] = self.0.to_le_bytes();
        format.checked_sub(1)
    }

    /// What follows this one.
    fn next(self, format: Option<u8>) -> Self {
        let number = (self.0 >> 8).wrapping_add(1) << 8;
        Self(number | u32::from(format.map_or(0, |format| format + 1)))
    }
}

// === impl FileLog ===

impl<O: Output> FileLog<O> {
    /// Starts the thread; there is no file yet.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            form: AtomicU32::new(0),
            state: Mutex::new(State {
                waiting: Waiting::new(ROOM),
                taken: 0,
                next: Next::Stays,
                asked: 0,
                answered: 0,
                is_idle: false,
                is_closed: false,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let writer = Writer::new(Arc::clone(&shared));
        thread::Builder::new().name("log-file".to_owned()).spawn(move || writer.run())?;
        let log: Weak<dyn Flush> = Arc::downgrade(&shared) as Weak<dyn Flush>;
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|log| log.strong_count() > 0);
        all.push(log);
        drop(all);
        Ok(Self(shared))
    }

    /// How a line has to be formatted now.
    pub(crate) fn form(&self) -> Form {
        self.0.form()
    }

    /// Leaves a line, its end included, that was formatted for `form`.
    pub(crate) fn push(&self, form: Form, line: &[u8]) -> Left {
        let mut state = self.0.state();
        if form != self.form() {
            return Left::Outdated;
        }
        let pushed = state.waiting.push(line);
        let wakes = std::mem::take(&mut state.is_idle);
        drop(state);
        if wakes {
            self.0.work.notify_one();
        }
        if pushed != Pushed::Waits {
            #[cfg(feature = "log")]
            crate::log::count_lost(1);
        }
        if pushed == Pushed::LostFirst {
            tracing::warn!(
                "the access log's file does not take lines in time; requests are missing in it from now on"
            );
        }
        Left::Taken
    }

    /// Has the lines that come from now on go to another file, or nowhere. Those before go to the file before, if that
    /// takes them.
    pub(crate) fn switch(&self, next: Option<(O, u8)>) {
        let (output, format) = next.unzip();
        let mut state = self.0.state();
        let form = self.form().next(format);
        self.0.form.store(form.0, Ordering::Release);
        // Of two in a row nothing goes to the first.
        if !state.next.changes() {
            state.waiting.mark();
        }
        state.next = Next::Changes(output);
        state.is_idle = false;
        drop(state);
        self.0.work.notify_one();
    }
}

impl<O> Drop for FileLog<O> {
    fn drop(&mut self) {
        self.0.state().is_closed = true;
        self.0.work.notify_one();
    }
}

impl<O> fmt::Debug for FileLog<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLog").finish_non_exhaustive()
    }
}

// === impl Next ===

impl<O> Next<O> {
    fn changes(&self) -> bool {
        matches!(self, Self::Changes(_))
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Stays)
    }
}

// === impl Shared ===

impl<O> Shared<O> {
    fn form(&self) -> Form {
        Form(self.form.load(Ordering::Acquire))
    }

    /// A panic of the thread leaves it in order: nothing that may panic is done under the lock.
    fn state(&self) -> MutexGuard<'_, State<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O: Send> Flush for Shared<O> {
    fn flush(&self, deadline: Instant) -> u64 {
        let mut state = self.state();
        state.asked += 1;
        let asked = state.asked;
        self.work.notify_one();
        while state.answered < asked {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.done.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.taken + state.waiting.lines()
    }
}

/// Waits until what was left so far is written, for a second at most, and tells what is not. A file that cannot be
/// written to is not waited for.
pub(crate) fn flush() {
    flush_within(FLUSH_TIMEOUT);
}

/// Like [`flush`], for so long at most.
pub(crate) fn flush_within(timeout: Duration) {
    tell_last(flush_all(Instant::now() + timeout));
}

/// Waits like [`flush`], before an upgrade holds up requests; answers how long that may wait for what comes until then.
pub(crate) fn settle() -> Duration {
    let deadline = Instant::now() + FLUSH_TIMEOUT;
    flush_all(deadline);
    if Instant::now() < deadline { FLUSH_TIMEOUT } else { STUCK_TIMEOUT }
}

fn flush_all(deadline: Instant) -> u64 {
    let all: Vec<_> = {
        let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    all.iter().map(|log| log.flush(deadline)).sum()
}

fn tell_last(lost: u64) {
    if lost > 0 {
        tracing::error!(lost, "the access log's file does not take its last lines");
    }
}

#[cfg(test)]
mod tests;
