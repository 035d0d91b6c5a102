//! What the kernel says of the process, as text for Prometheus.
#![expect(clippy::cast_precision_loss, reason = "figures for people, exact up to 2^53")]

use std::fmt;
use std::fs;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// What the kernel says of this process, under the names that all Prometheus clients use.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    pub(super) started: SystemTime,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
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
                .encode_counter::<NoLabelSet, _, u64>(&cpu, None)?;
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
