//! What became of the drains of the processes before this one.
//!
//! A process that ends has nobody left to ask it how that went. So each adds its own drain to what it was
//! told and passes it on with its connections; who asks the last one hears of all. The chain breaks
//! where nothing is handed over (a plain stop, a crash): it begins anew at zero, as counters may.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The drains up to the start of this process.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct DrainHistory {
    /// Connections that were handed over, by server.
    pub(crate) handed_over: BTreeMap<String, u64>,
    /// Connections that found no room in a hand-over, and were ended instead, by server.
    pub(crate) left: BTreeMap<String, u64>,
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
    pub(crate) fn hand_over(&mut self, server: &str, connections: u64) {
        *self.handed_over.entry(server.to_owned()).or_default() += connections;
    }

    /// Adds connections that found no room.
    pub(crate) fn leave(&mut self, server: &str, connections: u64) {
        *self.left.entry(server.to_owned()).or_default() += connections;
    }

    /// How many connections of a server found no room.
    #[cfg(feature = "metrics")]
    pub(crate) fn left(&self, server: &str) -> u64 {
        self.left.get(server).copied().unwrap_or_default()
    }

    /// How many connections of a server were handed over.
    #[cfg(feature = "metrics")]
    pub(crate) fn handed_over(&self, server: &str) -> u64 {
        self.handed_over.get(server).copied().unwrap_or_default()
    }
}
