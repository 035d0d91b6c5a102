//! lockstepd with TLS beside others: ECDSA with P-256, and X25519 where nothing else is said.
//!
//! The clients, whose share of the work is as large as the servers', are a program of their own
//! (`benches/peers/rust/src/bin/tls_clients.rs`), wrk or h2load.

mod clients;
mod connections;
mod memory;
mod program;
mod requests;
mod restart;

use std::fmt;

use crate::table::Column;

pub(crate) use connections::handshakes;
pub(crate) use memory::memory;
pub(crate) use program::Program;
pub(crate) use requests::{http2, keep_alive};
pub(crate) use restart::restart;

/// A server that speaks TLS.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Speaker {
    Lockstepd,
    Go,
    Nginx,
    Caddy,
    AxumServer,
}

pub(crate) const SPEAKERS: [Speaker; 5] =
    [Speaker::Lockstepd, Speaker::Go, Speaker::Nginx, Speaker::Caddy, Speaker::AxumServer];

// === impl Speaker ===

impl Column for Speaker {
    const ALL: &'static [Self] = &SPEAKERS;
    const OURS: Self = Self::Lockstepd;
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lockstepd => "lockstepd",
            Self::Go => "Go net/http",
            Self::Nginx => "nginx",
            Self::Caddy => "Caddy",
            Self::AxumServer => "axum-server, rustls",
        })
    }
}
