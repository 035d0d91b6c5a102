//! The access log's file: where it is, its format, and the lines for it.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::line::Facts;
use crate::log::file::{FileLog, Left, OpenFile};
use crate::log::invalid_setting::InvalidSetting;

/// A file for the access log, with its format.
///
/// It is appended to, and made if there is none. Renamed or removed it is made anew within a second, and at a reload. A
/// FIFO will do, too, and `/dev/stdout` and `/dev/stderr`.
///
/// # Examples
/// ```
/// use lockstepd::{AccessFile, AccessFormat, AccessLog, Daemon};
///
/// let file = AccessFile::new("/var/log/shop/access.log").format(AccessFormat::Json);
/// let daemon = Daemon::new("shop").access_file(file).access_log(AccessLog::Errors);
/// # let _ = daemon;
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "a daemon has to be given it"]
pub struct AccessFile {
    pub(crate) path: PathBuf,
    pub(crate) format: AccessFormat,
}

/// How a line of the access log's file looks.
///
/// # Examples
/// ```
/// use lockstepd::{AccessFile, AccessFormat};
///
/// let format: AccessFormat = "json".parse()?;
/// let file = AccessFile::new("/var/log/shop/access.log").format(format);
/// # let _ = file;
/// # Ok::<(), lockstepd::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
#[repr(u8)]
pub enum AccessFormat {
    /// Apache's combined format, which most programs read that read access logs. Times are in UTC, and the path is
    /// without its query.
    #[default]
    Combined,
    /// An object of JSON, whose fields have the names of those in the journal.
    Json,
}

// === impl AccessFile ===

impl AccessFile {
    /// A file in the format [`AccessFormat::Combined`].
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: AccessFormat::default() }
    }

    /// Sets the format.
    pub fn format(mut self, format: AccessFormat) -> Self {
        self.format = format;
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// When it cannot be opened; says what to do.
    pub(crate) fn open(&self) -> Result<OpenFile, String> {
        OpenFile::open(&self.path).map_err(|error| refused(&self.path, &error))
    }

    /// Opens it for a daemon that starts: an error that may pass does not end it.
    ///
    /// # Errors
    /// When it cannot be opened; says what to do.
    pub(crate) fn open_in_time(&self) -> Result<OpenFile, String> {
        OpenFile::open_in_time(&self.path).map_err(|error| refused(&self.path, &error))
    }

    /// Finds out whether a daemon that starts would refuse it, without making it.
    ///
    /// # Errors
    /// When it would.
    pub(crate) fn check(&self) -> Result<(), String> {
        OpenFile::check(&self.path).map_err(|error| refused(&self.path, &error))
    }
}

fn refused(path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::NotFound => {
            "its directory has to be there: LogsDirectory= in the unit makes one in /var/log"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "the unit's sandbox lets nothing be written there: LogsDirectory= makes a directory in /var/log that it may \
             write to, see drop-ins/access-file.conf"
        }
        ErrorKind::PermissionDenied => {
            "the user of the service may not write there: LogsDirectory= in the unit makes a directory of its own in \
             /var/log, see drop-ins/access-file.conf"
        }
        ErrorKind::IsADirectory => "name a file in it",
        _ => "name another file",
    };
    format!("cannot open the access log {}: {error} ({remedy})", path.display())
}

// === impl AccessFormat ===

impl AccessFormat {
    fn of(number: u8) -> Self {
        if number == Self::Combined as u8 { Self::Combined } else { Self::Json }
    }
}

impl fmt::Display for AccessFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Combined => "combined",
            Self::Json => "json",
        })
    }
}

impl FromStr for AccessFormat {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        match text {
            "combined" => Ok(Self::Combined),
            "json" => Ok(Self::Json),
            _ => {
                Err(InvalidSetting::new("the format of the access log's file is combined or json"))
            }
        }
    }
}

/// The format of the file that is written to now; none where there is none.
pub(super) fn format(file: &FileLog) -> Option<AccessFormat> {
    file.form().format().map(AccessFormat::of)
}

/// Leaves a line to the file's thread; answers false where there is no file any more.
pub(super) fn push(file: &FileLog, facts: &Facts<'_>) -> bool {
    thread_local! {
        /// Where lines are formatted: a line costs no allocation.
        static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    // At the end of a thread it is gone.
    let pushed = LINE.try_with(|line| match line.try_borrow_mut() {
        Ok(mut line) => push_with(file, facts, &mut line),
        Err(_) => push_with(file, facts, &mut Vec::new()),
    });
    pushed.unwrap_or_else(|_| push_with(file, facts, &mut Vec::new()))
}

fn push_with(file: &FileLog, facts: &Facts<'_>, line: &mut Vec<u8>) -> bool {
    loop {
        let form = file.form();
        let Some(format) = form.format() else { return false };
        line.clear();
        facts.write(AccessFormat::of(format), line);
        if file.push(form, line) == Left::Taken {
            return true;
        }
    }
}
