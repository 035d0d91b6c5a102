//! Replacing the program in place: same process, same arguments, the binary at its path now.
//!
//! 1. A dry run: the new binary is started with [`CHECK_VARIABLE`] set, which makes a lockstepd
//!    program check its configuration against the [`Heritage`] in the variable, bind what that
//!    lacks, and exit. If it cannot be executed or says no, nothing has happened yet.
//! 2. Every server is held (see the `drain` module), and listeners and connections go into a
//!    carrier, whose other end survives the next step under a number that the environment tells.
//! 3. execve(2). Should it fail after all, the connections are still here, and are served on.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use tokio::time::timeout;

use crate::handover::Shortage;
use crate::inherit::UPGRADE_VARIABLE;
use crate::sockets::Heritage;

/// Makes a lockstepd program check its configuration and exit.
pub(crate) const CHECK_VARIABLE: &str = "LOCKSTEPD_CHECK";

/// What a check says on standard error if all is well.
pub(crate) const VALID: &str = "configuration is valid";

/// How long a dry run may take.
const DRY_RUN_TIMEOUT: Duration = Duration::from_secs(10);

/// The program as it was started.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// Why the program was not replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("cannot execute {path}: {source} (the running program goes on)")]
    Execute { path: PathBuf, source: io::Error },
    #[error("{path} refuses to start, {status}: {output} (the running program goes on)")]
    Refused { path: PathBuf, status: String, output: String },
    #[error(
        "{path} did not finish its dry run within {DRY_RUN_TIMEOUT:?} (the running program goes on)"
    )]
    Hung { path: PathBuf },
    #[error(
        "{connections} connections are still busy after the drain time-out (the running program goes on; try again later)"
    )]
    Busy { connections: usize },
    #[error(
        "cannot hand the connections over: {}; the running program goes on",
        Shortage::describe(.0)
    )]
    Carrier(#[from] io::Error),
    #[error(
        "{connections} connections cannot be handed over: {shortage}; the running program goes on"
    )]
    Shortage { connections: u64, shortage: Shortage },
    #[error("a stop came first")]
    Stopping,
}

// === impl Program ===

impl Program {
    /// Remembers how this process was started; the paths are made absolute now.
    pub(crate) fn current() -> io::Result<Self> {
        let mut arguments = env::args_os();
        // As written on the command line, so that a symbolic link is followed anew.
        let path = match arguments.next() {
            Some(first) if Path::new(&first).components().count() > 1 => {
                std::path::absolute(first)?
            }
            _ => env::current_exe()?,
        };
        Ok(Self { path, arguments: arguments.collect() })
    }

    /// Finds out whether the program at the path would start.
    pub(crate) async fn dry_run(&self, heritage: &Heritage) -> Result<(), UpgradeError> {
        let path = self.path.clone();
        let mut command = tokio::process::Command::new(&path);
        command
            .args(&self.arguments)
            .env(CHECK_VARIABLE, heritage.to_string())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        match timeout(DRY_RUN_TIMEOUT, command.output()).await {
            Err(_) => Err(UpgradeError::Hung { path }),
            Ok(Err(source)) => Err(UpgradeError::Execute { path, source }),
            // Whatever else ends well has not understood the question.
            Ok(Ok(output)) if output.status.success() && says_valid(&output.stderr) => Ok(()),
            Ok(Ok(output)) => Err(UpgradeError::Refused {
                path,
                status: output.status.to_string(),
                output: what_it_said(&output.stderr),
            }),
        }
    }

    /// Replaces this process; returns only if that failed.
    ///
    /// `_signals` shows that signals have been made ready for it.
    pub(crate) fn replace(&self, carrier: &OwnedFd, _signals: &SignalsForExec) -> UpgradeError {
        let failed = |source| UpgradeError::Execute { path: self.path.clone(), source };
        if let Err(error) = fcntl_setfd(carrier, FdFlags::empty()) {
            return failed(error.into());
        }
        failed(
            Command::new(&self.path)
                .args(&self.arguments)
                .env(UPGRADE_VARIABLE, carrier.as_raw_fd().to_string())
                .exec(),
        )
    }
}

fn what_it_said(output: &[u8]) -> String {
    match String::from_utf8_lossy(output).trim() {
        "" => "it does not say that its configuration is valid".to_owned(),
        said => said.to_owned(),
    }
}

fn says_valid(output: &[u8]) -> bool {
    String::from_utf8_lossy(output).lines().any(|line| line == VALID)
}

/// The dispositions of signals for the time around execve(2); as they were before when dropped.
///
/// `SIGUSR2` and `SIGHUP` are ignored: their default is to kill, and one that arrives before the new
/// program is ready for it must not. `SIGTERM` and `SIGINT` have their default: with our handler
/// still in place, one that arrives now would be noted by a program that is about to vanish.
/// `SIGPIPE` is remembered, because [`CommandExt::exec`] resets it.
#[derive(Debug)]
pub(crate) struct SignalsForExec {
    before: Vec<(libc::c_int, Disposition)>,
}

/// Plain data of the kernel's interface, kept to be given back.
struct Disposition(libc::sigaction);

// === impl SignalsForExec ===

impl SignalsForExec {
    pub(crate) fn new() -> Self {
        let changes = [
            (libc::SIGUSR2, libc::SIG_IGN),
            (libc::SIGHUP, libc::SIG_IGN),
            (libc::SIGTERM, libc::SIG_DFL),
            (libc::SIGINT, libc::SIG_DFL),
            (libc::SIGPIPE, libc::SIG_IGN),
        ];
        Self { before: changes.map(|(signal, action)| (signal, change(signal, action))).into() }
    }
}

#[expect(unsafe_code, reason = "no safe interface to sigaction(2) among our libraries")]
fn change(signal: libc::c_int, action: libc::sighandler_t) -> Disposition {
    // SAFETY: both structures are plain data, valid when zeroed, and live through the call;
    // neither ignoring a signal nor its default runs code of ours.
    unsafe {
        let mut before = std::mem::zeroed();
        let mut change = std::mem::zeroed::<libc::sigaction>();
        change.sa_sigaction = action;
        libc::sigaction(signal, &raw const change, &raw mut before);
        Disposition(before)
    }
}

impl Drop for SignalsForExec {
    fn drop(&mut self) {
        for (signal, Disposition(before)) in &self.before {
            #[expect(unsafe_code, reason = "no safe interface to sigaction(2) among our libraries")]
            // SAFETY: puts back the disposition that was there, just as it was.
            unsafe {
                libc::sigaction(*signal, &raw const *before, std::ptr::null_mut());
            }
        }
    }
}

impl fmt::Debug for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disposition")
    }
}
