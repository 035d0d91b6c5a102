//! The daemon against clients that mean harm, or do it without meaning to.

#[path = "../support/mod.rs"]
mod support;

mod corpus;
mod program;
mod upstream;

mod admin;
mod bodies;
mod crowd;
mod descriptors;
mod floods;
mod http2;
mod limits;
mod malformed;
mod metrics;
mod panics;
mod proxied;
mod refusals;
mod resets;
