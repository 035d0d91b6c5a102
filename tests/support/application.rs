//! The application behind the proxy (`tests/programs/application`) as a child of the test.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    daemon::example,
    wait::{Deadline, Lines, PATIENCE, wait_until},
};

/// An application that listens; it is killed if the test does not wait for its end.
///
/// ```ignore
/// let executed = directory.path().join("executed");
/// let application = Application::start("unix:/…/app.sock", &executed, &["--graceful"]);
/// application.kill();
/// let application = Application::start("unix:/…/app.sock", &executed, &[]);
/// assert_eq!(executed_twice(&executed), [""; 0]);
/// ```
pub(crate) struct Application {
    child: Child,
    lines: Lines,
    address: String,
    executed: PathBuf,
}

/// A request that the application has executed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Executed {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) length: u64,
}

// === impl Application ===

impl Application {
    /// Starts it on `unix:PATH` or `IP:PORT`, and waits until it listens. What it executes is added to a file.
    #[track_caller]
    pub(crate) fn start(address: &str, executed: &Path, options: &[&str]) -> Self {
        Self::program("application", address, executed, options)
    }

    /// The same of another program.
    #[track_caller]
    pub(crate) fn program(name: &str, address: &str, executed: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(example(name));
        command.arg(address).arg(executed).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the application is built and can be executed");
        let mut lines = Lines::new(child.stdout.take().expect("nobody else has taken it"));
        let line = lines.next(Deadline::after(PATIENCE)).expect("it says that it listens");
        let line = line.unwrap_or_else(|| panic!("it cannot listen on {address}"));
        let address =
            line.strip_prefix("listening on ").expect("that is its first line").to_owned();
        Self { child, lines, address, executed: executed.to_owned() }
    }

    /// Where it listens: `unix:PATH` or `IP:PORT`, with the port that the kernel found.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// All that it and those before it have executed into the same file, in order.
    #[track_caller]
    pub(crate) fn executed(&self) -> Vec<Executed> {
        executed(&self.executed)
    }

    /// The IDs of those requests.
    #[track_caller]
    pub(crate) fn executed_ids(&self) -> Vec<String> {
        self.executed().into_iter().map(|request| request.id).collect()
    }

    /// Waits until it has read a request with this ID.
    #[track_caller]
    pub(crate) fn executes(&self, id: &str) {
        wait_until("it is executed", PATIENCE, || self.executed_ids().iter().any(|it| it == id));
    }

    /// Waits for its word that the client of an endless answer has left: `/hang 7`.
    #[track_caller]
    pub(crate) fn gone(&mut self) -> String {
        let line = self.lines.next(Deadline::after(PATIENCE)).expect("it says that a client left");
        let line = line.expect("it is alive");
        line.strip_prefix("gone ").expect("it says nothing else").to_owned()
    }

    /// `Signal::STOP` lets connections and requests queue up unread.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has a pid"), signal).expect("it has not been waited for");
    }

    /// Kills it, and waits until it is gone with all its connections.
    #[track_caller]
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
        self.end();
    }

    /// Asks it to stop, and waits for its exit code: 0 if it is graceful, else 143.
    #[track_caller]
    pub(crate) fn stop(self) -> i32 {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Waits for its end: the exit code, or 128 and the signal's number.
    #[track_caller]
    pub(crate) fn end(mut self) -> i32 {
        let status = Deadline::after(PATIENCE).wait_for_exit(&mut self.child);
        let status = status.expect("the application ends");
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        code.expect("a process ends with a code or by a signal")
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // After its end there is nothing to kill, and nothing more to reap.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that applications have executed into a file, in order.
#[track_caller]
pub(crate) fn executed(file: &Path) -> Vec<Executed> {
    let text = fs::read_to_string(file).expect("an application has made it");
    text.lines().map(Executed::parse).collect()
}

/// The ids that are in the file more than once.
#[track_caller]
pub(crate) fn executed_twice(file: &Path) -> Vec<String> {
    let mut counts = BTreeMap::new();
    for request in executed(file).into_iter().filter(|request| request.id != "-") {
        *counts.entry(request.id).or_insert(0) += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(id, _)| id).collect()
}

// === impl Executed ===

impl Executed {
    #[track_caller]
    fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let [method, path, id, length] = <[String; 4]>::try_from(words).expect("four words");
        Self { method, path, id, length: length.parse().expect("a number") }
    }
}
