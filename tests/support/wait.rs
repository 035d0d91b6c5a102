//! Waiting that ends: for descriptors, for lines, for processes.

use std::{
    fmt,
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

/// How long anything may take that should take milliseconds: long enough for a busy CI machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A point in time after which waiting has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

/// The deadline came before what was waited for.
#[derive(Debug)]
pub(crate) struct Late;

/// Reads the lines of a child's output without ever waiting past a deadline.
pub(crate) struct Lines {
    output: File,
    unread: Vec<u8>,
}

// === impl Deadline ===

impl Deadline {
    /// The deadline that comes after `time`.
    pub(crate) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Whether there is no time left.
    pub(crate) fn is_over(self) -> bool {
        Instant::now() >= self.0
    }

    /// Waits until at least one descriptor can be read or has ended, and says which.
    pub(crate) fn wait(self, descriptors: &[BorrowedFd<'_>]) -> Result<Vec<bool>, Late> {
        let mut polled: Vec<_> = descriptors
            .iter()
            .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
            .collect();
        loop {
            let left = self.0.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).expect("test deadlines are minutes at most");
            match poll(&mut polled, Some(&left)) {
                Ok(0) => return Err(Late),
                Ok(_) => return Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
                Err(Errno::INTR) => {}
                Err(error) => panic!("cannot poll: {error}"),
            }
        }
    }

    /// Waits for the end of a child, and reaps it.
    pub(crate) fn wait_for_exit(self, child: &mut Child) -> Result<ExitStatus, Late> {
        // A child that has not been reaped keeps its pid.
        self.wait(&[pidfd(child.id()).expect("a child has a pid").as_fd()])?;
        Ok(child.wait().expect("a child can be waited for"))
    }
}

/// Looks at a condition that sends no event until it holds; where there is one, wait for that.
///
/// # Panics
/// If `what` does not come true within `limit`.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut is_true: impl FnMut() -> bool) {
    let deadline = Deadline::after(limit);
    while !is_true() {
        assert!(!deadline.is_over(), "waited {limit:?} in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A descriptor that can be read once the process has ended.
pub(crate) fn pidfd(pid: u32) -> Result<OwnedFd, Errno> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pidfd_open(pid.ok_or(Errno::SRCH)?, PidfdFlags::empty())
}

// === impl Late ===

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

// === impl Lines ===

impl Lines {
    pub(crate) fn new(output: impl Into<OwnedFd>) -> Self {
        let output = File::from(output.into());
        let unread = Vec::new();
        Self { output, unread }
    }

    /// The next line without its end, or `None` when the output has ended.
    pub(crate) fn next(&mut self, deadline: Deadline) -> Result<Option<String>, Late> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            deadline.wait(&[self.output.as_fd()])?;
            let mut bytes = [0; 16 * 1024];
            match self.output.read(&mut bytes).expect("a pipe can be read") {
                0 => return Ok(None),
                count => self.unread.extend_from_slice(&bytes[..count]),
            }
        }
    }
}
