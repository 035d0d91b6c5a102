//! The activity of one stream of HTTP/2.

use std::sync::Arc;
use std::task::Context;

use super::Activity;
use super::flags::{OF_STREAM, READ_BLOCKED, TIMED_OUT};
use crate::connections::registry::Registry;
use crate::sockets::peer::Peer;

// === impl Activity ===

impl Activity {
    /// `recalls`: as for [`Activity::new`], though of a stream no request is ever recalled: the service hears of its
    /// client in that way.
    pub(crate) fn of_stream(registry: Arc<Registry>, peer: Peer, recalls: bool) -> Self {
        let activity = Self::new(registry, peer, recalls);
        activity.wire().unfollow();
        // What is wanted of its body has not come: what has is given to the service at once.
        activity.change(OF_STREAM | READ_BLOCKED, true);
        activity
    }

    /// Has the stream's task woken when its client begins to be waited for, and when it is not any more.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// The client has let its request wait for too long; answers whether it can be told so.
    pub(crate) fn times_out(&self) -> bool {
        self.change(TIMED_OUT, true);
        self.is_answering()
    }
}
