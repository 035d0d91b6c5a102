//! TLS: certificates, handshakes, and connections that outlive the process.

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod clients;
mod handshakes;
mod outliving;
mod secured;
mod tunnels;
