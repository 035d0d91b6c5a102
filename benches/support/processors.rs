//! Which processor is whose: the server has one for itself, the load generator another.

use std::{io, sync::OnceLock};

use rustix::{
    process::setpriority_process,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// One of the processors that this benchmark may use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Processor {
    First,
    Last,
}

pub(crate) const SERVER: Processor = Processor::First;
pub(crate) const LOAD: Processor = Processor::Last;

/// Before what else the machine does at the same time, if that is allowed; as nice(1) counts.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(crate) enum Priority {
    /// Does not give way to its server either.
    Client = -18,
    Child = -8,
}

// === impl Processor ===

impl Processor {
    /// Both, as they were before this process took one of them; call it before any [`Self::take`].
    pub(crate) fn available() -> usize {
        allowed().len()
    }

    /// As the kernel numbers it.
    pub(crate) fn number(self) -> usize {
        let number = match self {
            Self::First => allowed().first(),
            Self::Last => allowed().last(),
        };
        *number.expect("this runs somewhere")
    }

    /// Keeps this thread, and what it starts, on this processor.
    pub(crate) fn take(self, priority: Priority) -> io::Result<()> {
        // Whoever may not be preferred is measured with more noise.
        let _ = setpriority_process(None, priority as i32);
        let mut set = CpuSet::new();
        set.set(self.number());
        Ok(sched_setaffinity(None, &set)?)
    }
}

fn allowed() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(None).expect("a thread may ask where it may run");
        (0..CpuSet::MAX_CPU).filter(|number| set.is_set(*number)).collect()
    })
}
