//! The admin server: its routes, the metrics as text, the status page, and the guard that refuses requests.
//!
//! `routes` lists the routes. Uses `http` to serve, `lifecycle` to stop and reload, `proxy` to hold applications, and reads what it shows from
//! `proxy`, `handover`, `connections`, `sockets` and `log`. Absent on purpose: opening sockets, and a start or stop of its
//! own. To the daemon it is one more server.

#[cfg(all(feature = "metrics", feature = "proxy"))]
mod application_metrics;
#[cfg(feature = "proxy")]
mod applications;
pub(crate) mod declared;
mod events;
#[cfg(feature = "metrics")]
pub(crate) mod exposition;
mod guard;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
mod page;
#[cfg(feature = "metrics")]
mod process_metrics;
pub(crate) mod routes;
mod status;
#[cfg(feature = "tls")]
mod tls;
#[cfg(all(feature = "metrics", feature = "tls"))]
mod tls_metrics;
mod users;
