//! Addresses, inherited sockets, binding, listeners, streams, and what is set on them.
//!
//! Only binding uses other rooms: it tells the service manager that it waits, takes what is not needed any more out
//! of its store (`manager`), and gives up at a shutdown (`lifecycle`).
//! Absent on purpose: which server a socket is for (`handover`), and the accept loop (`http`).

pub(crate) mod address;
pub(crate) mod bind;
pub(crate) mod inherit;
pub(crate) mod listen;
pub(crate) mod listener;
pub(crate) mod own_listener;
pub(crate) mod own_stream;
pub(crate) mod peer;
#[cfg(feature = "tls")]
pub(crate) mod secured_listen;
pub(crate) mod socket_file;
pub(crate) mod stream;
pub(crate) mod tcp;
pub(crate) mod zone;
