//! Everything that is counted, as text for Prometheus.
//!
//! Times are in seconds, sizes in bytes.
//!
//! # Source
//! Prometheus, "Metric and label naming"; exposition format 0.0.4.
#![expect(clippy::cast_precision_loss, reason = "figures for people, exact up to 2^53")]

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry as MetricsRegistry, Unit};

#[cfg(feature = "proxy")]
use super::application_metrics;
#[cfg(feature = "tls")]
use super::tls_metrics;
use crate::connections::metrics::{
    BOUNDS_US, Count, METHODS, Reloads, STATUSES, ServerMetrics, TIMEOUTS,
};
use crate::connections::registry::Registry;
use crate::handover::drain_history::{DrainHistory, LastDrain};
use crate::log::lost_lines;
#[cfg(feature = "proxy")]
use crate::proxy::overview::ProxyOverview;
#[cfg(feature = "tls")]
use crate::tls::acceptor::Acceptors;

/// What is counted of the daemon as a whole.
#[derive(Debug)]
pub(crate) struct Metrics {
    servers: Vec<Arc<Registry>>,
    reloads: Arc<Reloads>,
    /// What the application counts.
    own: Option<MetricsRegistry>,
    #[cfg(feature = "proxy")]
    applications: Vec<ProxyOverview>,
    #[cfg(feature = "tls")]
    acceptors: Acceptors,
    /// The drains of the processes before this one.
    history: Arc<DrainHistory>,
    started: SystemTime,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(
        servers: Vec<Arc<Registry>>,
        reloads: Arc<Reloads>,
        history: Arc<DrainHistory>,
        own: Option<MetricsRegistry>,
    ) -> Self {
        Self {
            servers,
            reloads,
            own,
            #[cfg(feature = "proxy")]
            applications: Vec::new(),
            #[cfg(feature = "tls")]
            acceptors: Acceptors::default(),
            history,
            started: SystemTime::now(),
        }
    }

    /// Counts what the applications behind the servers do as well.
    #[cfg(feature = "proxy")]
    pub(crate) fn with_applications(mut self, applications: Vec<ProxyOverview>) -> Self {
        self.applications = applications;
        self
    }

    /// Counts what TLS of the servers comes to as well.
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(mut self, acceptors: Acceptors) -> Self {
        self.acceptors = acceptors;
        self
    }

    /// Everything, in Prometheus' text format.
    pub(crate) fn text(self: &Arc<Self>) -> String {
        let mut metrics_registry = MetricsRegistry::with_prefix("lockstepd");
        metrics_registry.register_collector(Box::new(Arc::clone(self)));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &metrics_registry);
        let mut process = MetricsRegistry::default();
        process.register_collector(Box::new(ProcessMetrics { started: self.started }));
        let _ = text::encode(&mut text, &process);
        if let Some(own) = &self.own {
            let _ = text::encode(&mut text, own);
        }
        exposition(&text)
    }
}

/// How the bound of a bucket without one is written by the encoder.
const LAST_BOUND: &str = "le=\"1.7976931348623157e308\"";

/// `OpenMetrics` names a family of counters without `_total`; Prometheus' own format does not.
fn exposition(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().filter(|line| *line != "# EOF").peekable();
    while let Some(line) = lines.next() {
        let family = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '));
        let Some((name, help)) = family else {
            // The unit is in the name, and the last bucket has no bound.
            if !line.starts_with("# UNIT ") {
                text.extend([&*line.replace(LAST_BOUND, "le=\"+Inf\""), "\n"]);
            }
            continue;
        };
        let counter = format!("# TYPE {name} counter");
        if lines.next_if(|line| *line == counter).is_some() {
            text.extend(["# HELP ", name, "_total ", help, "\n"]);
            text.extend(["# TYPE ", name, "_total counter\n"]);
        } else {
            text.extend([line, "\n"]);
        }
    }
    text
}

type Written = Result<(), fmt::Error>;

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Written {
        let mut build =
            encoder.encode_descriptor("build_info", "Version", None, MetricType::Gauge)?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        build.encode_family(&version)?.encode_gauge(&1_u64)?;

        let mut reloads =
            encoder.encode_descriptor("reloads", "Reloads by result", None, MetricType::Counter)?;
        for (result, count) in [("ok", &self.reloads.succeeded), ("failed", &self.reloads.failed)] {
            let labels = [("result", result)];
            reloads.encode_family(&labels)?.encode_counter::<Empty, _, u64>(&count.get(), None)?;
        }
        let help = "Log lines that were lost because the log was too slow, or away";
        encoder
            .encode_descriptor("log_lines_lost", help, None, MetricType::Counter)?
            .encode_counter::<Empty, _, u64>(&lost_lines(), None)?;
        self.gauge(&mut encoder, "connections", "Open connections", |server| {
            server.connections() as u64
        })?;
        self.gauge(&mut encoder, "requests_in_flight", "Requests being answered", |server| {
            server.metrics.in_flight()
        })?;
        self.counter(&mut encoder, "connections_accepted", "Accepted connections", |metrics| {
            &metrics.accepted
        })?;
        #[cfg(feature = "http2")]
        {
            let help = "Open connections of HTTP/2";
            self.gauge(&mut encoder, "http2_connections", help, |server| {
                server.metrics.http2_open()
            })?;
            let help = "Connections that have begun with HTTP/2";
            self.counter(&mut encoder, "connections_http2", help, |metrics| {
                &metrics.http2_connections
            })?;
            let help = "Requests of HTTP/2 that their clients gave up before they were answered";
            self.counter(&mut encoder, "streams_given_up", help, |metrics| {
                &metrics.streams_given_up
            })?;
        }
        self.counter(
            &mut encoder,
            "connections_taken_over",
            "Connections that the process before this one handed over",
            |metrics| &metrics.taken_over,
        )?;
        self.counter(
            &mut encoder,
            "accept_pauses",
            "Times that a server had all the connections it may have: nobody is refused, more wait",
            |metrics| &metrics.full,
        )?;
        self.counter(
            &mut encoder,
            "connections_closed_for_others",
            "Idle connections that were closed because there were more than there may be",
            |metrics| &metrics.evicted,
        )?;
        self.counter(&mut encoder, "panics", "Requests whose handler panicked", |metrics| {
            &metrics.panics
        })?;
        self.labelled(
            &mut encoder,
            ("accept_errors", "Failed accepts by cause", "cause"),
            |metrics, each| {
                each("shortage", metrics.accept_shortages.get())?;
                each("failed", metrics.accept_failures.get())?;
                each("aborted", metrics.accept_aborts.get())
            },
        )?;
        self.labelled(
            &mut encoder,
            (
                "timeouts",
                "Connections, and streams of HTTP/2, ended by what did not come in time",
                "waiting_for",
            ),
            |metrics, each| {
                TIMEOUTS
                    .iter()
                    .zip(&metrics.timeouts)
                    .try_for_each(|(name, count)| each(name, count.get()))
            },
        )?;
        #[cfg(feature = "proxy")]
        application_metrics::encode(&self.applications, &mut encoder)?;
        #[cfg(feature = "tls")]
        tls_metrics::encode(&self.acceptors, &mut encoder)?;
        self.drains(&mut encoder)?;
        self.requests(&mut encoder)?;
        self.durations(&mut encoder)
    }
}

impl Metrics {
    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Registry) -> u64,
    ) -> Written {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        self.servers.iter().try_for_each(|server| {
            let labels = [("server", server.server())];
            family.encode_family(&labels)?.encode_gauge(&value(server))
        })
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        count: impl Fn(&ServerMetrics) -> &Count,
    ) -> Written {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        self.servers.iter().try_for_each(|server| {
            let labels = [("server", server.server())];
            let value = count(&server.metrics).get();
            family.encode_family(&labels)?.encode_counter::<Empty, _, u64>(&value, None)
        })
    }

    fn labelled(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, label): (&str, &str, &str),
        counts: impl Fn(&ServerMetrics, &mut dyn FnMut(&str, u64) -> Written) -> Written,
    ) -> Written {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        self.servers.iter().try_for_each(|server| {
            counts(&server.metrics, &mut |value, count| {
                let labels = [("server", server.server()), (label, value)];
                family.encode_family(&labels)?.encode_counter::<Empty, _, u64>(&count, None)
            })
        })
    }

    fn drains(&self, encoder: &mut DescriptorEncoder<'_>) -> Written {
        let DrainHistory { clean, cut_off, last, .. } = &*self.history;
        let help = "Connections handed over, by all processes before this one";
        let mut family = encoder.encode_descriptor(
            "connections_handed_over",
            help,
            None,
            MetricType::Counter,
        )?;
        for server in &self.servers {
            let labels = [("server", server.server())];
            let count = self.history.handed_over(server.server());
            family.encode_family(&labels)?.encode_counter::<Empty, _, u64>(&count, None)?;
        }
        let help = "Connections that found no room in a hand-over and were ended, by all processes before this one";
        let name = "connections_not_handed_over";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for server in &self.servers {
            let labels = [("server", server.server())];
            let count = self.history.not_handed_over(server.server());
            family.encode_family(&labels)?.encode_counter::<Empty, _, u64>(&count, None)?;
        }
        let help = "Drains that ended in a hand-over, by all processes before this one";
        let mut family = encoder.encode_descriptor("drains", help, None, MetricType::Counter)?;
        for (outcome, count) in [("clean", clean), ("cut_off", cut_off)] {
            let labels = [("outcome", outcome)];
            family.encode_family(&labels)?.encode_counter::<Empty, _, u64>(count, None)?;
        }
        // Without a drain there is no value: zero would be wrong.
        let Some(LastDrain { duration, requests }) = last else { return Ok(()) };
        let help = "Time that the process before this one took to bring its servers to rest";
        let seconds = Some(&Unit::Seconds);
        encoder
            .encode_descriptor("last_drain_duration", help, seconds, MetricType::Gauge)?
            .encode_gauge(&duration.as_secs_f64())?;
        let help = "Requests that the process before this one cut off";
        encoder
            .encode_descriptor("last_drain_requests_cut_off", help, None, MetricType::Gauge)?
            .encode_gauge(requests)
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> Written {
        let help = "Answered requests by method and status";
        let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for server in &self.servers {
            for (index, count) in server.metrics.answers.iter().enumerate() {
                if count.get() > 0 {
                    let status = (100 + index % STATUSES).to_string();
                    let labels = [
                        ("server", server.server()),
                        ("method", METHODS[index / STATUSES]),
                        ("status", &status),
                    ];
                    family
                        .encode_family(&labels)?
                        .encode_counter::<Empty, _, u64>(&count.get(), None)?;
                }
            }
        }
        Ok(())
    }

    fn durations(&self, encoder: &mut DescriptorEncoder<'_>) -> Written {
        let mut family = encoder.encode_descriptor(
            "request_duration",
            "Time from a request's head to the end of its answer",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for server in &self.servers {
            let counts = server.metrics.durations.each_ref().map(Count::get);
            let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::MAX]);
            let buckets: Vec<_> = bounds.zip(counts).collect();
            let sum = server.metrics.duration_us.get() as f64 / 1e6;
            let labels = [("server", server.server())];
            family.encode_family(&labels)?.encode_histogram::<Empty>(
                sum,
                counts.iter().sum(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

/// No labels.
type Empty = prometheus_client::encoding::NoLabelSet;

/// What the kernel says of this process, under the names that all Prometheus clients use.
#[derive(Debug)]
struct ProcessMetrics {
    started: SystemTime,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Written {
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let gauge = MetricType::Gauge;
        let mut start = encoder.encode_descriptor(
            "process_start_time_seconds",
            "Time of the start",
            None,
            gauge,
        )?;
        start.encode_gauge(&started.as_secs_f64())?;
        if let Some((cpu, resident)) = read_stat() {
            encoder
                .encode_descriptor(
                    "process_cpu_seconds",
                    "Processor time",
                    None,
                    MetricType::Counter,
                )?
                .encode_counter::<Empty, _, u64>(&cpu, None)?;
            encoder
                .encode_descriptor("process_resident_memory_bytes", "Resident memory", None, gauge)?
                .encode_gauge(&resident)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            encoder
                .encode_descriptor("process_open_fds", "Open descriptors", None, gauge)?
                .encode_gauge(&(open.count() as u64))?;
        }
        if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            encoder
                .encode_descriptor("process_max_fds", "Limit of open descriptors", None, gauge)?
                .encode_gauge(&limit)?;
        }
        Ok(())
    }
}

/// Processor time in seconds and resident memory in bytes, from `proc_pid_stat(5)`.
fn read_stat() -> Option<(f64, u64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the name, may hold anything, but ends with the last parenthesis.
    let fields: Vec<u64> = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let cpu = (fields.get(11)? + fields.get(12)?) as f64 / ticks;
    Some((cpu, fields.get(21)? * rustix::param::page_size() as u64))
}
