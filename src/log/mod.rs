//! The log: where it goes, how much of it, the queue before it, and the words for errors and events; and lines that go to
//! a file.
//!
//! Uses no other room. Events themselves are tracing's, logged where they happen.
//! Absent on purpose: the access log, which is about requests (`http`).

pub(crate) mod error_text;
pub(crate) mod file;
pub(crate) mod invalid_setting;
#[cfg(feature = "log")]
mod journal;
pub(crate) mod message_id;
#[cfg(feature = "log")]
mod queue;
#[cfg(feature = "admin")]
mod recent;
#[cfg(feature = "log")]
mod setup;

#[cfg(feature = "admin")]
pub(crate) use self::queue::lost_lines;
#[cfg(feature = "log")]
pub(crate) use self::queue::{count_lost, finish, flush};
#[cfg(feature = "admin")]
pub(crate) use self::recent::{Recent, recent_since, rfc3339};
#[cfg(feature = "log")]
pub use self::setup::{Format, Level, LogError, LogSettings, Target};
#[cfg(feature = "log")]
pub(crate) use self::setup::{LevelHandle, stderr_is_journal};
