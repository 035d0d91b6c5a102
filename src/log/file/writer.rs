//! The thread that writes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::output::Output;
use super::waiting::Batch;
use super::{Next, Shared, State};

/// How long lines gather while there is traffic.
const PAUSE: Duration = Duration::from_millis(5);

/// How often the path is looked at, and what failed is tried again.
const SECOND: Duration = Duration::from_secs(1);

/// The thread's own.
pub(super) struct Writer<O> {
    shared: Arc<Shared<O>>,
    output: Option<O>,
    batch: Batch,
    /// When the last batch was taken.
    taken: Instant,
    /// When the path was last looked at.
    looked: Instant,
    /// The flushes that are done with this batch.
    covers: u64,
    /// What was told of the file, until it is over.
    trouble: Trouble,
    /// Since when nobody leaves lines any more.
    closed: Option<Instant>,
}

/// What has been told, and is not over.
#[derive(Debug, Default)]
struct Trouble {
    writing: bool,
    opening: bool,
}

/// What to do next.
enum Order<O> {
    /// There is a batch.
    Write,
    /// This file from now on, if any.
    Switch(Option<O>),
    End,
}

// === impl Writer ===

impl<O: Output> Writer<O> {
    pub(super) fn new(shared: Arc<Shared<O>>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            output: None,
            batch: Batch::default(),
            taken: now,
            looked: now,
            covers: 0,
            trouble: Trouble::default(),
            closed: None,
        }
    }

    /// Writes until there is nothing more to come. After a panic it goes on where it was.
    pub(super) fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.write_all())).is_err() {
            // Not at once: it may happen again.
            let state = self.shared.state();
            drop(wait(&self.shared, state, SECOND));
        }
        self.end();
    }

    /// Tells what was never written, before whoever flushes goes on.
    fn end(mut self) {
        let unwritten = self.batch.unwritten();
        let lost = {
            let mut state = self.shared.state();
            let lost = unwritten + state.waiting.lines();
            state.waiting.take(&mut self.batch);
            state.taken = 0;
            lost
        };
        super::tell_last(lost);
        self.shared.state().answered = u64::MAX;
        self.shared.done.notify_all();
    }

    fn write_all(&mut self) {
        loop {
            if self.batch.is_written() {
                match self.order() {
                    Order::Write => {}
                    Order::Switch(output) => {
                        self.switch(output);
                        continue;
                    }
                    Order::End => return,
                }
            }
            self.look();
            match self.write_batch() {
                Ok(()) => self.succeeded(),
                Err(error) => {
                    if !self.failed(&error) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for something to do.
    fn order(&mut self) -> Order<O> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        loop {
            let next = if state.waiting.has_marked() { Next::Stays } else { state.next.take() };
            if let Next::Changes(output) = next {
                return Order::Switch(output);
            }
            let is_urgent = state.asked > state.answered || state.is_closed || state.next.changes();
            let pause = PAUSE.saturating_sub(self.taken.elapsed());
            if state.waiting.is_empty() {
                if state.asked > state.answered {
                    state.answered = state.asked;
                    shared.done.notify_all();
                }
                if state.is_closed {
                    return Order::End;
                }
                state.is_idle = true;
                state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.is_idle = false;
            } else if is_urgent || pause.is_zero() {
                state.waiting.take(&mut self.batch);
                state.taken = self.batch.lines();
                // Unless some of it is for another file.
                if state.waiting.is_empty() {
                    self.covers = state.asked;
                }
                self.taken = Instant::now();
                return Order::Write;
            } else {
                state = wait(&shared, state, pause);
            }
        }
    }

    fn switch(&mut self, mut output: Option<O>) {
        let goes_on = match (&mut output, &self.output) {
            (Some(output), Some(before)) => output.goes_on(before),
            _ => false,
        };
        if !goes_on {
            self.batch.begin_line_again();
        }
        let refused = output.as_mut().and_then(O::refused);
        self.output = output;
        self.trouble.opening = false;
        self.looked = Instant::now();
        if let Some(error) = refused {
            self.tell(&error);
        }
    }

    /// Opens the file anew if its path has another by now, or none, about once a second.
    fn look(&mut self) {
        let Some(output) = &self.output else { return };
        if self.looked.elapsed() < SECOND {
            return;
        }
        self.looked = Instant::now();
        match output.renewed() {
            None => self.trouble.opening = false,
            Some(Ok(renewed)) => {
                self.switch(Some(renewed));
            }
            Some(Err(error)) if !std::mem::replace(&mut self.trouble.opening, true) => {
                tracing::error!(
                    path = %output.path().display(),
                    %error,
                    "the access log's file was moved, and none can be made in its place; lines go on to that one",
                );
            }
            Some(Err(_)) => {}
        }
    }

    fn write_batch(&mut self) -> io::Result<()> {
        let Some(output) = &mut self.output else {
            // There was one before, which did not take them.
            give_up(&mut self.batch);
            return Ok(());
        };
        output.prepare()?;
        while !self.batch.is_written() {
            match output.write(self.batch.next(output.limit())) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.batch.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn succeeded(&mut self) {
        let lost = {
            let mut state = self.shared.state();
            state.waiting.written();
            state.taken = 0;
            if self.covers > state.answered {
                state.answered = self.covers;
                self.shared.done.notify_all();
            }
            state.waiting.take_lost()
        };
        if let Some(output) = &self.output
            && std::mem::take(&mut self.trouble.writing)
        {
            tracing::info!(path = %output.path().display(), "the access log is written again");
        }
        if lost > 0 {
            tracing::warn!(
                lost,
                "requests are missing in the access log's file, which did not take them in time"
            );
        }
    }

    /// Tells of an error, and waits until it is time to try again; answers whether it is to be tried.
    fn failed(&mut self, error: &io::Error) -> bool {
        let has_reader = error.kind() == io::ErrorKind::TimedOut;
        if !has_reader {
            self.tell(error);
        }
        // Not under the lock, for which whoever has a line would wait.
        let unwritten = self.batch.unwritten();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        state.taken = unwritten;
        // A reader may come; a disk that is full now is full for longer than a stop may take.
        if !has_reader && state.asked > state.answered {
            state.answered = state.asked;
            shared.done.notify_all();
        }
        if state.is_closed {
            let since = *self.closed.get_or_insert_with(Instant::now);
            if !has_reader || since.elapsed() >= SECOND {
                return false;
            }
        }
        if !has_reader && !state.next.changes() {
            state = wait(&shared, state, SECOND);
        }
        let Next::Changes(next) = state.next.take() else { return true };
        // What the file did not take goes to the next one, if there is one.
        state.waiting.unmark();
        drop(state);
        self.switch(next);
        true
    }

    /// Tells of an error, once until it is over.
    fn tell(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.trouble.writing, true) {
            return;
        }
        let path = self.output.as_ref().map(|output| output.path().display().to_string());
        tracing::error!(
            path,
            %error,
            "the access log cannot be written; lines wait for it, 16 MiB of them at most ({})",
            remedy(error),
        );
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on its disk, or have log.access_file name another file and reload"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "if it is the unit's sandbox, set LogsDirectory=: see drop-ins/access-file.conf"
        }
        _ => "it is tried again every second; or have log.access_file name another file and reload",
    }
}

fn give_up(batch: &mut Batch) {
    let lost = batch.unwritten();
    if lost > 0 {
        #[cfg(feature = "log")]
        crate::log::count_lost(lost);
        tracing::warn!(
            lost,
            "requests are missing in the access log's file, which did not take them"
        );
    }
    batch.clear();
}

/// Waits until somebody asks for something, a line apart, or the time is over.
fn wait<'s, O>(
    shared: &'s Shared<O>,
    state: MutexGuard<'s, State<O>>,
    time: Duration,
) -> MutexGuard<'s, State<O>> {
    shared.work.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
}
