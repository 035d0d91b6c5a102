//! The daemon as a child of the test: started, asked, told and judged by its log and exit code.

use std::{
    env,
    ffi::OsStr,
    net::SocketAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    path::PathBuf,
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{
    host::BINARY,
    http::{self, Response},
    notify::Manager,
    wait::{Deadline, Lines, PATIENCE, pidfd, wait_until},
};

/// A daemon to be started. Nothing of the test's environment configures it.
#[derive(Debug)]
pub(crate) struct Launch {
    command: Command,
    inherited: Vec<(String, OwnedFd)>,
    stderr: Option<OwnedFd>,
}

/// A daemon that was started; it is killed if the test does not wait for its end.
pub(crate) struct Daemon {
    child: Child,
    lines: Lines,
    log: Vec<String>,
}

/// A daemon that came to its end.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; 128 and the signal's number after a signal.
    pub(crate) code: i32,
    pub(crate) log: Vec<String>,
}

/// Where an example is that `cargo test` has built.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    let target = test.ancestors().nth(2).expect("tests are in target/PROFILE/deps");
    let example = target.join("examples").join(name);
    assert!(example.exists(), "no {}: run cargo build --examples first", example.display());
    example
}

// === impl Launch ===

impl Launch {
    /// Both servers on free ports of an address that no other test uses, with the log as JSON.
    pub(crate) fn daemon() -> Self {
        let address = format!("{}:0", Self::address());
        Self::on(&address, &address)
    }

    /// Both servers on these addresses, with the log as JSON.
    pub(crate) fn on(public: &str, admin: &str) -> Self {
        Self::bare().args(["--public", public, "--admin", admin, "--log-format", "json"])
    }

    /// The daemon without an argument, and with an empty configuration file.
    pub(crate) fn bare() -> Self {
        Self::program(BINARY)
    }

    pub(crate) fn program(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("LOCKSTEPD_") || text.starts_with("LISTEN_") {
                command.env_remove(&name);
            }
        }
        for name in ["NOTIFY_SOCKET", "JOURNAL_STREAM", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.env("LOCKSTEPD_CONFIG", "/dev/null");
        Self { command, inherited: Vec::new(), stderr: None }
    }

    /// A loopback address for one test: its ports are nobody else's, even after the daemon's end.
    pub(crate) fn address() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("127.{}.{}.{}", 1 + process::id() % 250, next / 250, 1 + next % 250)
    }

    /// An address with a port that is free, and that nobody has ever listened on.
    pub(crate) fn free_address() -> String {
        let address: SocketAddr = format!("{}:0", Self::address()).parse().expect("an address");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
        socket.set_reuse_address(true).expect("it can be set");
        socket.bind(&address.into()).expect("the kernel finds a free port");
        let bound = socket.local_addr().ok().and_then(|address| address.as_socket());
        bound.expect("it is bound").to_string()
    }

    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, arguments: I) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn notify(self, manager: &Manager) -> Self {
        let path = manager.path();
        self.env("NOTIFY_SOCKET", path)
    }

    /// Lets the test write to the daemon's standard input.
    pub(crate) fn with_input(mut self) -> Self {
        self.command.stdin(Stdio::piped());
        self
    }

    /// Takes a standard input, a terminal for example.
    pub(crate) fn stdin(mut self, stdin: impl Into<OwnedFd>) -> Self {
        self.command.stdin(stdin.into());
        self
    }

    /// Takes another standard error than the pipe that the log is read from.
    pub(crate) fn stderr(mut self, stderr: impl Into<OwnedFd>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Passes a descriptor as a service manager does; two at most.
    pub(crate) fn inherit(mut self, name: &str, descriptor: impl Into<OwnedFd>) -> Self {
        self.inherited.push((name.to_owned(), descriptor.into()));
        self
    }

    /// Starts the daemon and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        daemon.event("ready");
        daemon
    }

    /// Starts the daemon and waits for its end.
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        self.spawn().end()
    }

    /// Starts the daemon.
    #[track_caller]
    pub(crate) fn spawn(self) -> Daemon {
        let mut command = if self.inherited.is_empty() {
            self.command
        } else {
            passing(&self.command, self.inherited)
        };
        if let Some(stderr) = self.stderr {
            command.stderr(stderr);
        }
        let mut child = command.spawn().expect("the daemon is built and can be executed");
        let lines = match child.stderr.take() {
            Some(stderr) => Lines::new(stderr),
            None => Lines::new(child.stdout.take().expect("nobody else has taken it")),
        };
        Daemon { child, lines, log: Vec::new() }
    }
}

/// Executes `command` in a shell that holds the descriptors where a service manager puts them.
///
/// They come as standard input and output: what else a process inherits cannot be arranged without
/// other threads' children getting it, too.
fn passing(command: &Command, descriptors: Vec<(String, OwnedFd)>) -> Command {
    let names: Vec<_> = descriptors.iter().map(|(name, _)| name.clone()).collect();
    let mut shell = Command::new("sh");
    let redirect = ["", "exec 3<&0 </dev/null", "exec 3<&0 4<&1 </dev/null >/dev/null"];
    let redirect = redirect.get(names.len()).expect("two descriptors at most");
    let script =
        format!("{redirect}; LISTEN_PID=${{LISTEN_PID:-$$}}; export LISTEN_PID; exec \"$@\"");
    shell.args(["-c", &script, "sh"]).arg(command.get_program()).args(command.get_args());
    shell.stderr(Stdio::piped());
    let mut descriptors = descriptors.into_iter().map(|(_, descriptor)| descriptor);
    shell.stdin(descriptors.next().map_or_else(Stdio::null, Stdio::from));
    shell.stdout(descriptors.next().map_or_else(Stdio::null, Stdio::from));
    shell.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None if shell.get_envs().any(|(set, value)| set == name && value.is_some()) => {
                &mut shell
            }
            None => shell.env_remove(name),
        };
    }
    shell
}

// === impl Daemon ===

impl Daemon {
    /// The first event with this message, past ones included.
    #[track_caller]
    pub(crate) fn event(&mut self, message: &str) -> Value {
        self.find(&format!("the event {message:?}"), |event| event["message"] == message)
    }

    /// The first event for which `is_it` holds, past ones included.
    #[track_caller]
    pub(crate) fn find(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let line = self.line(what, |line| parse(line).is_some_and(|event| is_it(&event)));
        parse(&line).expect("it was an event")
    }

    /// The first line of the log for which `is_it` holds, past ones included.
    #[track_caller]
    pub(crate) fn line(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let deadline = Deadline::after(PATIENCE);
        let mut looked_at = 0;
        loop {
            while let Some(line) = self.log.get(looked_at) {
                looked_at += 1;
                if is_it(line) {
                    return line.clone();
                }
            }
            match self.lines.next(deadline) {
                Ok(Some(line)) => self.log.push(line),
                Ok(None) => panic!("the daemon ended without {what}\n{}", self.log.join("\n")),
                Err(late) => panic!("{late} while waiting for {what}\n{}", self.log.join("\n")),
            }
        }
    }

    /// The addresses of a server, from the event that says ready.
    #[track_caller]
    pub(crate) fn addresses(&mut self, server: &str) -> Vec<String> {
        let ready = self.event("ready");
        let text = ready["addresses"].as_str().expect("it tells its addresses");
        let server = format!("{server} on ");
        let addresses = text.split(", ").find_map(|part| part.strip_prefix(&server));
        let addresses = addresses.unwrap_or_else(|| panic!("{server:?} is not in {text:?}"));
        addresses.split(" and ").map(str::to_owned).collect()
    }

    /// The public server's first address.
    #[track_caller]
    pub(crate) fn public(&mut self) -> String {
        self.addresses("public").remove(0)
    }

    /// The admin server's first address.
    #[track_caller]
    pub(crate) fn admin(&mut self) -> String {
        self.addresses("admin").remove(0)
    }

    #[track_caller]
    pub(crate) fn get_public(&mut self, path: &str) -> Response {
        http::get(&self.public(), path)
    }

    #[track_caller]
    pub(crate) fn get_admin(&mut self, path: &str) -> Response {
        http::get(&self.admin(), path)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, of a daemon that was launched with one.
    pub(crate) fn input(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().expect("it was launched with an input")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has a pid"), signal).expect("it has not been waited for");
    }

    /// Waits until so many lines of the log have `text` in them, past ones included.
    #[track_caller]
    pub(crate) fn lines_with(&mut self, number: usize, text: &str) {
        let seen = std::cell::Cell::new(0);
        self.line(&format!("{number} lines with {text:?}"), |line| {
            seen.set(seen.get() + usize::from(line.contains(text)));
            seen.get() == number
        });
    }

    /// Sends a signal again and again until the daemon logs `message`: what comes too soon after another is no insisting.
    #[track_caller]
    pub(crate) fn insist_until(&mut self, signal: Signal, message: &str) {
        let deadline = Deadline::after(PATIENCE);
        let is_it = |line: &String| parse(line).is_some_and(|event| event["message"] == message);
        while !self.log.iter().any(is_it) {
            assert!(!deadline.is_over(), "no {message:?} in\n{}", self.log.join("\n"));
            self.signal(signal);
            // Only what is not answered is said again.
            while let Ok(line) = self.lines.next(Deadline::after(Duration::from_millis(200))) {
                self.log.push(line.expect("it has not ended"));
                if self.log.last().is_some_and(is_it) {
                    return;
                }
            }
        }
    }

    /// Sends a signal again and again until the end: what comes too soon after another is no insisting.
    #[track_caller]
    pub(crate) fn insist(self, signal: Signal) -> Ended {
        let end = pidfd(self.child.id()).expect("a child that was not reaped has a pid");
        wait_until("the daemon has ended", PATIENCE, || {
            self.signal(signal);
            Deadline::after(Duration::from_millis(50)).wait(&[end.as_fd()]).is_ok()
        });
        self.end()
    }

    /// Asks for a stop and waits for the end.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let deadline = Deadline::after(PATIENCE);
        let mut log = std::mem::take(&mut self.log);
        loop {
            match self.lines.next(deadline) {
                Ok(Some(line)) => log.push(line),
                Ok(None) => break,
                Err(late) => panic!("{late}: the daemon does not end\n{}", log.join("\n")),
            }
        }
        let Ok(status) = deadline.wait_for_exit(&mut self.child) else {
            panic!("the daemon has closed its log, but does not end\n{}", log.join("\n"))
        };
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Ended { code: code.expect("a process ends with a code or by a signal"), log }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After its end there is nothing to kill, and nothing more to reap.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log.join("\n"));
        }
    }
}

// === impl Ended ===

impl Ended {
    /// The first event with this message.
    #[track_caller]
    pub(crate) fn event(&self, message: &str) -> Value {
        let event = self.events().into_iter().find(|event| event["message"] == message);
        event.unwrap_or_else(|| panic!("no event {message:?} in\n{}", self.text()))
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.log.iter().filter_map(|line| parse(line)).collect()
    }

    /// The log as a reader sees it, without JSON's escapes of quotation marks.
    pub(crate) fn text(&self) -> String {
        self.log.join("\n").replace("\\\"", "\"")
    }

    /// Asserts the exit code, and that every text is somewhere in the log.
    #[track_caller]
    pub(crate) fn assert(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.text());
        for text in texts {
            assert!(self.text().contains(text), "{text:?} is not in\n{}", self.text());
        }
    }
}

fn parse(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}
