//! What the benchmarks have in common: building what is measured, children on a processor of their own,
//! and a client that knows exactly how much it asks.

// Each benchmark includes all of it and uses its part.
#![allow(dead_code, unused_imports)]

mod application;
mod build;
mod child;
mod client;
mod processors;

pub(crate) use application::Application;
pub(crate) use build::{
    cargo, daemon, daemon_with_lines, daemon_with_tls, require, source, target,
};
pub(crate) use child::{Child, come_first};
pub(crate) use client::{BODY, Client, Load, answer, free_ports, get};
pub(crate) use processors::{LOAD, Priority, Processor, SERVER};

/// Why something could not be measured, and what would help.
pub(crate) type Trouble = Box<dyn std::error::Error + Send + Sync>;
