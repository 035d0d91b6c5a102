//! The JSON of `/status` and `/events`, which have the same schema.
//!
//! Counts are totals since the start. A reader has rates and latencies from the difference of two answers, over
//! the time of its own choice; none are kept here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::routes::Admin;
#[cfg(feature = "tls")]
use super::tls::TlsStatus;
use crate::connections::limits::Limits;
use crate::connections::metrics::Durations;
use crate::connections::overview::{HandOver, ServerOverview, SocketOverview};
use crate::http::connection::HttpSettings;
use crate::log::{Recent, lost_lines, recent_since, rfc3339};
#[cfg(feature = "proxy")]
use crate::proxy::overview::{ApplicationStatus, ProxyOverview};

/// The state of the daemon at a moment.
#[derive(Debug, Serialize)]
pub(super) struct Status<'a> {
    name: &'a str,
    version: &'static str,
    pid: u32,
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    #[serde(serialize_with = "rfc3339")]
    started_at: SystemTime,
    phase: String,
    uptime_seconds: u64,
    waiting_for: Vec<String>,
    stop_cause: Option<String>,
    connections_taken_over: usize,
    /// Null if no process before this one handed anything over.
    hand_over: Option<&'a HandOver>,
    limits: LimitsStatus,
    settings: SettingsStatus,
    servers: Vec<ServerStatus<'a>>,
    #[cfg(feature = "proxy")]
    applications: Vec<ApplicationStatus<'a>>,
    /// Of each server that has it.
    #[cfg(feature = "tls")]
    tls: Vec<TlsStatus<'a>>,
    recent_events: Vec<Arc<Recent>>,
    log_lines_lost: u64,
}

#[derive(Debug, Serialize)]
struct ServerStatus<'a> {
    name: &'a str,
    connections: usize,
    /// Those of them that speak HTTP/2, each of which may have many requests in flight.
    #[cfg(feature = "http2")]
    connections_http2: u64,
    max_connections: usize,
    requests: u64,
    requests_in_flight: u64,
    durations: Durations,
    drain_timeout_seconds: f64,
    access_log: String,
    limits: LimitsStatus,
    sockets: &'a [SocketOverview],
    /// Listeners of the program's own, besides the sockets.
    own_listeners: usize,
}

#[derive(Debug, Serialize)]
struct LimitsStatus {
    head_size_bytes: usize,
    headers: usize,
    #[cfg(feature = "http2")]
    streams: u32,
    admin_body_size_bytes: usize,
    first_byte_timeout_seconds: f64,
    head_timeout_seconds: f64,
    body_timeout_seconds: f64,
    idle_timeout_seconds: f64,
    write_timeout_seconds: f64,
    /// Zero: never.
    tcp_keepalive_seconds: f64,
}

/// What else a reload may have changed.
#[derive(Debug, Serialize)]
struct SettingsStatus {
    lame_duck_seconds: f64,
    drain_timeout_seconds: f64,
    linger_seconds: f64,
    hand_over: bool,
    /// Null: never.
    idle_exit_seconds: Option<f64>,
    access_log: String,
}

// === impl Status ===

impl<'a> Status<'a> {
    /// The state now, with the log lines after the one with this number.
    pub(super) fn of(admin: &'a Admin, number: u64) -> Self {
        let time = SystemTime::now();
        let uptime = admin.started.elapsed();
        Self {
            name: &admin.name,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            time,
            started_at: admin.started_at,
            phase: admin.phases.current().to_string(),
            uptime_seconds: uptime.as_secs(),
            waiting_for: admin.latches.waiting(),
            stop_cause: admin.shutdown.cause().map(ToString::to_string),
            connections_taken_over: admin.hand_over.as_ref().map_or(0, |taken| taken.connections),
            hand_over: admin.hand_over.as_ref(),
            limits: LimitsStatus::of(&admin.http_settings.limits()),
            settings: SettingsStatus::of(admin),
            servers: ServerStatus::all(admin),
            #[cfg(feature = "proxy")]
            applications: admin.applications.iter().map(ProxyOverview::status).collect(),
            #[cfg(feature = "tls")]
            tls: TlsStatus::all(&admin.acceptors),
            recent_events: recent_since(number),
            log_lines_lost: lost_lines(),
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data always becomes JSON")
    }

    /// The number of the last log line in it.
    pub(super) fn last_event(&self) -> Option<u64> {
        self.recent_events.last().map(|event| event.number)
    }
}

// === impl ServerStatus ===

impl<'a> ServerStatus<'a> {
    fn all(admin: &'a Admin) -> Vec<Self> {
        let common = admin.settings.now().drain_timeout;
        // The admin server, the last, has the daemon's settings.
        let settings = admin.own_settings.iter().chain([&admin.http_settings]);
        let servers = admin.servers.iter().zip(settings);
        servers.map(|(server, settings)| Self::of(server, settings, common)).collect()
    }

    fn of(server: &'a ServerOverview, settings: &HttpSettings, common: Duration) -> Self {
        let registry = &server.registry;
        Self {
            name: registry.server(),
            connections: registry.connections(),
            #[cfg(feature = "http2")]
            connections_http2: registry.metrics.http2_open(),
            max_connections: registry.limit(),
            requests: registry.metrics.requests(),
            requests_in_flight: registry.metrics.in_flight(),
            durations: registry.metrics.durations(),
            drain_timeout_seconds: registry.drain_timeout(common).as_secs_f64(),
            access_log: settings.access.mode().to_string(),
            limits: LimitsStatus::of(&settings.limits()),
            sockets: &server.sockets,
            own_listeners: server.own_listeners,
        }
    }
}

// === impl LimitsStatus ===

impl LimitsStatus {
    fn of(limits: &Limits) -> Self {
        Self {
            head_size_bytes: limits.head_size,
            headers: limits.headers,
            #[cfg(feature = "http2")]
            streams: limits.streams,
            admin_body_size_bytes: limits.admin_body_size,
            first_byte_timeout_seconds: limits.first_byte_timeout.as_secs_f64(),
            head_timeout_seconds: limits.head_timeout.as_secs_f64(),
            body_timeout_seconds: limits.body_timeout.as_secs_f64(),
            idle_timeout_seconds: limits.idle_timeout.as_secs_f64(),
            write_timeout_seconds: limits.write_timeout.as_secs_f64(),
            tcp_keepalive_seconds: limits.tcp_keepalive.as_secs_f64(),
        }
    }
}

// === impl SettingsStatus ===

impl SettingsStatus {
    fn of(admin: &Admin) -> Self {
        let settings = admin.settings.now();
        Self {
            lame_duck_seconds: settings.lame_duck.as_secs_f64(),
            drain_timeout_seconds: settings.drain_timeout.as_secs_f64(),
            linger_seconds: settings.linger.as_secs_f64(),
            hand_over: settings.hand_over,
            idle_exit_seconds: settings.idle_exit.map(|time| time.as_secs_f64()),
            access_log: admin.http_settings.access.mode().to_string(),
        }
    }
}
