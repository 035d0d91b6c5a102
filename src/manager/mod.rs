//! Everything that is sent to the service manager, and the names under which its store keeps descriptors.
//!
//! `notify` sends: readiness, STATUS, the watchdog, descriptors for the store. Uses no other room.
//! Absent on purpose: what the service manager passes to the process, which is for `sockets`; and when to
//! send what, which is for `daemon`.

pub(crate) mod notify;
pub(crate) mod store_names;
