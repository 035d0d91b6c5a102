//! The table: medians with their spread, and how lockstepd compares with what it should be.

use std::fmt::{self, Write};

use crate::{
    peers::{PEERS, Peer},
    support::Trouble,
};

/// What has a column in a table.
pub(crate) trait Column: Copy + Eq + fmt::Display + 'static {
    /// In the table's order.
    const ALL: &'static [Self];
    /// The column that is compared with the others.
    const OURS: Self;
}

/// What was measured, round by round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    samples: Vec<f64>,
    has_failed: bool,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row<C = Peer> {
    what: String,
    columns: Vec<(C, Samples)>,
    verdicts: Vec<String>,
}

/// What the comparison of two figures should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

// === impl Column ===

impl Column for Peer {
    const ALL: &'static [Self] = &PEERS;
    const OURS: Self = Self::Lockstepd;
}

// === impl Samples ===

impl Samples {
    pub(crate) fn add(&mut self, sample: f64) {
        self.samples.push(sample);
    }

    /// Adds what `measure` finds. What has failed once is said, and not tried again.
    pub(crate) fn attempt(
        &mut self,
        of: impl fmt::Display,
        measure: impl FnOnce() -> Result<f64, Trouble>,
    ) {
        if self.has_failed {
            return;
        }
        match measure() {
            Ok(sample) => self.add(sample),
            Err(trouble) => {
                eprintln!("{of} failed: {trouble}");
                self.has_failed = true;
            }
        }
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[length / 2],
            length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
        }
    }
}

/// The median, and the lowest and the highest.
impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has_failed {
            return f.write_str("failed");
        }
        if self.samples.is_empty() {
            return Ok(());
        }
        let lowest = self.samples.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = self.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let [median, lowest, highest] = [self.median(), lowest, highest].map(readable);
        write!(f, "{median} ({lowest}–{highest})")
    }
}

/// Three digits, or all before the point.
fn readable(number: f64) -> String {
    let digits = match number.abs() {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    let text = format!("{number:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    grouped(whole) + rest
}

/// The digits of a whole number in groups of three.
pub(crate) fn grouped(whole: &str) -> String {
    let mut grouped = String::new();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

// === impl Row ===

impl<C: Column> Row<C> {
    pub(crate) fn new(what: impl Into<String>, columns: Vec<(C, Samples)>) -> Self {
        Self { what: what.into(), columns, verdicts: Vec::new() }
    }

    /// A line that is only about lockstepd.
    pub(crate) fn of_ours(what: impl Into<String>, samples: Samples) -> Self {
        Self::new(what, vec![(C::OURS, samples)])
    }

    pub(crate) fn median(&self, column: C) -> Option<f64> {
        let (_, samples) = self.columns.iter().find(|(candidate, _)| *candidate == column)?;
        Some(samples.median()).filter(|median| !samples.has_failed && median.is_finite())
    }

    /// Tells whether nothing of it has failed.
    pub(crate) fn is_complete(&self) -> bool {
        self.columns.iter().all(|(_, samples)| !samples.has_failed)
    }

    /// Compares lockstepd with a peer, if there is one.
    pub(crate) fn against(self, peer: C, target: Target) -> Self {
        match (self.median(C::OURS), self.median(peer)) {
            (Some(ours), Some(theirs)) => self.judge(&peer.to_string(), ours / theirs, target),
            _ => self,
        }
    }

    /// Compares a number, such as a ratio to `name`, with what it should be.
    pub(crate) fn judge(mut self, name: &str, number: f64, target: Target) -> Self {
        let met = target.is_met(number);
        let mark = if met { "✓" } else { "✗" };
        self.verdicts.push(format!("{name} {} ({target}) {mark}", readable(number)));
        self
    }

    /// Tells a number that has no target.
    pub(crate) fn note(mut self, name: &str, number: f64) -> Self {
        self.verdicts.push(format!("{name} {}", readable(number)));
        self
    }
}

// === impl Target ===

impl Target {
    fn is_met(self, number: f64) -> bool {
        match self {
            Self::AtLeast(limit) => number >= limit,
            Self::AtMost(limit) => number <= limit,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(limit) => write!(f, "≥ {}", readable(*limit)),
            Self::AtMost(limit) => write!(f, "≤ {}", readable(*limit)),
        }
    }
}

/// All lines, in Markdown.
pub(crate) fn markdown<C: Column>(rows: &[Row<C>]) -> String {
    let mut text = String::from("| |");
    for column in C::ALL {
        let _ = write!(text, " {column} |");
    }
    text.push_str(" lockstepd against (target) |\n|---|");
    text.push_str(&"---|".repeat(C::ALL.len() + 1));
    for row in rows {
        let _ = write!(text, "\n| {} |", row.what);
        for column in C::ALL {
            match row.columns.iter().find(|(candidate, _)| candidate == column) {
                Some((_, samples)) => drop(write!(text, " {samples} |")),
                None => text.push_str(" |"),
            }
        }
        let _ = write!(text, " {} |", row.verdicts.join("; "));
    }
    text
}
