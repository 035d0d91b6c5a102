//! The application behind a server, as the admin server shows it.
#![expect(clippy::cast_precision_loss, reason = "figures for people, exact up to 2^53")]

use std::collections::BTreeMap;

use serde::Serialize;

use crate::connections::metrics::Count;
use crate::proxy::metrics::{FAILURES, RETRIES};
use crate::proxy::room::Door;
use crate::proxy::service::Proxy;

/// A server that passes its requests on.
#[derive(Clone, Debug)]
pub(crate) struct ProxyOverview {
    pub(crate) server: String,
    pub(crate) proxy: Proxy,
}

/// The application at a moment; counts are totals since the start.
#[derive(Debug, Serialize)]
pub(crate) struct ApplicationStatus<'a> {
    server: &'a str,
    address: String,
    /// `there`, `away` or `held`.
    pub(crate) state: &'static str,
    pub(crate) waiting_requests: usize,
    /// Endless answers and tunnels left out.
    pub(crate) requests_in_flight: usize,
    pub(crate) kept_connections: usize,
    pub(crate) tunnels: usize,
    pub(crate) requests: u64,
    pub(crate) connects: u64,
    pub(crate) connect_seconds: f64,
    pub(crate) connect_failures: u64,
    /// Requests that went over a kept connection.
    pub(crate) reused: u64,
    /// Answers whose head has come, and how long that took altogether.
    pub(crate) answers: u64,
    pub(crate) answer_seconds: f64,
    /// Requests that were sent again, by cause.
    pub(crate) retries: BTreeMap<&'static str, u64>,
    /// Requests that were answered for the application, or whose answer was cut off, by cause.
    pub(crate) failures: BTreeMap<&'static str, u64>,
    wait_seconds: f64,
    max_waiting: usize,
    connect_timeout_seconds: f64,
    response_timeout_seconds: f64,
    idle_timeout_seconds: f64,
    wait_on_503: bool,
    http2: bool,
    via: bool,
    trusted_proxies: Vec<String>,
    health: Option<String>,
}

/// What an application can be.
pub(crate) const STATES: [&str; 3] = ["there", "away", "held"];

// === impl ProxyOverview ===

impl ProxyOverview {
    pub(crate) fn status(&self) -> ApplicationStatus<'_> {
        let state = self.proxy.state();
        let (upstream, settings) = (state.upstream(), state.settings());
        let (metrics, room) = (&state.metrics, &state.room);
        let seconds = |us: &Count| us.get() as f64 / 1e6;
        ApplicationStatus {
            server: &self.server,
            address: upstream.to_string(),
            state: match room.door() {
                Door::Open => STATES[0],
                Door::Away => STATES[1],
                Door::Held => STATES[2],
            },
            waiting_requests: room.waiting(),
            requests_in_flight: room.active(),
            kept_connections: upstream.kept(),
            tunnels: metrics.tunnels(),
            requests: metrics.requests.get(),
            connects: metrics.connects.get(),
            connect_seconds: seconds(&metrics.connect_us),
            connect_failures: metrics.connect_failures.get(),
            reused: metrics.reused.get(),
            answers: metrics.answers.counts().iter().sum(),
            answer_seconds: metrics.answers.sum_seconds(),
            retries: by_cause(&RETRIES, &metrics.retries),
            failures: by_cause(&FAILURES, &metrics.failures),
            wait_seconds: settings.wait.as_secs_f64(),
            max_waiting: settings.max_waiting,
            connect_timeout_seconds: settings.connect_timeout.as_secs_f64(),
            response_timeout_seconds: settings.response_timeout.as_secs_f64(),
            idle_timeout_seconds: settings.idle_timeout.as_secs_f64(),
            wait_on_503: settings.wait_on_503,
            http2: upstream.is_http2,
            via: settings.via,
            trusted_proxies: settings.trusted.iter().map(ToString::to_string).collect(),
            health: settings.health.clone(),
        }
    }
}

fn by_cause<const N: usize>(
    names: &[&'static str; N],
    counts: &[Count; N],
) -> BTreeMap<&'static str, u64> {
    names.iter().copied().zip(counts.iter().map(Count::get)).collect()
}
