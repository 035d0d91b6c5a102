//! Everything that is counted, as text for Prometheus.
//!
//! Times are in seconds, sizes in bytes.
//!
//! # Source
//! Prometheus, "Metric and label naming"; exposition format 0.0.4.
#![expect(clippy::cast_precision_loss, reason = "figures for people, exact up to 2^53")]

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry as MetricsRegistry, Unit};

#[cfg(feature = "proxy")]
use super::application_metrics;
use super::exposition::Format;
use super::process_metrics::ProcessMetrics;
#[cfg(feature = "tls")]
use super::tls_metrics;
use crate::connections::metrics::{
    BOUNDS_US, Count, Histogram, METHODS, Reloads, ServerMetrics, TIMEOUTS,
};
use crate::connections::registry::Registry;
use crate::handover::drain_history::{DrainHistory, LastDrain};
use crate::lifecycle::phase::Phases;
use crate::log::lost_lines;
#[cfg(feature = "proxy")]
use crate::proxy::overview::ProxyOverview;
#[cfg(feature = "tls")]
use crate::tls::acceptor::Acceptors;

/// What is counted of the daemon as a whole.
#[derive(Debug)]
pub(crate) struct Metrics {
    servers: Vec<Arc<Registry>>,
    phases: Phases,
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
        phases: Phases,
        reloads: Arc<Reloads>,
        history: Arc<DrainHistory>,
        own: Option<MetricsRegistry>,
    ) -> Self {
        Self {
            servers,
            phases,
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

    /// Everything, in this format.
    pub(crate) fn text(self: &Arc<Self>, format: Format) -> String {
        let mut metrics_registry = MetricsRegistry::with_prefix("lockstepd");
        metrics_registry.register_collector(Box::new(Arc::clone(self)));
        let mut process = MetricsRegistry::default();
        process.register_collector(Box::new(ProcessMetrics { started: self.started }));
        let mut text = String::new();
        for registry in [&metrics_registry, &process].into_iter().chain(&self.own) {
            // Writing to a string does not fail.
            let _ = text::encode_registry(&mut text, registry);
        }
        format.of(text)
    }
}

type Written = Result<(), fmt::Error>;

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Written {
        let mut build =
            encoder.encode_descriptor("build_info", "Version", None, MetricType::Gauge)?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        build.encode_family(&version)?.encode_gauge(&1_u64)?;

        let help = "1 while /ready says that there should be traffic, 0 otherwise";
        encoder
            .encode_descriptor("ready", help, None, MetricType::Gauge)?
            .encode_gauge(&u64::from(self.phases.current().is_ready()))?;
        let mut reloads =
            encoder.encode_descriptor("reloads", "Reloads by result", None, MetricType::Counter)?;
        for (result, count) in [("ok", &self.reloads.succeeded), ("failed", &self.reloads.failed)] {
            let labels = [("result", result)];
            reloads.encode_family(&labels)?.encode_counter::<Empty, _, u64>(&count.get(), None)?;
        }
        let help = "Log lines that were lost because the log, or the access log's file, was too slow or away";
        encoder
            .encode_descriptor("log_lines_lost", help, None, MetricType::Counter)?
            .encode_counter::<Empty, _, u64>(&lost_lines(), None)?;
        self.gauge(&mut encoder, "connections", "Open connections", |server| {
            server.connections() as u64
        })?;
        let help = "Connections that a server may have";
        self.gauge(&mut encoder, "max_connections", help, |server| server.limit() as u64)?;
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
            let answers = METHODS.iter().zip(&server.metrics.answers);
            let answers = answers.filter_map(|(method, counts)| Some((*method, counts.get()?)));
            let counts = answers.flat_map(|(method, counts)| {
                counts.iter().enumerate().map(move |(status, count)| (method, status, count))
            });
            for (method, status, count) in counts {
                if count.get() > 0 {
                    let status = (100 + status).to_string();
                    let labels =
                        [("server", server.server()), ("method", method), ("status", &status)];
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
        self.servers.iter().try_for_each(|server| {
            encode_histogram(&mut family, server.server(), &server.metrics.durations)
        })
    }
}

/// A server's part of a family of histograms.
pub(super) fn encode_histogram(
    family: &mut MetricEncoder<'_>,
    server: &str,
    histogram: &Histogram,
) -> Written {
    let counts = histogram.counts();
    let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(counts).collect();
    let (sum, count) = (histogram.sum_seconds(), counts.iter().sum());
    let labels = [("server", server)];
    family.encode_family(&labels)?.encode_histogram::<Empty>(sum, count, &buckets, None)
}

/// No labels.
type Empty = prometheus_client::encoding::NoLabelSet;
