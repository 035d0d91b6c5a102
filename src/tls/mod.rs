//! TLS, on s2n-tls: certificates, handshakes, and the state of a connection in bytes.
//!
//! No record and no handshake message is read or written by code of this project.
//!
//! # Invariants
//! - A connection that is parked or handed over is its socket and some hundred bytes, and nothing of s2n's. It is taken
//!   apart only between two records, where s2n always is: it is given whole ones ([`records`]).
//! - Those bytes, and the keys of session tickets, are key material. They are in memory and in sealed memfds, never
//!   in a log and never on disk, and are overwritten when they are dropped.
//! - Only ciphers that authenticate what they encrypt (AEAD) are offered: errors need no delay to hide where they
//!   were found.

pub(crate) mod acceptor;
pub(crate) mod certificate;
mod records;
pub(crate) mod secured;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod ticket_keys;
