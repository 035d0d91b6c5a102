//! What is counted of the applications behind the servers, as text for Prometheus.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::metrics::encode_histogram;
use crate::proxy::overview::{ApplicationStatus, ProxyOverview, STATES};

type Written = Result<(), fmt::Error>;
/// A metric: its name, its help, and its value.
type Row<T> = (&'static str, &'static str, fn(&ApplicationStatus<'_>) -> T);
type Statuses<'a> = Vec<(&'a str, ApplicationStatus<'a>)>;

/// Everything that is counted of the applications.
pub(super) fn encode(
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
    let gauges: [Row<usize>; 4] = [
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
    times(applications, &all, encoder)?;
    causes(&all, encoder)
}

fn counters(all: &Statuses<'_>, encoder: &mut DescriptorEncoder<'_>) -> Written {
    let counters: [Row<u64>; 5] = [
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
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    Ok(())
}

fn times(
    applications: &[ProxyOverview],
    all: &Statuses<'_>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Written {
    let seconds = Some(&Unit::Seconds);
    let help = "Time to the heads of the answers";
    let mut family =
        encoder.encode_descriptor("application_answer", help, seconds, MetricType::Histogram)?;
    for view in applications {
        encode_histogram(&mut family, &view.server, &view.proxy.state().metrics.answers)?;
    }
    let help = "Time to the connections";
    let mut family =
        encoder.encode_descriptor("application_connect", help, seconds, MetricType::Counter)?;
    for (server, status) in all {
        let labels = [("server", *server)];
        let time = status.connect_seconds;
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&time, None)?;
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
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
        }
    }
    Ok(())
}
