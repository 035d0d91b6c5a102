//! The table: medians with their spread, and how lockstepd compares with what it should be.

use std::fmt::{self, Write};

use crate::peers::{PEERS, Peer};

/// What was measured, round by round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    what: String,
    columns: Vec<(Peer, Samples)>,
    verdicts: Vec<String>,
}

/// What the comparison of two figures should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

// === impl Samples ===

impl Samples {
    pub(crate) fn add(&mut self, sample: f64) {
        self.0.push(sample);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
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
        let lowest = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
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

impl Row {
    pub(crate) fn new(what: impl Into<String>, columns: Vec<(Peer, Samples)>) -> Self {
        Self { what: what.into(), columns, verdicts: Vec::new() }
    }

    /// A line that is only about lockstepd.
    pub(crate) fn of_ours(what: impl Into<String>, samples: Samples) -> Self {
        Self::new(what, vec![(Peer::Lockstepd, samples)])
    }

    pub(crate) fn median(&self, peer: Peer) -> Option<f64> {
        let (_, samples) = self.columns.iter().find(|(column, _)| *column == peer)?;
        Some(samples.median())
    }

    /// Compares lockstepd with a peer, if there is one.
    pub(crate) fn against(self, peer: Peer, target: Target) -> Self {
        match (self.median(Peer::Lockstepd), self.median(peer)) {
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
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| |");
    for peer in PEERS {
        let _ = write!(text, " {peer} |");
    }
    text.push_str(" lockstepd against (target) |\n|---|");
    text.push_str(&"---|".repeat(PEERS.len() + 1));
    for row in rows {
        let _ = write!(text, "\n| {} |", row.what);
        for peer in PEERS {
            match row.columns.iter().find(|(column, _)| *column == peer) {
                Some((_, samples)) => drop(write!(text, " {samples} |")),
                None => text.push_str(" |"),
            }
        }
        let _ = write!(text, " {} |", row.verdicts.join("; "));
    }
    text
}
