//! The builder, and the order of everything: start, serve, reload, stop, upgrade; the watchdog; exit codes.
//!
//! `run`, `start`, `serve`, `stop` and `upgrade` are the only files that know an order; `stop` decides whether
//! kept connections are handed over or ended. Uses every other room.
//! Absent on purpose: anything about a single connection or request.

pub(crate) mod access_file;
#[cfg(feature = "admin")]
mod admin_server;
pub(crate) mod applications;
pub(crate) mod apply;
pub(crate) mod builder;
pub(crate) mod check;
pub(crate) mod declared;
pub(crate) mod error;
pub(crate) mod idle_exit;
pub(crate) mod lame_duck;
pub(crate) mod monitor;
pub(crate) mod overseer;
pub(crate) mod reload;
pub(crate) mod run;
pub(crate) mod running;
pub(crate) mod serve;
pub(crate) mod server;
pub(crate) mod set_up;
pub(crate) mod spawn;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod stuck;
pub(crate) mod take_over;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod upgrade;
pub(crate) mod watchdog;
