//! A tunnel: a client's connection and an application's, and what was read from one and not yet written to the other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::sockets::stream::Stream;

/// Two connections, each the end of the other.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) client: Stream,
    /// The application's end.
    pub(crate) upstream: Stream,
    pub(crate) to_upstream: Flow,
    pub(crate) to_client: Flow,
}

/// One direction of a tunnel.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Flow {
    /// What was read and not yet written; empty most of the time, and then it has no memory.
    pub(crate) unsent: Bytes,
    pub(crate) state: FlowState,
}

/// How far a direction has come.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum FlowState {
    /// More may come.
    #[default]
    Open,
    /// The sender has ended. The receiver is told so behind what is unsent.
    Ending,
    /// The receiver has been told, or takes no more.
    Ended,
}

// === impl Tunnel ===

impl Tunnel {
    /// A tunnel that begins: with what has been read from both ends already.
    #[cfg_attr(
        not(any(feature = "proxy", test)),
        expect(dead_code, reason = "only a proxy begins one")
    )]
    pub(crate) fn new(
        client: Stream,
        upstream: Stream,
        read_from_client: Bytes,
        read_from_upstream: Bytes,
    ) -> Self {
        let flow = |unsent| Flow { unsent, state: FlowState::Open };
        let (to_upstream, to_client) = (flow(read_from_client), flow(read_from_upstream));
        Self { client, upstream, to_upstream, to_client }
    }

    /// How many bytes are unsent.
    pub(crate) fn unsent(&self) -> usize {
        self.to_upstream.unsent.len() + self.to_client.unsent.len()
    }
}
