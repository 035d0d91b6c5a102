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
#[cfg(feature = "proxy")]
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

#[cfg(any(feature = "proxy", test))]
use crate::http::activity::Activity;
#[cfg(feature = "proxy")]
use crate::sockets::peer::Peer;
#[cfg(all(feature = "proxy", feature = "tls"))]
use crate::tls::session::TlsSession;

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

    /// What there is to know of its TLS; none where it has come in clear text.
    #[cfg(all(feature = "proxy", feature = "tls"))]
    pub(crate) fn tls_session(&self) -> Option<&TlsSession> {
        self.0.tls_session()
    }

    /// For how long the request has waited, if it has been recalled before; in another process does not count.
    #[cfg(feature = "proxy")]
    pub(crate) fn waited(&self) -> Option<Duration> {
        self.0.waited()
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

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// All bytes from the head of the request in flight on.
    pub(super) fn into_bytes(self) -> Option<Bytes> {
        self.is_in_flight.then(|| self.bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "proxy")]
    use std::time::Instant;

    #[cfg(feature = "proxy")]
    use http::{Method, Version};

    use super::*;
    use crate::connections::body_remainder::Remainder;
    use crate::connections::registry::Registry;
    use crate::sockets::peer::Peer;

    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";

    /// That of a connection with a request in flight, which has a body, and of which nothing else has come.
    fn activity() -> Arc<Activity> {
        let registry = Arc::new(Registry::new("test".to_owned()));
        let activity = Arc::new(Activity::new(registry, Peer::Unix(None), true));
        activity.received(HEAD).unwrap();
        activity.begin(Some(Remainder::Counted(100_000))).unwrap();
        activity.request_body_begins(false);
        activity
    }

    #[test]
    fn a_request_is_recalled_only_when_nothing_has_been_done_about_it() {
        let activity = activity();
        assert!(!activity.may_be_recalled(), "nobody has allowed it");
        let recall = Recall::new(&activity);
        let allowed = recall.allow();
        assert!(activity.may_be_recalled());
        activity.unflushed();
        assert!(!activity.may_be_recalled(), "the answer before it is not written");
        activity.flushed();
        assert!(activity.may_be_recalled());
        drop(allowed);
        assert!(!activity.may_be_recalled(), "it is allowed no longer");
        let _allowed = recall.allow();
        activity.received(b"hello").unwrap();
        assert!(activity.may_be_recalled());
        assert_eq!(activity.recall().unwrap(), [HEAD, b"hello"].concat());
    }

    #[test]
    fn of_a_body_that_is_read_nothing_is_kept() {
        let activity = activity();
        let recall = Recall::new(&activity);
        let _allowed = recall.allow();
        activity.request_body_wanted(true);
        assert!(!activity.may_be_recalled());
        activity.received(&vec![0; 99_999]).unwrap();
        assert_eq!(activity.wire().kept(), 0);
        activity.received(b"0GET").unwrap();
        assert_eq!(activity.wire().kept(), 3);
        activity.answered(false);
        assert_eq!(activity.recall(), None);
    }

    #[test]
    fn of_a_request_that_is_answered_nothing_is_kept() {
        let activity = activity();
        activity.received(&vec![0; 99_999]).unwrap();
        activity.answered(false);
        assert_eq!(activity.wire().kept(), 0);
    }

    #[cfg(feature = "proxy")]
    #[test]
    fn a_recalled_request_has_waited_since_it_was_read_first_and_the_next_one_has_not() {
        const LONG: Duration = Duration::from_secs(5);
        let registry = Arc::new(Registry::new("test".to_owned()));
        let activity = Arc::new(Activity::new(registry, Peer::Unix(None), true));
        activity.has_waited_since(Instant::now().checked_sub(LONG).unwrap());
        let recall = Recall::new(&activity);
        let begin = || {
            activity.received(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            activity.begin(None).unwrap();
            activity.exchange().begin(&Method::GET, Version::HTTP_11, None);
        };
        begin();
        assert!(recall.waited().unwrap() >= LONG);
        activity.answered(false);
        activity.end();
        begin();
        assert_eq!(recall.waited(), None);
    }
}
