//! What a command answered, had within a bounded time.

use std::{
    fmt,
    io::{ErrorKind, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::ExitStatusExt,
    },
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::io::ioctl_fionbio;

use super::wait::{Deadline, pidfd};

/// What a command inside a machine answered.
#[derive(Clone, Debug)]
#[must_use = "a command may have failed: call ok()"]
pub(crate) struct Output {
    /// The exit code; 128 and the signal's number after a signal, as shells have it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    command: String,
}

/// A command that had to be killed, with what it had said by then.
#[derive(Debug)]
pub(crate) struct Hung {
    limit: Duration,
    output: Output,
}

/// One end of a pipe that is being emptied.
struct Drain<R> {
    pipe: Option<R>,
    bytes: Vec<u8>,
}

// === impl Output ===

impl Output {
    /// Runs `command` (named `name` in messages) and collects what it says, for `limit` at most.
    ///
    /// Waits for the command itself, not for background processes that hold its output open.
    pub(crate) fn of(name: &str, mut command: Command, limit: Duration) -> Result<Self, Hung> {
        let deadline = Deadline::after(limit);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let exit = pidfd(child.id()).expect("a child that was not reaped has a pid");
        let mut stdout = Drain::new(child.stdout.take());
        let mut stderr = Drain::new(child.stderr.take());

        let hung = loop {
            let open = [stdout.descriptor(), stderr.descriptor()];
            let mut waiting = vec![exit.as_fd()];
            waiting.extend(open.into_iter().flatten());
            let ready = deadline.wait(&waiting);
            stdout.empty();
            stderr.empty();
            match ready {
                Ok(ready) if ready[0] => break false,
                Ok(_) => {}
                Err(_late) => {
                    child.kill().expect("a child can be killed");
                    break true;
                }
            }
        };
        let status = child.wait().expect("a child can be waited for");
        // Whatever was said between the last look and the end is still in the pipes.
        stdout.empty();
        stderr.empty();
        let output = Self {
            code: exit_code(status),
            stdout: stdout.text(),
            stderr: stderr.text(),
            command: name.to_owned(),
        };
        if hung { Err(Hung { limit, output }) } else { Ok(output) }
    }

    /// The standard output of a command that succeeded.
    ///
    /// # Panics
    /// With everything it said if it did not.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.code == 0, "{self}");
        self.stdout
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, stdout, stderr, command } = self;
        writeln!(f, "`{command}` answered {code}")?;
        writeln!(f, "--- stdout\n{}", stdout.trim_end())?;
        write!(f, "--- stderr\n{}", stderr.trim_end())
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .expect("a process ends with a code or by a signal")
}

// === impl Hung ===

impl fmt::Display for Hung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, output } = self;
        writeln!(f, "`{}` hung; killed after {limit:?}", output.command)?;
        write!(f, "{output}")
    }
}

// === impl Drain ===

impl<R: Read + AsFd> Drain<R> {
    fn new(pipe: Option<R>) -> Self {
        let pipe = pipe.expect("the child was given a pipe");
        ioctl_fionbio(&pipe, true).expect("a pipe can be made non-blocking");
        let bytes = Vec::new();
        Self { pipe: Some(pipe), bytes }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there, and closes the pipe at its end.
    fn empty(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read_to_end(&mut self.bytes) {
            Ok(_) => self.pipe = None,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("cannot read a pipe: {error}"),
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
