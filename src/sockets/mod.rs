//! Addresses, inherited sockets, binding, listeners, streams, and what is set on them.
//!
//! Uses no other room, but that binding tells the service manager that it waits, and gives up at a shutdown.
//! Absent on purpose: which server a socket is for (`handover`), and accepting (`http`).

pub(crate) mod address;
pub(crate) mod bind;
pub(crate) mod inherit;
pub(crate) mod listener;
pub(crate) mod socket_file;
pub(crate) mod stream;
pub(crate) mod tcp;
pub(crate) mod zone;
