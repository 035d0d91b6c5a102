//! The admin server: its routes, the metrics as text, the status page, and who may use it.
//!
//! Uses `http` to serve, and reads from the rooms below what it shows. `routes` is the table of contents.
//! Absent on purpose: sockets, and a lifecycle of its own; to the daemon it is one more server.

pub(crate) mod declared;
mod events;
mod guard;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
mod page;
pub(crate) mod routes;
mod status;
mod users;
