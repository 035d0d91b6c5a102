//! Whether the request in flight may be [recalled](crate::http::recall).

use std::sync::atomic::Ordering;
#[cfg(feature = "proxy")]
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use super::Activity;
#[cfg(feature = "tls")]
use super::flags::HALF_CLOSED;
use super::flags::{
    BODY_FAILED, BODY_TOUCHED, RECALL_ALLOWED, RECALLED_BEFORE, SWITCHED, UNFLUSHED, UNWANTED,
};

// === impl Activity ===

impl Activity {
    /// Tells whether requests may be recalled.
    #[cfg(any(feature = "proxy", test))]
    pub(crate) fn recalls(&self) -> bool {
        self.recalls
    }

    /// The service says whether it may be.
    #[cfg(any(feature = "proxy", test))]
    pub(crate) fn allow_recall(&self, is_allowed: bool) {
        self.change(RECALL_ALLOWED, is_allowed);
    }

    /// What comes first is a request that was recalled, and has waited since then.
    pub(crate) fn has_waited_since(&self, since: Instant) {
        self.change(RECALLED_BEFORE, true);
        self.exchange().next_began(since);
    }

    /// For how long the request in flight has waited, if it was recalled before.
    #[cfg(feature = "proxy")]
    pub(crate) fn waited(&self) -> Option<Duration> {
        let is_recalled_one = self.has(RECALLED_BEFORE) && self.requests() == 1;
        is_recalled_one.then(|| self.exchange().begun().elapsed())
    }

    /// Takes the request in flight back, with all that has come behind it: nothing is logged of it.
    pub(crate) fn recall(&self) -> Option<Bytes> {
        self.exchange().recalled();
        self.wire().take_request()
    }

    /// Tells whether the client's end has been read that TLS has: without it a socket says so again in the next process,
    /// with it a connection that has ended in one direction cannot leave this one.
    #[cfg(feature = "tls")]
    fn has_ended_tls(&self) -> bool {
        self.tls_session().is_some() && self.has(HALF_CLOSED)
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "with TLS it looks")]
    fn has_ended_tls(&self) -> bool {
        false
    }

    /// Tells whether the request in flight may be taken back: it is the only one, everything before it has been
    /// answered and written, and nothing has been done about it.
    pub(crate) fn may_be_recalled(&self) -> bool {
        const DONE: u32 = BODY_TOUCHED | BODY_FAILED | UNWANTED | UNFLUSHED | SWITCHED;
        self.has(RECALL_ALLOWED)
            && !self.has(DONE)
            && !self.has_ended_tls()
            && self.exchanges.load(Ordering::Acquire) == 1
            && self.unanswered.load(Ordering::Acquire) == 1
    }
}
