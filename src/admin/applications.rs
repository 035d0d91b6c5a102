//! The applications behind the servers: hold and release, and their metrics.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::routes::Admin;
use crate::proxy::overview::ProxyOverview;

/// How long a hold waits for requests in flight, and how long it lasts, unless the request says so.
const TIMEOUT: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(60);

/// Which applications a hold is about, and for how long.
#[derive(Debug, Deserialize)]
pub(super) struct Hold {
    server: Option<String>,
    timeout: Option<String>,
    longest: Option<String>,
}

type Answer = (StatusCode, String);

/// `POST /hold`: new requests wait. Answers when none is with the application, or when the time for that is over.
pub(super) async fn hold(State(admin): State<Arc<Admin>>, Query(hold): Query<Hold>) -> Answer {
    let times = (time(hold.timeout, TIMEOUT), time(hold.longest, LONGEST));
    let (Ok(limit), Ok(longest)) = times else {
        let text = "timeout and longest are times such as 20s or 1m\n".to_owned();
        return (StatusCode::BAD_REQUEST, text);
    };
    let Some(held) = named(&admin, hold.server.as_deref()) else { return none(hold.server) };
    let mut text = String::new();
    for view in held {
        let is_at_rest = view.proxy.hold(limit, longest).await;
        let rest = if is_at_rest { "nothing is in flight" } else { "requests are still in flight" };
        text += &format!("{}: held, {rest}\n", view.server);
    }
    (StatusCode::OK, text)
}

/// `POST /release`: the end of a hold.
pub(super) async fn release(State(admin): State<Arc<Admin>>, Query(hold): Query<Hold>) -> Answer {
    let Some(held) = named(&admin, hold.server.as_deref()) else { return none(hold.server) };
    let mut text = String::new();
    for view in held {
        let was = if view.proxy.release() { "released" } else { "was not held" };
        text += &format!("{}: {was}\n", view.server);
    }
    (StatusCode::OK, text)
}

fn time(text: Option<String>, default: Duration) -> Result<Duration, humantime::DurationError> {
    text.map_or(Ok(default), |text| humantime::parse_duration(&text))
}

/// The applications of a server, or all.
fn named<'a>(admin: &'a Admin, server: Option<&str>) -> Option<Vec<&'a ProxyOverview>> {
    let is_named = |view: &&ProxyOverview| server.is_none_or(|server| server == view.server);
    let named: Vec<_> = admin.applications.iter().filter(is_named).collect();
    (!named.is_empty()).then_some(named)
}

fn none(server: Option<String>) -> Answer {
    let text = match server {
        Some(server) => format!("no server \"{}\" has an application\n", server.escape_debug()),
        None => "no server has an application\n".to_owned(),
    };
    (StatusCode::NOT_FOUND, text)
}

#[cfg(feature = "metrics")]
mod metrics {
    use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
    use prometheus_client::metrics::MetricType;
    use prometheus_client::registry::Unit;

    use super::fmt;
    use crate::proxy::overview::{ApplicationStatus, ProxyOverview, STATES};

    type Written = Result<(), fmt::Error>;
    type Statuses<'a> = Vec<(&'a str, ApplicationStatus<'a>)>;

    /// Everything that is counted of the applications.
    pub(in crate::admin) fn encode(
        applications: &[ProxyOverview],
        encoder: &mut DescriptorEncoder<'_>,
    ) -> Written {
        let all: Statuses<'_> =
            applications.iter().map(|view| (&*view.server, view.status())).collect();
        if all.is_empty() {
            return Ok(());
        }
        let help = "1 for the state that the application is in";
        let mut family =
            encoder.encode_descriptor("application_state", help, None, MetricType::Gauge)?;
        for ((server, status), state) in all.iter().flat_map(|it| STATES.map(|state| (it, state))) {
            let labels = [("server", *server), ("state", state)];
            family.encode_family(&labels)?.encode_gauge(&u64::from(status.state == state))?;
        }
        let gauges: [(&str, &str, fn(&ApplicationStatus<'_>) -> usize); 4] = [
            ("application_requests_waiting", "Requests that wait for the application", |it| {
                it.waiting_requests
            }),
            (
                "application_requests_in_flight",
                "Requests that the application has, endless answers left out",
                |it| it.requests_in_flight,
            ),
            ("application_connections_kept", "Connections kept for the next request", |it| {
                it.kept_connections
            }),
            ("application_tunnels", "Upgraded connections", |it| it.tunnels),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (server, status) in &all {
                let labels = [("server", *server)];
                family.encode_family(&labels)?.encode_gauge(&(value(status) as u64))?;
            }
        }
        counters(&all, encoder)?;
        times(&all, encoder)?;
        causes(&all, encoder)
    }

    fn counters(all: &Statuses<'_>, encoder: &mut DescriptorEncoder<'_>) -> Written {
        let counters: [(&str, &str, fn(&ApplicationStatus<'_>) -> u64); 5] = [
            ("application_requests", "Requests for the application", |it| it.requests),
            ("application_answers", "Answers of the application", |it| it.answers),
            ("application_connects", "Connections to the application", |it| it.connects),
            ("application_connect_failures", "Connections that could not be had", |it| {
                it.connect_failures
            }),
            ("application_connections_reused", "Requests over a kept connection", |it| it.reused),
        ];
        for (name, help, value) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (server, status) in all {
                let labels = [("server", *server)];
                let count = value(status);
                family
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn times(all: &Statuses<'_>, encoder: &mut DescriptorEncoder<'_>) -> Written {
        let times: [(&str, &str, fn(&ApplicationStatus<'_>) -> f64); 2] = [
            ("application_answer", "Time to the heads of the answers", |it| it.answer_seconds),
            ("application_connect", "Time to the connections", |it| it.connect_seconds),
        ];
        for (name, help, value) in times {
            let seconds = Some(&Unit::Seconds);
            let mut family = encoder.encode_descriptor(name, help, seconds, MetricType::Counter)?;
            for (server, status) in all {
                let labels = [("server", *server)];
                let time = value(status);
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&time, None)?;
            }
        }
        Ok(())
    }

    fn causes(all: &Statuses<'_>, encoder: &mut DescriptorEncoder<'_>) -> Written {
        let retries = ("application_retries", "Requests that were sent again, by cause");
        let failures = (
            "application_failures",
            "Requests that were answered for the application or cut off, by cause",
        );
        for (is_retry, (name, help)) in [(true, retries), (false, failures)] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (server, status) in all {
                for (cause, count) in if is_retry { &status.retries } else { &status.failures } {
                    let labels = [("server", *server), ("cause", *cause)];
                    family
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, u64>(count, None)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(feature = "metrics")]
pub(super) use self::metrics::encode;
