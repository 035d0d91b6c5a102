//! Recalled requests: those that a hand-over takes back from the service.
//!
//! A request that waits, and about which nothing has been done, need not hold up a hand-over, and need not be answered
//! before it either. It is put back into its connection as if it had not been read, and travels to the next process like
//! the beginning of a request.
//!
//! # Invariants
//! - A request is recalled only while its service [allows](Recall::allow) it, and has read nothing of its body: the
//!   client has not even been asked for it.
//! - What is put back are the bytes as they came, from the first of its head to the last that hyper was given.

#[cfg(any(feature = "proxy", test))]
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

#[cfg(any(feature = "proxy", test))]
use crate::http::activity::Activity;
#[cfg(feature = "proxy")]
use crate::sockets::peer::Peer;

/// What the service of a request that can be recalled is given with its body: it says when.
#[cfg(any(feature = "proxy", test))]
#[derive(Clone, Debug)]
pub(crate) struct Recall(Arc<Activity>);

/// As long as this lives, the request may be recalled: then the service's future is dropped.
#[cfg(any(feature = "proxy", test))]
#[derive(Debug)]
pub(crate) struct Allowed<'r>(&'r Recall);

/// The bytes of the request in flight, as long as it may be recalled, and of those that have come behind it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: BytesMut,
    /// They begin with the head of the request in flight; otherwise with that of the next one.
    is_in_flight: bool,
}

// === impl Recall ===

#[cfg(any(feature = "proxy", test))]
impl Recall {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        Self(Arc::clone(activity))
    }

    /// Says that nothing has been done about the request. Called where the service's future is polled: by the
    /// connection's own task, which looks after each poll.
    pub(crate) fn allow(&self) -> Allowed<'_> {
        self.0.allow_recall(true);
        Allowed(self)
    }

    /// The client.
    #[cfg(feature = "proxy")]
    pub(crate) fn peer(&self) -> Peer {
        self.0.peer()
    }
}

// === impl Allowed ===

#[cfg(any(feature = "proxy", test))]
impl Drop for Allowed<'_> {
    fn drop(&mut self) {
        self.0.0.allow_recall(false);
    }
}

// === impl Kept ===

impl Kept {
    /// Goes on by `bytes`. `next`: how many of the last bytes belong to requests that are not in flight.
    pub(super) fn follow(&mut self, bytes: &[u8], next: usize) {
        let mut belongs = bytes;
        if !self.is_in_flight && next < bytes.len() {
            self.bytes.clear();
            belongs = &bytes[bytes.len() - next..];
        }
        self.bytes.extend_from_slice(belongs);
    }

    /// The next request is in flight from here on.
    pub(super) fn begin(&mut self, next: usize) {
        self.let_go(next);
        self.is_in_flight = true;
    }

    /// The request in flight is not recalled any more.
    pub(super) fn let_go(&mut self, next: usize) {
        self.is_in_flight = false;
        self.bytes.advance(self.bytes.len().saturating_sub(next));
    }

    /// All bytes from the head of the request in flight on.
    pub(super) fn into_bytes(self) -> Option<Bytes> {
        self.is_in_flight.then(|| self.bytes.freeze())
    }
}
