//! Everything said to the service manager, and the names of what it keeps.
//!
//! Uses no other room. Absent on purpose: what the manager passes, which is sockets (`sockets`).

pub(crate) mod notify;
pub(crate) mod store_names;
