//! The daemon, its units and its packaging under a real systemd, one machine for each test.

#[path = "../support/mod.rs"]
mod support;

mod access_file;
mod activation;
mod applications;
mod catalog;
mod configuration;
mod contract;
mod crowded;
mod dead_peers;
mod examples;
mod files;
mod handover;
mod harness;
mod http2;
mod installer;
mod instances;
mod journal;
mod journal_away;
mod journal_events;
mod journal_limit;
mod journal_stall;
mod late;
mod limits;
mod manager_stall;
mod newer;
mod own_listeners;
mod own_settings;
mod packages;
mod quickstart;
mod reload;
mod restart;
mod sandbox;
mod socket_order;
#[cfg(feature = "tls")]
mod tls;
mod tunnels;
