//! How the drains of the processes before this one went, for the metrics.
//!
//! A process that has ended cannot be asked for metrics any more. So each adds its own drain to the history that
//! it received, and passes that on with its connections. Where nothing is handed over (a plain stop, a crash),
//! the counts begin anew at zero, as counters may.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The drains up to the start of this process.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct DrainHistory {
    /// Connections that were handed over, by server.
    pub(crate) handed_over: BTreeMap<String, u64>,
    /// Connections for which a hand-over had no room, and that were ended instead, by server.
    pub(crate) not_handed_over: BTreeMap<String, u64>,
    /// Drains in which every request was answered.
    pub(crate) clean: u64,
    /// Drains that cut requests off.
    pub(crate) cut_off: u64,
    pub(crate) last: Option<LastDrain>,
}

/// The drain of the process before this one.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct LastDrain {
    pub(crate) duration: Duration,
    /// Requests that were cut off.
    pub(crate) requests: u64,
}

// === impl DrainHistory ===

impl DrainHistory {
    /// The history with one more drain.
    pub(crate) fn with(&self, drain: LastDrain) -> Self {
        let mut history = Self { last: Some(drain), ..self.clone() };
        let outcome = if drain.requests == 0 { &mut history.clean } else { &mut history.cut_off };
        *outcome += 1;
        history
    }

    /// Adds connections that were handed over.
    pub(crate) fn add_handed_over(&mut self, server: &str, connections: u64) {
        *self.handed_over.entry(server.to_owned()).or_default() += connections;
    }

    /// Adds connections for which there was no room.
    pub(crate) fn add_not_handed_over(&mut self, server: &str, connections: u64) {
        *self.not_handed_over.entry(server.to_owned()).or_default() += connections;
    }

    /// For how many connections of a server there was no room.
    #[cfg(feature = "metrics")]
    pub(crate) fn not_handed_over(&self, server: &str) -> u64 {
        self.not_handed_over.get(server).copied().unwrap_or_default()
    }

    /// How many connections of a server were handed over.
    #[cfg(feature = "metrics")]
    pub(crate) fn handed_over(&self, server: &str) -> u64 {
        self.handed_over.get(server).copied().unwrap_or_default()
    }
}
