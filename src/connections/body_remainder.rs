//! What of a request's body has not come yet. It is kept with the connection, also while that is parked, and is
//! handed over with it.

use http_body::Body;
use serde::{Deserialize, Serialize};

use crate::connections::chunked_body::{Chunks, Malformed};

/// What of a request's body is still to come.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Remainder {
    /// So many bytes; never 0.
    Counted(u64),
    Chunked(Chunks),
    /// No request follows, whatever comes is discarded until the client closes: a lingering close. So many
    /// bytes have been discarded.
    UntilClose(u64),
}

// === impl Remainder ===

impl Remainder {
    /// All of a body, of which nothing has come yet; none if there is no body.
    pub(crate) fn of(body: &impl Body) -> Option<Self> {
        if body.is_end_stream() {
            return None;
        }
        Some(body.size_hint().exact().map_or(Self::Chunked(Chunks::BEGIN), Self::Counted))
    }

    /// Goes on by `bytes`; answers how many of them belong to the body, and whether it has ended there.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        match self {
            Self::Counted(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= here as u64;
                Ok((here, *left == 0))
            }
            Self::Chunked(chunks) => chunks.advance(bytes),
            Self::UntilClose(count) => {
                *count = count.saturating_add(bytes.len() as u64);
                Ok((bytes.len(), false))
            }
        }
    }
}
