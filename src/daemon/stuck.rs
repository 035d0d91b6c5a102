//! Tasks that are stuck: they block a thread of the runtime.

use std::sync::Arc;
use std::time::Duration;

use crate::connections::registry::{PollInProgress, Registry, Stuck};
use crate::lifecycle::group::Polls;

/// The polls that were in progress at one moment; a task that is still in the same poll later is stuck.
#[derive(Debug)]
pub(crate) struct PollsInProgress {
    servers: Vec<(Arc<Registry>, Vec<PollInProgress>)>,
    polls: Polls,
}

// === impl PollsInProgress ===

impl PollsInProgress {
    /// How long to wait in between: far longer than any poll should take.
    pub(crate) const PAUSE: Duration = Duration::from_millis(50);

    /// The polls in progress now.
    pub(crate) fn now(servers: &[Arc<Registry>], polls: &Polls) -> Self {
        let polls_in_progress =
            |server: &Arc<Registry>| (Arc::clone(server), server.polls_in_progress());
        Self { servers: servers.iter().map(polls_in_progress).collect(), polls: polls.clone() }
    }

    /// After the [pause](Self::PAUSE): the tasks that have not returned from their poll since, in words.
    pub(crate) fn stuck(self) -> Vec<String> {
        let members = self.polls.longer_than(Self::PAUSE).into_iter();
        let members = members.map(|member| format!("member \"{member}\" does not yield"));
        let connections = self.servers.iter().flat_map(|(server, polls_in_progress)| {
            let name = server.server();
            server.still(polls_in_progress).into_iter().map(move |stuck| match stuck {
                Stuck::Connection(Some(peer)) => {
                    format!("a handler of \"{name}\" for {peer} does not yield")
                }
                Stuck::Connection(None) => format!("a handler of \"{name}\" does not yield"),
                Stuck::Acceptor => format!("the listener of \"{name}\" does not yield"),
            })
        });
        members.chain(connections).collect()
    }
}
