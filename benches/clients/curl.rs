//! What curl and h2load say, which write no report of ours.

use std::time::Duration;

use crate::{report::Report, support::Trouble};

/// What curl writes of each transfer.
pub(crate) const FORMAT: &str =
    "%{exitcode} %{http_code} %{num_connects} %{time_total} %{errormsg}\\n";

/// Reads what curl has written; it was ended in the middle of a line.
pub(crate) fn of_curl(text: &str, took: Duration) -> Report {
    let mut report = Report { took, ..Report::default() };
    let mut connections = 0;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        let mut words = line.splitn(5, ' ');
        let [code, status, connects, time, message] =
            [(); 5].map(|()| words.next().unwrap_or_default());
        report.requests += 1;
        connections += connects.parse::<u64>().unwrap_or_default();
        report.slowest = report.slowest.max(Duration::from_secs_f64(time.parse().unwrap_or(0.0)));
        if code != "0" {
            report.fail(&format!("({code}) {message}"), 1);
        } else if status != "200" {
            report.fail(&format!("status {status}"), 1);
        }
    }
    report.connections = Some(connections);
    report
}

/// Reads h2load's summary.
pub(crate) fn of_h2load(text: &str, took: Duration) -> Result<Report, Trouble> {
    let line = |begin: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(begin));
        line.ok_or_else(|| format!("h2load says nothing of {begin}"))
    };
    // requests: 10 total, 10 started, 10 done, 9 succeeded, 1 failed, 0 errored, 0 timeout
    let counts = line("requests: ")?;
    let count = |what: &str| {
        let part = counts.split(", ").find_map(|part| part.strip_suffix(what));
        part.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    let mut report = Report { requests: count("done"), took, ..Report::default() };
    // Those that errored and timed out are among them.
    if count("failed") > 0 {
        report.fail("failed", count("failed"));
    }
    // time for request:       81us     30.22ms      1.02ms       1.21ms    89.73%
    let times = line("time for request: ")?;
    report.slowest = times.split_whitespace().nth(1).and_then(duration).unwrap_or_default();
    Ok(report)
}

/// As h2load writes it.
fn duration(text: &str) -> Option<Duration> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let (number, unit) =
        units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * unit))
}
