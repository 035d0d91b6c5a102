//! What goes to the next process, and what came from the one before: connections, tunnels, listeners, socket files.
//!
//! `carrier` takes every kept connection to the next process at a restart; `assignment` gives each server its
//! sockets; `program` and `announcement` are for an upgrade in place. Uses `connections`, `sockets`, `manager`,
//! and of `lifecycle` the signals.
//! Absent on purpose: when all this happens. That is `daemon`, and how connections come to rest `connections`.

pub(crate) mod announcement;
pub(crate) mod assignment;
pub(crate) mod carrier;
pub(crate) mod drain_history;
pub(crate) mod program;
pub(crate) mod shut_door;
