//! The connections that there are: the registry, its modes, the drain, limits and counters.
//!
//! A parked connection lies here. Uses sockets; the drain hears the shutdown broadcast of `lifecycle`.
//! Absent on purpose: HTTP. Of a request this room knows only what of its body has not come yet.

pub(crate) mod body_remainder;
pub(crate) mod chunked_body;
pub(crate) mod drain;
pub(crate) mod limits;
pub(crate) mod metrics;
pub(crate) mod overview;
pub(crate) mod parked;
pub(crate) mod poll_counter;
pub(crate) mod registry;
