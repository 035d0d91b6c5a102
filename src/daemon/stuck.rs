//! Who has a thread of the runtime and does not give it back.

use std::sync::Arc;
use std::time::Duration;

use crate::connections::registry::{Participants, Suspect};
use crate::lifecycle::group::Polls;

/// Who had a thread at one look; whoever still has it at the next is a culprit.
#[derive(Debug)]
pub(crate) struct Suspects {
    servers: Vec<(Arc<Participants>, Vec<Suspect>)>,
    polls: Polls,
}

// === impl Suspects ===

impl Suspects {
    /// How long to wait between the two looks: far longer than any poll should take.
    pub(crate) const PAUSE: Duration = Duration::from_millis(50);

    /// Takes the first look.
    pub(crate) fn now(servers: &[Arc<Participants>], polls: &Polls) -> Self {
        let suspects = |server: &Arc<Participants>| (Arc::clone(server), server.suspects());
        Self { servers: servers.iter().map(suspects).collect(), polls: polls.clone() }
    }

    /// Takes the second look, after the [pause](Self::PAUSE): everybody who has not come out of a poll
    /// since, in words.
    pub(crate) fn culprits(self) -> Vec<String> {
        let members = self.polls.longer_than(Self::PAUSE).into_iter();
        let members = members.map(|member| format!("member \"{member}\" does not yield"));
        let connections = self.servers.iter().flat_map(|(server, suspects)| {
            let name = server.server();
            server.still(suspects).into_iter().map(move |peer| match peer {
                Some(peer) => format!("a handler of \"{name}\" for {peer} does not yield"),
                None => format!("a handler of \"{name}\" does not yield"),
            })
        });
        members.chain(connections).collect()
    }
}
