//! A connection's life and a request's: accepting, HTTP/1.1, HTTP/2, time-outs, the access log.
//!
//! `server` starts a connection's task, `connection` is its life, `exchange` wraps each request and its response,
//! and `activity` is the state that they share. Uses `connections`, `sockets` and `log`.
//! Absent on purpose: the lifecycle. A server obeys the mode of its registry, and knows no signal or phase.

pub(crate) mod accept;
pub(crate) mod access;
pub(crate) mod activity;
pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod disconnect;
pub(crate) mod exchange;
pub(crate) mod framing;
#[cfg(feature = "http2")]
pub(crate) mod http2;
pub(crate) mod io;
pub(crate) mod on_connect;
pub(crate) mod probe;
pub(crate) mod recall;
pub(crate) mod refusal;
pub(crate) mod request_fields;
pub(crate) mod request_record;
pub(crate) mod request_rules;
pub(crate) mod response_rules;
pub(crate) mod server;
pub(crate) mod service;
pub(crate) mod timeouts;
#[cfg(feature = "proxy")]
pub(crate) mod tunnel;
