//! The bodies of a connection's requests, until each has come to its end or nobody waits for that.
//!
//! A body that the service did not want is kept: hyper, which would close the connection otherwise, reads
//! no other request before its end.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http_body::Body as _;
use hyper::body::Incoming;

use super::Activity;
use super::flags::{
    AWAITS_CONTINUE, BODY_DROPPED, BODY_FAILED, BODY_TOUCHED, BODY_WANTED, DISCARDING,
    NOT_DISCARDED, OF_STREAM, UNWANTED,
};

/// How much of a body that the service did not want is read to save the connection: 1 MiB. The model
/// has smaller bodies.
pub(crate) const LEFTOVER_MAX: u64 = if cfg!(test) { 2 << 10 } else { 1 << 20 };

/// A body that the service did not want, kept until it is clear what becomes of its rest: hyper reads no
/// other request before its end.
#[derive(Debug)]
pub(super) struct Leftover {
    body: Incoming,
    read: u64,
    /// Which of the connection's requests it belongs to.
    request: u32,
}

// === impl Activity ===

impl Activity {
    /// A request with a body begins; its client may wait to be asked for it.
    pub(crate) fn request_body_begins(&self, expects_continue: bool) {
        self.change(AWAITS_CONTINUE, expects_continue);
        self.bodies.fetch_add(1, Ordering::AcqRel);
    }

    /// The client sends a request's body, having been asked for it or not.
    pub(crate) fn request_body_asked(&self) {
        self.change(AWAITS_CONTINUE, false);
    }

    /// Says whether somebody waits for more of a request's body.
    pub(crate) fn request_body_wanted(&self, is_wanted: bool) {
        if self.recalls && !self.has(BODY_TOUCHED) {
            self.change(BODY_TOUCHED, true);
            self.wire().let_go();
        }
        let was_wanted = self.has(BODY_WANTED);
        self.change(BODY_WANTED, is_wanted);
        if is_wanted && !was_wanted {
            // The client's time begins.
            self.waker.wake();
        }
        if !is_wanted && self.has(OF_STREAM) {
            // Of a connection's reads nobody knows which of its streams they were for.
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request's body has come to its end, or nobody waits for that any more.
    pub(crate) fn request_body_ends(&self) {
        self.bodies.fetch_sub(1, Ordering::AcqRel);
        self.waker.wake();
    }

    /// A request's body cannot be read to its end.
    pub(crate) fn request_body_failed(&self) {
        self.change(BODY_FAILED, true);
        self.request_body_ends();
    }

    /// The service dropped the body of the request with this number before its end. A client that was
    /// not asked for it may send it or not.
    pub(crate) fn request_body_dropped(&self, body: Incoming, request: u32, unasked: bool) {
        if self.has(OF_STREAM) {
            // The client is told to send no more of it, and the connection goes on.
            drop(body);
            return self.request_body_ends();
        }
        let mut slot = self.leftover();
        if request != self.requests() {
            // hyper has read all of it, as there is a later request.
            return self.request_body_ends();
        }
        if unasked || body.size_hint().lower() > LEFTOVER_MAX {
            self.change(NOT_DISCARDED, true);
        }
        let before = slot.replace(Leftover { body, read: 0, request });
        self.change(UNWANTED | BODY_DROPPED, true);
        drop(slot);
        if before.is_some() {
            // The body of an earlier request, of which the same is true.
            self.request_body_ends();
        }
        self.waker.wake();
    }

    /// Reads and forgets what the service did not want; answers whether hyper has to be polled
    /// again because of it.
    pub(crate) fn poll_leftover(&self, cx: &mut Context<'_>) -> bool {
        if !self.has(UNWANTED) {
            return false;
        }
        self.change(BODY_DROPPED, false);
        let mut slot = self.leftover();
        let Some(leftover) = slot.as_mut().filter(|_| !self.has(NOT_DISCARDED)) else {
            return false;
        };
        let mut progress = false;
        let whole = loop {
            if leftover.request != self.requests() {
                // hyper has read all of it, as there is a later request.
                break true;
            }
            match Pin::new(&mut leftover.body).poll_frame(cx) {
                Poll::Pending => {
                    self.change(DISCARDING, true);
                    return progress;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    progress = true;
                    leftover.read += frame.data_ref().map_or(0, |data| data.len() as u64);
                    if leftover.body.is_end_stream() {
                        break true;
                    }
                    if leftover.read > LEFTOVER_MAX {
                        self.change(NOT_DISCARDED, true);
                        self.change(DISCARDING, false);
                        return true;
                    }
                }
                Poll::Ready(Some(Err(_))) => break false,
                Poll::Ready(None) => break true,
            }
        };
        *slot = None;
        self.change(UNWANTED | DISCARDING, false);
        drop(slot);
        if whole {
            self.request_body_ends();
        } else {
            self.request_body_failed();
        }
        true
    }

    fn leftover(&self) -> MutexGuard<'_, Option<Leftover>> {
        self.leftover.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
