//! What the process before this one has handed over.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::SystemTime;

use crate::connections::overview::HandOver;
use crate::connections::parked::Idle;
use crate::daemon::applications::Tunnels;
use crate::handover::assignment::{Received, SocketsError};
use crate::handover::carrier::CarrierContents;
use crate::handover::drain_history::DrainHistory;
use crate::handover::shut_door::ShutDoor;
use crate::log::message_id;
use crate::manager::notify::Notifier;
use crate::manager::store_names::CARRIER_NAME;
#[cfg(feature = "tls")]
use crate::tls::ticket_keys::TicketKeys;

/// How many connections of each server were closed, as it may not have more.
pub(crate) type Surplus = BTreeMap<String, usize>;

/// What the process before this one has handed over.
#[derive(Debug, Default)]
pub(crate) struct TakenOver {
    /// Connections by the name of their server.
    pub(crate) connections: Vec<(String, Idle)>,
    pub(crate) tunnels: Tunnels,
    pub(crate) surplus: Surplus,
    /// None: there was no such process.
    pub(crate) hand_over: Option<HandOver>,
    pub(crate) history: Arc<DrainHistory>,
    /// Applications that requests wait for.
    pub(crate) doors: Vec<ShutDoor>,
    #[cfg(feature = "tls")]
    pub(crate) ticket_keys: Vec<(String, TicketKeys)>,
}

/// Takes what the process before this one handed over, up to `limit` connections of a server; its
/// listeners go to `received`.
pub(crate) fn take_over(
    received: &mut Received,
    upgrade: Option<&OwnedFd>,
    notifier: &Notifier,
    limit: &dyn Fn(&str) -> usize,
) -> Result<TakenOver, SocketsError> {
    let mut taken = TakenOver::default();
    let mut gone = 0;
    let mut history = DrainHistory::default();
    let carriers = std::mem::take(&mut received.carriers);
    if !carriers.is_empty() {
        // A carrier that stayed in the store would hold every connection open a second time.
        notifier.unstore(CARRIER_NAME);
    }
    for carrier in upgrade.into_iter().chain(&carriers) {
        let (contents, error) = CarrierContents::take(carrier, limit);
        if let Some(error) = error {
            tracing::warn!(%error, "closing connections of the process before this one");
        }
        gone += contents.gone;
        history = contents.history.unwrap_or(history);
        taken.connections.extend(contents.connections);
        taken.tunnels.extend(contents.tunnels);
        taken.doors.extend(contents.doors);
        #[cfg(feature = "tls")]
        taken.ticket_keys.extend(contents.ticket_keys);
        for (server, count) in contents.surplus {
            *taken.surplus.entry(server).or_default() += count;
        }
        received.add(contents.listeners, contents.files)?;
    }
    let count = taken.connections.len() + taken.tunnels.len();
    if count > 0 || gone > 0 {
        tracing::info!(
            message_id = message_id::TAKEN_OVER,
            connections = count,
            tunnels = taken.tunnels.len(),
            gone,
            "took connections over",
        );
    }
    let has_predecessor = upgrade.is_some() || !carriers.is_empty();
    taken.hand_over = has_predecessor.then(|| HandOver {
        way: if upgrade.is_some() { "upgrade" } else { "restart" },
        connections: count,
        gone,
        time: SystemTime::now(),
        drain_seconds: history.last.map(|last| last.duration.as_secs_f64()),
        requests_cut_off: history.last.map(|last| last.requests),
    });
    taken.history = Arc::new(history);
    Ok(taken)
}
