//! The daemon without systemd: a child of the test, with a service manager played by the test.

#[path = "../support/mod.rs"]
mod support;

mod access_file;
mod activation;
mod answers;
mod balancer;
mod binding;
mod ceiling;
mod configuration;
mod doctor;
mod drain;
mod ends;
mod http2;
mod inheritance;
mod lame_duck;
mod last_requests;
mod logging;
mod members;
mod monitoring;
mod notifications;
mod options;
mod own_listeners;
mod particular;
mod probes;
mod program;
mod proxy;
mod set_up;
mod signals;
mod socket_files;
mod sources;
mod waiting;
