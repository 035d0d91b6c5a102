//! Servers and load generators: children that do not outlive the benchmark.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    process::{self, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process, set_parent_process_death_signal},
    thread::gettid,
};

use super::{
    Trouble,
    processors::{Priority, Processor},
};

/// A child that is ended when it is dropped, or when the thread that started it ends: by SIGTERM, at
/// which nginx takes its worker along.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    child: process::Child,
}

/// How long a child may take to end.
const PATIENCE: Duration = Duration::from_secs(3);

// === impl Child ===

impl Child {
    /// Starts `command` on a processor. Nothing of this process's environment configures it.
    pub(crate) fn start(mut command: Command, processor: Processor) -> Result<Self, Trouble> {
        command.stdin(Stdio::null());
        Self::start_with_input(command, processor)
    }

    /// The same for one whose standard input `command` has set.
    pub(crate) fn start_with_input(
        mut command: Command,
        processor: Processor,
    ) -> Result<Self, Trouble> {
        let name = command.get_program().to_string_lossy().into_owned();
        for (variable, _) in env::vars_os() {
            let text = variable.to_string_lossy();
            if ["LOCKSTEPD_", "LISTEN_", "GO"].iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&variable);
            }
        }
        command.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM");
        let prepare = move || {
            set_parent_process_death_signal(Some(Signal::TERM))?;
            processor.take(Priority::Child)
        };
        // What the closure needs to know is found out before the fork.
        Processor::available();
        #[expect(unsafe_code, reason = "between fork and exec")]
        // SAFETY: it makes two system calls, and neither allocates nor takes a lock.
        unsafe {
            command.pre_exec(prepare);
        }
        let child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { name, child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, if that is a pipe; to be taken once.
    pub(crate) fn stdin(&mut self) -> Option<process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, to be read once.
    pub(crate) fn stdout(&mut self) -> Option<process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Lets it come before everything that is not as urgent.
    pub(crate) fn come_first(&self) -> Result<(), Trouble> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.id()))?;
        let children =
            children.split_whitespace().map(str::parse).collect::<Result<Vec<_>, _>>()?;
        let mut processes = [self.id()].into_iter().chain(children);
        // With all their threads.
        processes.try_for_each(|id| chrt(&["--all-tasks", "--fifo", "--pid", "1", &id.to_string()]))
    }

    pub(crate) fn terminate(&self) {
        // It has not been waited for, so the number is still its own.
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let _ = kill_process(pid.expect("a child has a number"), Signal::TERM);
    }

    /// Tells whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits for its end, for `limit` at most.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Trouble> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!("{} did not end within {limit:?}", self.name).into());
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Gives this thread a priority above everything that is not as urgent.
pub(crate) fn come_first() -> Result<(), Trouble> {
    chrt(&["--fifo", "--pid", "1", &gettid().to_string()])
}

/// Says how urgent something is.
fn chrt(arguments: &[&str]) -> Result<(), Trouble> {
    let status = Command::new("chrt").args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("chrt: {status}").into()) }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.terminate();
        }
        // Whether it did or not; it may be in the middle of something.
        let _ = self.wait(PATIENCE);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
