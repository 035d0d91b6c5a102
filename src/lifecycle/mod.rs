//! The one shutdown broadcast, phases and latches, members, signals, and the settings of a stop.
//!
//! Uses the log's words for errors. Absent on purpose: acting on any of them, which is the daemon's.

pub(crate) mod group;
pub(crate) mod phase;
pub(crate) mod settings;
pub(crate) mod shutdown;
pub(crate) mod signals;
