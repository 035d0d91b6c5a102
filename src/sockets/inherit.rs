//! The descriptors that the service manager passed, by name.
//!
//! Taken once, before any other thread exists: taking them unsets `LISTEN_*`, so that no child process takes them
//! for its own, and changing the environment is not thread safe.
//!
//! # Source
//! `sd_listen_fds(3)`.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use listenfd::ListenFd;
use rustix::process::{Resource, getrlimit};

/// The environment variable that names the carrier's descriptor after an upgrade in place.
pub(crate) const UPGRADE_VARIABLE: &str = "LOCKSTEPD_UPGRADE_FD";

/// What announces descriptors. Systemd 258 and newer set `LISTEN_PIDFDID` along with `LISTEN_PID`: the inode
/// number of a pidfd of the process, which tells it from a later process with the same PID. It is not looked at:
/// in such a process the announced descriptors are no listening sockets, which is found out, whereas a
/// supervisor that passes sockets on, and knows `LISTEN_PID` only, does not change it. `LISTEN_FDS_FIRST_FD` is
/// an extension of listenfd's.
const VARIABLES: [&str; 6] = [
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_FDS_FIRST_FD",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    UPGRADE_VARIABLE,
];

/// How many descriptors there is room for after [`widen_table`]: half a megabyte of kernel memory.
const ROOM: u64 = 1 << 16;

/// The most descriptors that can be passed: as many as a process may have, unless the kernel's `fs.nr_open` has
/// been raised.
const PASSED_MAX: u64 = 1 << 20;

/// A descriptor that another process left to this one.
#[derive(Debug)]
pub(crate) struct Descriptor {
    /// The descriptor's number, as messages name it.
    pub(crate) number: RawFd,
    /// Its name in `LISTEN_FDNAMES`, if there is that variable.
    pub(crate) name: Option<String>,
    pub(crate) fd: OwnedFd,
}

/// Sockets that are announced, but to another process, as `LISTEN_PID` has it.
#[derive(Clone, Debug)]
pub(crate) struct Misdirected {
    /// As it is written.
    pub(crate) pid: String,
}

/// What the service manager, or the process before this one, left to this process, taken from its
/// environment.
///
/// [`Daemon::run`](crate::Daemon::run) takes it by itself. A program that starts its own runtime
/// takes it first, while there is one thread, and gives it to
/// [`Daemon::inherited`](crate::Daemon::inherited).
#[derive(Debug, Default)]
#[must_use = "the sockets in it close when it is dropped"]
pub struct Inherited {
    pub(crate) descriptors: Vec<Descriptor>,
    pub(crate) misdirected: Option<Misdirected>,
    /// The carrier of an upgrade in place (see the `upgrade` module).
    pub(crate) carrier: Option<OwnedFd>,
}

/// Why the descriptors cannot be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InheritError {
    /// The environment may not be changed any more.
    #[error(
        "{threads} threads are running already: the service manager's sockets have to be taken \
         before the first thread starts (call Daemon::run from a plain fn main, with asynchronous \
         set-up in Daemon::run_with; or, in a program with a runtime of its own, Inherited::take at \
         the start of a plain fn main)"
    )]
    #[non_exhaustive]
    Threads {
        /// How many threads there are.
        threads: usize,
    },
    /// `LISTEN_FDS` and `LISTEN_FDNAMES` do not fit together.
    #[error(
        "{descriptors} descriptors were passed with {names} names in LISTEN_FDNAMES \
         (set FileDescriptorName= in each socket unit; with systemd-socket-activate, \
         --fdname= with a name for each, separated by colons)"
    )]
    #[non_exhaustive]
    Names {
        /// How many descriptors there are.
        descriptors: usize,
        /// How many names.
        names: usize,
    },
    /// `LISTEN_FDS` announces more descriptors than can be passed.
    #[error(
        "LISTEN_FDS announces {announced} descriptors, more than can be true \
         (is the variable set by hand? systemd sets it itself)"
    )]
    #[non_exhaustive]
    TooMany {
        /// How many are announced.
        announced: u64,
    },
    /// A descriptor that was announced is not there.
    #[error("cannot take descriptor {number}, which LISTEN_FDS announces: {source}")]
    #[non_exhaustive]
    Missing {
        /// The descriptor's number.
        number: RawFd,
        /// The error of fcntl(2).
        source: io::Error,
    },
}

// === impl Inherited ===

impl Inherited {
    /// Takes what was passed to this process and unsets the variables that announced it, so that
    /// no child takes it for its own.
    ///
    /// # Errors
    /// When threads are running already, even if nothing was passed: a program fails by hand as it would
    /// under a service manager. Or when names and descriptors do not match.
    ///
    /// # Source
    /// `sd_listen_fds(3)`.
    pub fn take() -> Result<Self, InheritError> {
        Self::check_threads()?;
        Self::take_late()
    }

    /// As [`Inherited::take`], but where nothing was passed threads do not matter.
    pub(crate) fn take_late() -> Result<Self, InheritError> {
        let names = env::var_os("LISTEN_FDNAMES");
        let upgrade = env::var_os(UPGRADE_VARIABLE);
        let count = env::var_os("LISTEN_FDS");
        if count.is_none() && names.is_none() && upgrade.is_none() {
            return Ok(Self::default());
        }
        Self::check_threads()?;
        Self::check_count(count.as_deref())?;
        let misdirected = Misdirected::from_env();
        let mut passed = ListenFd::from_env();
        #[expect(unsafe_code, reason = "unsetting a variable")]
        // SAFETY: this is the only thread, as was just seen; no other reads the environment.
        unsafe {
            for name in VARIABLES {
                env::remove_var(name);
            }
        }
        let names = names.filter(|names| passed.len() > 0 && !names.is_empty());
        let names = names
            .map(|names| names.to_string_lossy().split(':').map(str::to_owned).collect::<Vec<_>>());
        if let Some(names) = names.as_ref().filter(|names| names.len() != passed.len()) {
            return Err(InheritError::Names { descriptors: passed.len(), names: names.len() });
        }
        let mut descriptors = Vec::with_capacity(passed.len());
        for index in 0..passed.len() {
            if let Ok(Some(number)) = passed.take_raw_fd(index) {
                let name = names.as_ref().map(|names| names[index].clone());
                descriptors.push(Descriptor { number, name, fd: own(number)? });
            }
        }
        let carrier = upgrade.and_then(|number| number.to_str()?.parse().ok());
        if let Some(number) =
            carrier.filter(|number| descriptors.iter().any(|it| it.number == *number))
        {
            let source = io::Error::other(format!("it is that of {UPGRADE_VARIABLE}, too"));
            return Err(InheritError::Missing { number, source });
        }
        let carrier = carrier.map(own).transpose()?;
        if let Some(any) = carrier.as_ref().or(descriptors.first().map(|left| &left.fd)) {
            widen_table(any);
        }
        Ok(Self { descriptors, misdirected, carrier })
    }
}

// === impl Misdirected ===

impl Misdirected {
    /// Reads the variables, which are about to be unset.
    fn from_env() -> Option<Self> {
        let count: u64 = env::var("LISTEN_FDS").ok()?.parse().ok()?;
        let pid = env::var_os("LISTEN_PID")?;
        // As sd_listen_fds(3), but a missing or empty PID counts as that of this process: old managers leave it
        // empty.
        let is_ours = pid.is_empty()
            || pid.to_str().and_then(|pid| pid.parse().ok()) == Some(std::process::id());
        let pid = pid.to_string_lossy().escape_debug().to_string();
        (count > 0 && !is_ours).then_some(Self { pid })
    }
}

/// Makes room for the descriptors of many connections, once.
///
/// The kernel doubles a process's table of descriptors whenever it is full. Once there are threads it waits each
/// time until none of them can still read the old table: of the 200 ms in which 10,000 connections were taken
/// over, nearly all were such waits.
fn widen_table(any: &OwnedFd) {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).min(ROOM);
    if let Ok(last) = i32::try_from(limit.saturating_sub(1)) {
        // If the kernel refuses, the table grows step by step.
        drop(rustix::io::fcntl_dupfd_cloexec(any, last));
    }
}

impl Inherited {
    /// Finds out whether the environment may be changed.
    ///
    /// # Errors
    /// When threads are running already.
    pub(crate) fn check_threads() -> Result<(), InheritError> {
        // Without /proc the threads cannot be counted; the caller is trusted then.
        match fs::read_dir("/proc/self/task").map_or(1, Iterator::count) {
            0 | 1 => Ok(()),
            threads => Err(InheritError::Threads { threads }),
        }
    }

    /// Refuses a number that cannot be true: listenfd would look at each descriptor, for minutes.
    fn check_count(count: Option<&OsStr>) -> Result<(), InheritError> {
        let announced =
            count.and_then(OsStr::to_str).and_then(|count| count.parse().ok()).unwrap_or(0);
        if announced > PASSED_MAX {
            return Err(InheritError::TooMany { announced });
        }
        Ok(())
    }
}

/// Takes ownership of a descriptor that the environment announced.
fn own(number: RawFd) -> Result<OwnedFd, InheritError> {
    // Standard streams are not taken, whatever the environment says.
    if number < 3 {
        let source = io::ErrorKind::InvalidInput.into();
        return Err(InheritError::Missing { number, source });
    }
    #[expect(unsafe_code, reason = "a number from the environment becomes a descriptor")]
    // SAFETY: the descriptor is not standard input, output or error, the environment passes it to
    // this process, and the variables are unset, so it is not taken twice. Whether it is open is
    // checked below, before it is used for anything.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    match rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC) {
        Ok(()) => Ok(fd),
        Err(error) => {
            // Not open: there is nothing to close.
            std::mem::forget(fd);
            Err(InheritError::Missing { number, source: error.into() })
        }
    }
}
