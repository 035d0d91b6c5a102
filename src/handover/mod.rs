//! What goes to the next process, and what came from the one before: connections, listeners, socket files.
//!
//! `carrier` sends and takes connections, `assignment` gives sockets to servers, `program` and `announcement` are
//! for an upgrade in place. Uses connections, sockets, the service manager and signals.
//! Absent on purpose: when all this happens. The order is the daemon's.

pub(crate) mod announcement;
pub(crate) mod assignment;
pub(crate) mod carrier;
pub(crate) mod drain_history;
pub(crate) mod program;
