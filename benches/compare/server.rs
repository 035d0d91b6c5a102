//! A server that runs: what it uses of processor and memory.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use crate::support::{Child, SERVER, Trouble};

/// A server on a processor of its own.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) port: u16,
}

// === impl Server ===

impl Server {
    pub(crate) fn start(mut command: Command, port: u16) -> Result<Self, Trouble> {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: Child::start(command, SERVER)?, port })
    }

    /// How long its processes have been on a processor.
    pub(crate) fn time(&self) -> Duration {
        self.processes().into_iter().map(|pid| time(pid, |_| true)).sum()
    }

    /// Its resident memory in bytes, that of all its processes.
    pub(crate) fn memory(&self) -> Result<u64, Trouble> {
        self.processes().into_iter().map(|pid| kibibytes(pid, "smaps_rollup", "Rss:")).sum()
    }

    /// Lets [`Self::peak`] begin anew.
    pub(crate) fn forget_peak(&self) -> Result<(), Trouble> {
        for pid in self.processes() {
            // proc_pid_clear_refs(5): 5 is the peak of the resident memory.
            fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        }
        Ok(())
    }

    /// The most that its resident memory was, in bytes; of all its processes, each for itself.
    pub(crate) fn peak(&self) -> Result<u64, Trouble> {
        self.processes().into_iter().map(|pid| kibibytes(pid, "status", "VmHWM:")).sum()
    }

    /// It and its children; nginx has a worker.
    fn processes(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        [pid].into_iter().chain(children).collect()
    }
}

/// A line of a file about a process, in bytes.
fn kibibytes(pid: u32, file: &str, name: &str) -> Result<u64, Trouble> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.map(|kibibytes| kibibytes * 1024).ok_or_else(|| format!("no {name}").into())
}

/// How long those of a process's threads have been on a processor whose name `counts`.
pub(crate) fn time(pid: u32, counts: impl Fn(&str) -> bool) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    // A thread may end while it is looked at.
    let time = |thread: fs::DirEntry| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let statistics = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds = statistics.split_whitespace().next()?.parse().ok()?;
        counts(name.trim_end()).then_some(Duration::from_nanos(nanoseconds))
    };
    threads.filter_map(time).sum()
}
