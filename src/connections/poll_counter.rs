//! Whether a task blocks a thread of the runtime: it stays in one poll.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// How often the polls of a task have begun and ended: odd while it is being polled.
#[derive(Debug, Default)]
pub(crate) struct Polled(AtomicU32);

/// How often the polls of several tasks have begun, and how often they have ended.
#[cfg(feature = "http2")]
#[derive(Debug, Default)]
pub(crate) struct PolledTogether {
    begun: AtomicU32,
    ended: AtomicU32,
}

pin_project! {
    /// A task whose polls are counted.
    pub(crate) struct Counted<F, P> {
        #[pin]
        task: F,
        counter: Arc<P>,
    }
}

// === impl Polled ===

impl Polled {
    /// The number of the poll that the task is in. A task that is in the same poll at two looks has not returned
    /// from it in between.
    pub(crate) fn current(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|count| count % 2 == 1)
    }

    /// Only the task itself counts.
    fn count(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

// === impl PolledTogether ===

#[cfg(feature = "http2")]
impl PolledTogether {
    /// How many polls had ended before one that is in progress. If that is the same at two looks, none has in between.
    pub(crate) fn current(&self) -> Option<u32> {
        let ended = self.ended.load(Ordering::Relaxed);
        Some(ended).filter(|ended| self.begun.load(Ordering::Relaxed) != *ended)
    }

    /// Counts what one of the tasks does in a poll.
    pub(crate) fn count<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let output = poll();
        self.ended.fetch_add(1, Ordering::Relaxed);
        output
    }
}

// === impl Counted ===

impl<F, P> Counted<F, P> {
    pub(crate) fn new(task: F, counter: Arc<P>) -> Self {
        Self { task, counter }
    }
}

impl<F, P> Future for Counted<F, P>
where
    F: Future,
    P: AsRef<Polled>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = (**this.counter).as_ref();
        polled.count();
        let output = this.task.poll(cx);
        polled.count();
        output
    }
}
