//! An application behind the daemon, of any language, that speaks HTTP/1.1 on a Unix socket or a port.
//!
//! ```text
//!  request ──► fields (hop-by-hop, Forwarded) ──► waiting room ──► kept or fresh connection ──► application
//!                                                      ▲                    │
//!                                                      └── try again ◄── verdict: what has it seen?
//! ```
//!
//! # Invariants
//! - **No request is executed twice unless its method is idempotent, and none is lost that may be repeated.** What a
//!   failed attempt proves is told in one place, [`verdict`], with the proof.
//! - **What is passed on is written anew from what was understood.** hyper has parsed the request, and writes another:
//!   one target, one Host, one length. No byte of the client's goes to the application without that, except in a
//!   tunnel, to which both have agreed.
//! - **A body stays with the client until the application has taken the head** ([`wire`]); nothing of it is read
//!   while a request waits.
//! - A connection to the application serves one request at a time, and is driven by the task of the client's
//!   connection: when the client leaves, both are dropped, and the application sees its connection close.

pub(crate) mod answer;
pub(crate) mod attempt;
pub(crate) mod connection;
pub(crate) mod failure;
pub(crate) mod fields;
pub(crate) mod forward;
pub(crate) mod forwarded;
pub(crate) mod health;
pub(crate) mod hold;
pub(crate) mod length;
pub(crate) mod metrics;
#[cfg(feature = "admin")]
pub(crate) mod overview;
pub(crate) mod pool;
pub(crate) mod request_body;
pub(crate) mod room;
pub(crate) mod sent_fields;
pub(crate) mod service;
pub(crate) mod settings;
pub(crate) mod timer;
pub(crate) mod trusted;
pub(crate) mod tunnel;
pub(crate) mod upstream;
pub(crate) mod verdict;
pub(crate) mod wire;

#[cfg(test)]
mod held;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod model;
