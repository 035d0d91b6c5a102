//! The process that holds one machine and takes it away with all that belongs to it.
//!
//! It is a shell outside of the machine ([keeper.sh](keeper.sh)) that waits for the end of a pipe. The test
//! process holds the other end, so the kernel tells the keeper whichever way the test process ends.
//! A parent-death signal would not do: it fires when the *thread* ends that booted the machine.

use std::{
    fs::File,
    os::unix::{fs::FileExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
};

use super::{
    host::{BINARY, CHECKOUT, Host},
    wait::{Deadline, Lines, PATIENCE},
};

/// A machine whose root is ready, and whose PID 1 waits for the word to become systemd.
#[derive(Debug)]
pub(crate) struct Keeper {
    shell: Child,
    /// Its end is the end of the machine.
    lifeline: Option<ChildStdin>,
    /// What the scripts, and systemd before it has a journal, say: a file, because no one empties it.
    console: File,
    cgroup: PathBuf,
    pid: u32,
}

// === impl Keeper ===

impl Keeper {
    /// Makes a machine, and says what it lacks if it cannot.
    pub(crate) fn start(host: &Host) -> Result<Self, String> {
        let deadline = Deadline::after(PATIENCE);
        let console =
            tempfile::tempfile().map_err(|error| format!("no temporary file: {error}"))?;
        let scripts = [include_str!("keeper.sh"), include_str!("machine.sh")];
        let mut shell = Command::new("sh")
            .args(["-c", scripts[0], "keeper"])
            .arg(&host.cgroups)
            .arg(scripts[1])
            .arg(&host.root)
            .args([BINARY, CHECKOUT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(console.try_clone().map_err(|error| error.to_string())?)
            // An interrupt at the terminal is for the test process; the keeper follows.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot start sh: {error}"))?;
        let lifeline = shell.stdin.take();
        let mut lines = Lines::new(shell.stdout.take().expect("the shell's output is a pipe"));
        let mut keeper = Self { shell, lifeline, console, cgroup: PathBuf::new(), pid: 0 };
        let mut line = || lines.next(deadline).ok().flatten();
        if let (Some(cgroup), Some(Ok(pid))) = (line(), line().map(|pid| pid.parse())) {
            keeper.cgroup = cgroup.into();
            keeper.pid = pid;
            return Ok(keeper);
        }
        // Only its end makes sure that everything has been said.
        let ended = keeper.take_away();
        Err(format!("{}{}", keeper.console(), ended.err().unwrap_or_default()))
    }

    /// PID 1 of the machine, as seen from outside.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The keeper's own process.
    pub(crate) fn id(&self) -> u32 {
        self.shell.id()
    }

    /// The machine's cgroup, as seen from outside.
    pub(crate) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// What was said outside of the journal.
    pub(crate) fn console(&self) -> String {
        let length = self.console.metadata().map_or(0, |file| file.len());
        let mut text = vec![0; usize::try_from(length).unwrap_or_default()];
        // Not from a position, which the writers share. Best effort: the message is about something worse.
        let _ = self.console.read_exact_at(&mut text, 0);
        String::from_utf8_lossy(&text).trim_end().to_owned()
    }

    /// Takes the machine away.
    pub(crate) fn end(mut self) -> Result<(), String> {
        self.take_away()
    }

    fn take_away(&mut self) -> Result<(), String> {
        if self.lifeline.take().is_none() {
            return Ok(());
        }
        match Deadline::after(PATIENCE).wait_for_exit(&mut self.shell) {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                Err(format!("the machine's keeper ended with {status}: {}", self.console()))
            }
            Err(late) => Err(format!("{late}: the keeper {} does not end", self.shell.id())),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Err(error) = self.take_away() {
            assert!(thread::panicking(), "{error}");
            eprintln!("{error}");
        }
    }
}
