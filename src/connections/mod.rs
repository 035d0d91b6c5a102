//! The connections that there are: the registry, its modes, the drain, limits and counters.
//!
//! `registry` knows every acceptor and connection of a server, `drain` brings them to rest, `linger` says for how long
//! one is worth waiting for, `parked` is a connection between two requests, `tunnel` one that is joined to another. Uses `sockets`, the shutdown broadcast of `lifecycle`, and a time format of
//! `log`. Absent on purpose: serving, and hyper (`http`). Of a request this room knows what is counted, and what
//! of its body has not come yet.

pub(crate) mod body_remainder;
pub(crate) mod chunked_body;
pub(crate) mod drain;
pub(crate) mod limits;
pub(crate) mod linger;
pub(crate) mod metrics;
pub(crate) mod overview;
pub(crate) mod parked;
pub(crate) mod poll_counter;
pub(crate) mod registry;
pub(crate) mod tunnel;
