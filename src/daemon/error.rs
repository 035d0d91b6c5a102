//! Why a daemon could not start, and the exit codes.

use std::io;
use std::process::ExitCode;

use tracing::dispatcher::has_been_set;

use crate::connections::limits::LimitsError;
use crate::handover::assignment::SocketsError;
#[cfg(feature = "log")]
use crate::log::{LogError, finish, stderr_is_journal};
use crate::manager::notify::Notifier;
use crate::sockets::inherit::InheritError;

/// Why a daemon could not start.
///
/// # Examples
/// ```no_run
/// use lockstepd::{Error, Exit, InheritError, Inherited, ListenError, SocketsError};
///
/// fn explain(error: &Error) -> String {
///     match error {
///         Error::Sockets(SocketsError::Listen(ListenError::Bind { address, .. })) => {
///             format!("somebody else serves {address}")
///         }
///         Error::Inherit(InheritError::Threads { .. }) => "take the sockets first".to_owned(),
///         Error::Limits(limit) => format!("nobody could be served: {limit}"),
///         other if other.exit() == Exit::Configuration => format!("correct this: {other}"),
///         other => other.to_string(),
///     }
/// }
///
/// if let Err(error) = Inherited::take().map_err(Error::from) {
///     println!("{}", explain(&error));
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program or its configuration asks for something that cannot be.
    #[error("{0}")]
    Configuration(String),
    /// No client could be served within such limits.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The sockets that the service manager passed cannot be taken.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// The servers cannot have their sockets.
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    /// The log cannot be set up.
    #[cfg(feature = "log")]
    #[error(transparent)]
    Log(#[from] LogError),
    /// The operating system refused something that a start needs.
    #[error("cannot {attempt}: {source}")]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
}

/// The exit codes of a daemon.
///
/// The unit restarts the service on [`Exit::MemberFailed`] and [`Exit::CutOff`], and not on those
/// that a restart cannot mend.
///
/// # Source
/// sysexits(3) for 78.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Exit {
    /// The daemon stopped cleanly.
    Clean = 0,
    /// A member failed or panicked, or the start failed for a reason that may pass by itself: an address that
    /// does not exist yet, or is still in use.
    MemberFailed = 1,
    /// The command line could not be understood.
    Usage = 2,
    /// The drain time-out, or a second signal, cut requests off.
    CutOff = 3,
    /// Configuration or sockets are unusable; starting again without a change will not help.
    Configuration = 78,
}

// === impl Error ===

impl Error {
    /// The exit code for this error.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::System { .. } => Exit::MemberFailed,
            Self::Sockets(error) if error.may_pass() => Exit::MemberFailed,
            Self::Configuration(_) | Self::Limits(_) | Self::Inherit(_) | Self::Sockets(_) => {
                Exit::Configuration
            }
            #[cfg(feature = "log")]
            Self::Log(_) => Exit::Configuration,
        }
    }

    /// The system's error number at the root of this error, if there is one.
    fn errno(&self) -> Option<i32> {
        let mut error: &(dyn std::error::Error + 'static) = self;
        loop {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return error.raw_os_error();
            }
            error = error.source()?;
        }
    }

    /// Tells the operator, in the log (or on standard error where there is no log), and the service
    /// manager, in STATUS; answers the exit code for `main` to return.
    ///
    /// Where standard error is connected to the journal, the error is written there, with its priority in
    /// front. journald looks up the sender's unit when it reads an entry, and cannot find that of a process that
    /// has ended; of a stream it knows the unit from the beginning.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        #[cfg(feature = "log")]
        let is_journal = stderr_is_journal();
        #[cfg(not(feature = "log"))]
        let is_journal = false;
        if !is_journal && has_been_set() {
            tracing::error!("{self}");
        }
        // Entries that were logged before come first.
        #[cfg(feature = "log")]
        finish();
        if is_journal {
            for line in self.to_string().lines() {
                eprintln!("<3>{line}");
            }
        } else if !has_been_set() {
            for line in self.to_string().lines() {
                eprintln!("lockstepd: {line}");
            }
        }
        if let Ok(notifier) = Notifier::from_env() {
            notifier.failed(&self.to_string(), self.errno());
            notifier.flush();
        }
        self.exit().into()
    }
}

// === impl Exit ===

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
