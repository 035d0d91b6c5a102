//! The one shutdown broadcast, phases and latches, members, signals, and the settings of a stop.
//!
//! Nothing here acts: `signals` blocks and receives them, `shutdown` and `phase` say where the daemon stands,
//! `group` joins the members. Uses the log, for the text of errors.
//! Absent on purpose: what is done at a signal or in a phase. That is `daemon`.

pub(crate) mod group;
pub(crate) mod phase;
pub(crate) mod settings;
pub(crate) mod shutdown;
pub(crate) mod signals;
