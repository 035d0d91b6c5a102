//! Replacing the program in place: same process, same arguments, and the program that is at its path now.
//!
//! The path is the one under which the program was started, with its symbolic links: where `current` led to one
//! release and leads to another now, the other is executed, even if the first is still there. In
//! `/proc/self/exe` the links are resolved already. The working directory counts where the path or an argument
//! such as `--config x.toml` is relative; it, too, is known by its path with symbolic links, which shells put
//! into `$PWD`.
//!
//! 1. A dry run: the new program is started with [`CHECK_VARIABLE`] set, which makes a lockstepd
//!    program check its configuration against the [`Announcement`] in the variable, bind the addresses that are
//!    missing there, and exit. If it cannot be executed or refuses, nothing has happened yet.
//! 2. Every server is held (see the `drain` module), and listeners and connections go into a
//!    carrier, whose read end stays open across the next step; the environment tells its number.
//! 3. execve(2). If it fails, the connections are still here, and are served on.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::iter;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::ptr;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::param::linux_execfn;
use tokio::time::timeout;

use crate::handover::announcement::Announcement;
use crate::handover::carrier::Shortage;
use crate::lifecycle::signals::SignalsBlocked;
use crate::sockets::inherit::UPGRADE_VARIABLE;

/// The environment variable that makes a lockstepd program check its configuration and exit.
pub(crate) const CHECK_VARIABLE: &str = "LOCKSTEPD_CHECK";

/// What a check that succeeds writes to standard error.
pub(crate) const VALID: &str = "configuration is valid";

/// How long a dry run may take.
const DRY_RUN_TIMEOUT: Duration = Duration::from_secs(10);

/// The program as it was started.
#[derive(Debug)]
pub(crate) struct Program {
    /// `None`: it is not known.
    path: Option<PathBuf>,
    /// The working directory at the start, with symbolic links; `None` if it was gone.
    directory: Option<PathBuf>,
    arguments: Vec<OsString>,
}

/// Why the program was not replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("cannot execute {path}: {source} (the running program goes on)")]
    Execute { path: PathBuf, source: io::Error },
    #[error(
        "cannot find out under which path the program was started (start it under an absolute one; \
         the running program goes on)"
    )]
    Nameless,
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
    /// Remembers how this process was started.
    pub(crate) fn current() -> Self {
        let directory = working_directory();
        let mut arguments = env::args_os();
        let first = arguments.next().map(PathBuf::from);
        // The path that was given to execve(2); a shell has searched PATH by then. A program that was executed
        // by a descriptor has that one's path, which leads nowhere later; then the first argument is used, unless
        // it would have to be searched in PATH.
        let executed = PathBuf::from(OsStr::from_bytes(linux_execfn().to_bytes()));
        let is_descriptor = |name: &Path| name.starts_with("/dev/fd") || name.starts_with("/proc");
        let first = first.filter(|name| name.components().count() > 1);
        let names = [Some(executed), first].into_iter().flatten();
        let mut names = names.filter(|name| !name.as_os_str().is_empty() && !is_descriptor(name));
        let path = names.next().and_then(|name| match &directory {
            Some(directory) => Some(directory.join(name)),
            None => name.is_absolute().then_some(name),
        });
        let path = path.or_else(|| env::current_exe().ok());
        Self { path, directory, arguments: arguments.collect() }
    }

    /// The command that starts the program that is at the path now, as this one was started.
    fn command(&self) -> Result<(PathBuf, Command), UpgradeError> {
        let path = self.path.clone().ok_or(UpgradeError::Nameless)?;
        let mut command = Command::new(&path);
        command.args(&self.arguments);
        // If it is gone, a program that needs it fails in the dry run.
        if let Some(directory) = self.directory.as_ref().filter(|directory| directory.is_dir()) {
            command.current_dir(directory);
        }
        Ok((path, command))
    }

    /// Finds out whether the program at the path would start.
    pub(crate) async fn dry_run(&self, announcement: &Announcement) -> Result<(), UpgradeError> {
        let (path, command) = self.command()?;
        let mut command = tokio::process::Command::from(command);
        command
            .env(CHECK_VARIABLE, announcement.to_string())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        match timeout(DRY_RUN_TIMEOUT, command.output()).await {
            Err(_) => Err(UpgradeError::Hung { path }),
            Ok(Err(source)) => Err(UpgradeError::Execute { path, source }),
            // A program that exits with 0 without saying so does not use lockstepd, and has checked nothing.
            Ok(Ok(output)) if output.status.success() && says_valid(&output.stderr) => Ok(()),
            Ok(Ok(output)) => Err(UpgradeError::Refused {
                path,
                status: output.status.to_string(),
                output: said_on_stderr(&output.stderr),
            }),
        }
    }

    /// Replaces this process; returns only if that failed.
    ///
    /// `_blocked` proves that signals stay pending for the new program. std's `exec` would unblock them first, and
    /// those that are pending would be lost with this one.
    pub(crate) fn replace(&self, carrier: &OwnedFd, _blocked: &SignalsBlocked) -> UpgradeError {
        let Some(path) = self.path.clone() else { return UpgradeError::Nameless };
        let failed = |source| UpgradeError::Execute { path: path.clone(), source };
        if let Err(error) = fcntl_setfd(carrier, FdFlags::empty()) {
            return failed(error.into());
        }
        // If it is gone, the dry run has shown that the program does without.
        if let Some(directory) = self.directory.as_ref().filter(|directory| directory.is_dir()) {
            if let Err(error) = env::set_current_dir(directory) {
                return failed(error);
            }
        }
        let arguments = iter::once(path.as_os_str()).chain(self.arguments.iter().map(|a| &**a));
        let is_other = |(name, _): &(OsString, OsString)| name != UPGRADE_VARIABLE;
        let upgrade = (UPGRADE_VARIABLE.into(), carrier.as_raw_fd().to_string().into());
        let variables = env::vars_os().filter(is_other).chain([upgrade]);
        let variables =
            variables.map(|(name, value)| [name, "=".into(), value].join(OsStr::new("")));
        match (c_strings(arguments), c_strings(variables)) {
            (Ok(arguments), Ok(variables)) => failed(execute(&arguments, &variables)),
            (Err(error), _) | (_, Err(error)) => failed(error),
        }
    }
}

fn c_strings(texts: impl Iterator<Item: AsRef<OsStr>>) -> io::Result<Vec<CString>> {
    let texts = texts.map(|text| CString::new(text.as_ref().as_bytes()));
    Ok(texts.collect::<Result<_, _>>()?)
}

/// Calls execve(2) with the first of `arguments` as the program; returns only if that failed.
fn execute(arguments: &[CString], variables: &[CString]) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, variables) = (pointers(arguments), pointers(variables));
    #[expect(unsafe_code, reason = "std has no exec that leaves the signal mask alone")]
    // SAFETY: both lists end with a null pointer, and what they point to are strings that outlive the call.
    unsafe {
        libc::execve(arguments[0], arguments.as_ptr(), variables.as_ptr());
    }
    io::Error::last_os_error()
}

/// The working directory: as `$PWD` has it, with symbolic links, if that leads to it; otherwise its path without
/// symbolic links.
fn working_directory() -> Option<PathBuf> {
    let id = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let here = id(Path::new("."))?;
    let named = env::var_os("PWD").map(PathBuf::from).filter(|path| path.is_absolute());
    named.filter(|path| id(path) == Some(here)).or_else(|| env::current_dir().ok())
}

fn said_on_stderr(output: &[u8]) -> String {
    match String::from_utf8_lossy(output).trim() {
        "" => "it does not say that its configuration is valid".to_owned(),
        said => said.to_owned(),
    }
}

fn says_valid(output: &[u8]) -> bool {
    String::from_utf8_lossy(output).lines().any(|line| line == VALID)
}
