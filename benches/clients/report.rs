//! What became of a program's requests.

use std::{cmp::Reverse, collections::BTreeMap, fmt, time::Duration};

use serde_json::Value;

use crate::support::Trouble;

/// What a program says at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Of a program that can count them.
    pub(crate) connections: Option<u64>,
    pub(crate) slowest: Duration,
    /// How long it was asking.
    pub(crate) took: Duration,
    /// How often a failure has said what, without numbers in it.
    pub(crate) failures: BTreeMap<String, u64>,
}

// === impl Report ===

impl Report {
    /// Reads the line of JSON that programs write.
    pub(crate) fn parse(text: &str, took: Duration) -> Result<Self, Trouble> {
        let line = text.lines().last().ok_or("it ended without a report")?;
        let value: Value = serde_json::from_str(line).map_err(|_| format!("it says {line:?}"))?;
        let mut this = Self {
            requests: value["requests"].as_u64().unwrap_or_default(),
            connections: value["connections"].as_u64(),
            slowest: Duration::from_secs_f64(value["slowest"].as_f64().unwrap_or_default() / 1e3),
            took,
            ..Self::default()
        };
        for (what, times) in value["failures"].as_object().into_iter().flatten() {
            this.fail(what, times.as_u64().unwrap_or_default());
        }
        Ok(this)
    }

    /// Counts failures of one class.
    pub(crate) fn fail(&mut self, what: &str, times: u64) {
        self.failed += times;
        *self.failures.entry(class(what)).or_default() += times;
    }

    /// The three failures that there were most of.
    pub(crate) fn most_frequent(&self) -> Vec<(&str, u64)> {
        let mut all: Vec<_> =
            self.failures.iter().map(|(what, times)| (what.as_str(), *times)).collect();
        all.sort_by_key(|(_, times)| Reverse(*times));
        all.truncate(3);
        all
    }

    fn rate(&self) -> f64 {
        let requests = u32::try_from(self.requests).unwrap_or(u32::MAX);
        f64::from(requests) / self.took.as_secs_f64()
    }
}

impl fmt::Display for Report {
    /// As cells of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.connections.map_or("–".to_owned(), |count| count.to_string());
        write!(
            f,
            "{} ({:.0}/s) | {} | {connections} | {} ms",
            self.requests,
            self.rate(),
            self.failed,
            self.slowest.as_millis()
        )
    }
}

/// Without what is different each time: ports, streams, counts. A number that is part of a word stays.
fn class(what: &str) -> String {
    let number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let words = what.split_inclusive(|c: char| !c.is_alphanumeric() && c != '/' && c != '.');
    let plain = words.map(|word| {
        let name = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        if number(name) { word.replacen(name, "N", 1) } else { word.to_owned() }
    });
    plain.collect::<String>().chars().take(160).collect()
}
