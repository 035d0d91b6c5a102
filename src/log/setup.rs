//! Where the log goes, journal or stderr, and how much of it.
//!
//! In the journal every field keeps its name in capitals (`SERVER=`, `PEER=`, `CAUSE=`), and levels
//! are the journal's own: ERROR is err, WARN warning, INFO info, DEBUG and TRACE debug.
//!
//! Logging never waits: a line that the journal or a terminal does not take in time is lost, which is counted and
//! logged (see `queue`). An event for the journal is recorded on the thread that logs, and replayed to
//! tracing-journald's layer on the log's own thread (see `journal`).
//!
//! Where systemd cannot connect standard error to the journal, because journald is not running, it passes /dev/null
//! without an error. Then the log tries to reach the journal's socket, and until that is there lines wait in the
//! queue.
//!
//! # Source
//! systemd.journal-fields(7), systemd.exec(5) `$JOURNAL_STREAM`, `$INVOCATION_ID`, `$SYSTEMD_EXEC_PID`.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::str::FromStr;

use rustix::fs::{FileType, fstat, major, minor};
use tracing::dispatcher::has_been_set;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use super::error_text::panic_message;
use super::invalid_setting::InvalidSetting;
use super::journal::{JournalSink, Recorder};
use super::queue::{Queue, Sink};
#[cfg(feature = "admin")]
use super::recent;

/// How the log is set up.
///
/// # Examples
/// ```
/// use lockstepd::{Daemon, Format, LogSettings, Target};
///
/// let mut log = LogSettings::default();
/// log.level = "info,shop=debug".parse()?;
/// log.target = Target::Stderr;
/// log.format = Format::Json;
/// let daemon = Daemon::new("shop").log(log);
/// # let _ = daemon;
/// # Ok::<(), lockstepd::InvalidSetting>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogSettings {
    /// What is logged. Default [`Level::from_env`].
    pub level: Level,
    /// Where to. Default [`Target::Auto`].
    pub target: Target,
    /// How stderr looks. Default [`Format::Human`].
    pub format: Format,
}

/// Where log events go.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// To the journal if stderr is connected to it, or if systemd has started this process and stderr is
    /// /dev/null: journald was not running then, and is waited for. Else to stderr.
    #[default]
    Auto,
    /// To the journal. If journald is not running, it is waited for where systemd has started this process;
    /// otherwise that is an error.
    Journal,
    /// To stderr.
    Stderr,
}

/// How log events look on stderr.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Format {
    /// A line of text, coloured on a terminal.
    #[default]
    Human,
    /// A line of JSON.
    Json,
}

/// What is logged: a level, or levels by module such as `info,lockstepd=debug`.
///
/// # Examples
/// ```
/// use lockstepd::{Level, LogSettings};
///
/// let mut log = LogSettings::default();
/// log.level = match std::env::var("SHOP_LOG") {
///     Ok(text) => text.parse::<Level>()?,
///     Err(_) => Level::from_env(),
/// };
/// # Ok::<(), lockstepd::InvalidSetting>(())
/// ```
#[derive(Clone, Debug)]
pub struct Level {
    text: String,
    targets: Targets,
    /// The `RUST_LOG` that could not be understood.
    not_understood: Option<String>,
}

/// Changes what is logged, if lockstepd has set the log up.
#[derive(Debug)]
pub(crate) struct LevelHandle(Option<reload::Handle<Targets, Registry>>);

/// Why the log cannot be set up.
///
/// # Examples
/// ```
/// use lockstepd::{Error, LogError};
///
/// fn is_journal_away(error: &Error) -> bool {
///     matches!(error, Error::Log(LogError { .. }))
/// }
/// # let _ = is_journal_away;
/// ```
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot reach the journal at /run/systemd/journal/socket: {source} (log to stderr instead)"
)]
pub struct LogError {
    #[from]
    source: io::Error,
}

// === impl LogSettings ===

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: Level::from_env(), target: Target::default(), format: Format::default() }
    }
}

impl LogSettings {
    /// Makes this the log of the program, unless it has one already. `identifier` is the journal's
    /// `SYSLOG_IDENTIFIER`.
    pub(crate) fn install(&self, identifier: &str) -> Result<LevelHandle, LogError> {
        if has_been_set() {
            return Ok(LevelHandle::none());
        }
        let layer = match self.target {
            Target::Journal => journal(journal_sink(identifier)?)?,
            // A journal that cannot be reached directly still reads what is written to stderr.
            Target::Auto if stderr_is_journal() => match JournalSink::connect(identifier) {
                Ok(sink) => journal(sink)?,
                Err(_) => self.stderr()?,
            },
            Target::Auto if journal_was_away() => journal(JournalSink::away(identifier))?,
            Target::Auto | Target::Stderr => self.stderr()?,
        };
        let (filter, handle) = reload::Layer::new(self.level.targets.clone());
        let subscriber = Registry::default().with(layer.with_filter(filter));
        #[cfg(feature = "admin")]
        let subscriber = subscriber.with(recent::layer());
        if tracing::subscriber::set_global_default(subscriber).is_err() {
            return Ok(LevelHandle::none());
        }
        log_panics();
        if let Some(text) = &self.level.not_understood {
            tracing::warn!(value = text, "RUST_LOG has no effect: {UNDERSTOOD}");
        }
        Ok(LevelHandle(Some(handle)))
    }

    /// Finds out whether [`LogSettings::install`] would reach the journal, if it has to.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        if self.target == Target::Journal {
            journal_sink("check")?;
        }
        Ok(())
    }

    fn stderr(&self) -> io::Result<BoxLayer> {
        let queue = Queue::start(Stderr { format: self.format })?;
        queue.install();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || LineWriter(queue.clone()))
            .with_ansi(io::stderr().is_terminal());
        Ok(match self.format {
            Format::Human => {
                // A MESSAGE_ID is for the journal's index; a reader has the message.
                let fields = debug_fn(|writer, field, value| match field.name() {
                    "message" => write!(writer, "{value:?}"),
                    "message_id" => Ok(()),
                    name => write!(writer, " {name}={}", quoted(&format!("{value:?}"))),
                });
                layer.with_target(false).fmt_fields(fields).boxed()
            }
            Format::Json => layer.json().flatten_event(true).with_ansi(false).boxed(),
        })
    }
}

/// The journal; under systemd it is waited for if it cannot be reached.
fn journal_sink(identifier: &str) -> io::Result<JournalSink> {
    match JournalSink::connect(identifier) {
        Err(_) if is_service() => Ok(JournalSink::away(identifier)),
        result => result,
    }
}

fn journal(sink: JournalSink) -> io::Result<BoxLayer> {
    let queue = Queue::start(sink)?;
    queue.install();
    Ok(Recorder(queue).boxed())
}

type BoxLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Standard error, where the queue's lines are written.
struct Stderr {
    format: Format,
}

impl Sink for Stderr {
    type Line = Vec<u8>;

    fn write(&mut self, line: Vec<u8>) -> io::Result<()> {
        io::stderr().lock().write_all(&line)
    }

    fn loss(&self, lost: u64) -> Vec<u8> {
        let text = "log lines were lost: whoever reads standard error was too slow";
        match self.format {
            Format::Human => format!("{lost} {text}\n"),
            Format::Json => format!("{{\"level\":\"WARN\",\"message\":\"{lost} {text}\"}}\n"),
        }
        .into_bytes()
    }
}

/// Puts the formatter's lines into the queue; the formatter writes each with one call.
struct LineWriter(Queue<Vec<u8>>);

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec(), line.len());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A value as it is shown in a line, after `name=`: in quotes if it could be taken for more than one value.
pub(super) fn quoted(value: &str) -> Cow<'_, str> {
    let is_quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=');
    if is_quoted || (!value.is_empty() && value.chars().all(is_plain)) {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(format!("{value:?}"))
    }
}

/// Tells whether file descriptor 2 is the stream that `$JOURNAL_STREAM` names: a child of a service
/// may have the variable and another stderr.
pub(crate) fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let Ok(stat) = fstat(io::stderr()) else { return false };
    stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Tells whether systemd passed /dev/null as standard error because journald was not running.
fn journal_was_away() -> bool {
    const NULL: (u32, u32) = (1, 3);
    let Ok(stat) = fstat(io::stderr()) else { return false };
    let is_null = FileType::from_raw_mode(stat.st_mode).is_char_device()
        && (major(stat.st_rdev), minor(stat.st_rdev)) == NULL;
    is_null && is_service() && std::env::var_os("JOURNAL_STREAM").is_none()
}

/// Tells whether systemd itself has started this process, as opposed to another process of the service.
fn is_service() -> bool {
    let is_ours = |pid: OsString| pid.to_str() == Some(&std::process::id().to_string());
    std::env::var_os("INVOCATION_ID").is_some()
        && std::env::var_os("SYSTEMD_EXEC_PID").is_none_or(is_ours)
}

/// Logs each panic as one event with its location.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panic: {}", panic_message(panic.payload()));
    }));
}

// === impl LevelHandle ===

impl LevelHandle {
    /// For a log that the program has set up itself: changes nothing.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn set(&self, level: &Level) {
        if let Some(handle) = &self.0 {
            // The subscriber is the global one: it is never gone.
            let _ = handle.reload(level.targets.clone());
        }
    }
}

// === impl Level ===

/// What a level may be.
const UNDERSTOOD: &str =
    "a level is off, error, warn, info, debug or trace, or by module: info,hyper=warn";

impl Level {
    /// What the environment variable `RUST_LOG` says, or `info` where it is empty or not set. One that cannot be
    /// understood is a warning in the log.
    #[must_use]
    pub fn from_env() -> Self {
        let text = std::env::var_os("RUST_LOG").unwrap_or_default();
        let text = text.to_string_lossy();
        match text.parse() {
            Ok(level) => level,
            Err(_) => Self {
                text: "info".to_owned(),
                targets: without_h2(Targets::new().with_default(tracing::Level::INFO)),
                not_understood: Some(text.into_owned()).filter(|text| !text.is_empty()),
            },
        }
    }
}

impl FromStr for Level {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        // The parser alone would take a misspelt level for the name of a module, and log nothing else.
        let is_level =
            |level: &str| !level.trim().is_empty() && level.trim().parse::<LevelFilter>().is_ok();
        let is_understood = text.split(',').all(|part| match part.split_once('=') {
            Some((module, level)) => !module.trim().is_empty() && is_level(level),
            None => is_level(part),
        });
        let targets =
            text.parse().ok().filter(|_| is_understood).ok_or(InvalidSetting::new(UNDERSTOOD))?;
        let names_h2 = text.split(',').any(|part| part.trim_start().starts_with("h2"));
        let targets = if names_h2 { targets } else { without_h2(targets) };
        Ok(Self { text: text.to_owned(), targets, not_understood: None })
    }
}

/// Leaves the errors of the h2 crate, where there would be more: it warns of what clients do, who could fill the log.
fn without_h2(targets: Targets) -> Targets {
    let level = targets.default_level().unwrap_or(LevelFilter::OFF);
    targets.with_target("h2", level.min(LevelFilter::ERROR))
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl Target ===

impl FromStr for Target {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        match text {
            "auto" => Ok(Self::Auto),
            "journal" => Ok(Self::Journal),
            "stderr" => Ok(Self::Stderr),
            _ => Err(InvalidSetting::new("the log goes to auto, journal or stderr")),
        }
    }
}

// === impl Format ===

impl FromStr for Format {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(InvalidSetting::new("the log's format is human or json")),
        }
    }
}
