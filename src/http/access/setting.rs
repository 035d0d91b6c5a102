//! Which requests are logged, and whether in a file; a reload may change both.

use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::{fmt, io};

use super::file::AccessFormat;
use crate::log::file::{FileLog, OpenFile};
use crate::log::invalid_setting::InvalidSetting;

/// Which requests are logged.
///
/// # Examples
/// ```
/// use lockstepd::{AccessLog, Daemon};
///
/// let wanted: AccessLog = "all".parse()?;
/// let daemon = Daemon::new("shop").access_log(wanted);
/// # let _ = daemon;
/// # Ok::<(), lockstepd::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
#[repr(u8)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those answered with a status of 400 or more, or not answered to their end; at most 100 a
    /// second, so that no client can flood the log.
    #[default]
    Errors,
    /// All.
    All,
}

/// The access log's setting of one daemon, shared by its servers and changeable while they run.
#[derive(Debug)]
pub(crate) struct AccessSetting {
    /// An [`AccessLog`], and [`TO_FILE`].
    wanted: AtomicU8,
    /// The file's thread, once there is, or was, a file.
    file: OnceLock<Arc<FileLog>>,
}

/// The bit that says that lines go to a file.
const TO_FILE: u8 = 1 << 2;

// === impl AccessLog ===

impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Errors => "errors",
            Self::All => "all",
        })
    }
}

impl FromStr for AccessLog {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        match text {
            "off" => Ok(Self::Off),
            "errors" => Ok(Self::Errors),
            "all" => Ok(Self::All),
            _ => Err(InvalidSetting::new("the access log is off, errors or all")),
        }
    }
}

// === impl AccessSetting ===

impl AccessSetting {
    pub(crate) const fn new(mode: AccessLog) -> Self {
        Self { wanted: AtomicU8::new(mode as u8), file: OnceLock::new() }
    }

    /// Only reloads change it, one after the other.
    pub(crate) fn set(&self, mode: AccessLog) {
        let to_file = self.wanted.load(Ordering::Relaxed) & TO_FILE;
        self.wanted.store(mode as u8 | to_file, Ordering::Relaxed);
    }

    pub(crate) fn mode(&self) -> AccessLog {
        match self.wanted.load(Ordering::Relaxed) & !TO_FILE {
            0 => AccessLog::Off,
            1 => AccessLog::Errors,
            _ => AccessLog::All,
        }
    }

    /// Has lines go to a file from now on, or to the log.
    ///
    /// # Errors
    /// When the file's thread cannot be started.
    pub(crate) fn set_file(&self, next: Option<(OpenFile, AccessFormat)>) -> io::Result<()> {
        let log = match (self.file.get(), &next) {
            (Some(log), _) => log,
            (None, None) => return Ok(()),
            (None, Some(_)) => {
                let log = Arc::new(FileLog::start()?);
                self.file.get_or_init(|| log)
            }
        };
        let to_file = if next.is_some() { TO_FILE } else { 0 };
        log.switch(next.map(|(file, format)| (file, format as u8)));
        self.wanted.store(self.mode() as u8 | to_file, Ordering::Release);
        Ok(())
    }

    /// Has lines go where those of another setting go.
    pub(crate) fn follow(&self, other: &Self) {
        if let Some(log) = other.file.get() {
            self.file.get_or_init(|| Arc::clone(log));
        }
        let to_file = other.wanted.load(Ordering::Relaxed) & TO_FILE;
        self.wanted.store(self.mode() as u8 | to_file, Ordering::Release);
    }

    /// The file that lines go to, if they do.
    pub(super) fn file(&self) -> Option<&Arc<FileLog>> {
        let to_file = self.wanted.load(Ordering::Acquire) & TO_FILE != 0;
        self.file.get().filter(|_| to_file)
    }
}
