//! What is going on inside one hyper connection, as its I/O, service and bodies see it.
//!
//! hyper does not tell whether a connection is between two requests. The parts that hyper is given can: each
//! notes here what it does, and [`Activity::standing`] tells from that what may become of the connection.
//!
//! ```text
//!                                               ┌──────── nothing left of its body ──────► Idle
//!            begin             answered         │
//!  Idle ──► in flight ──► answer not written ──►┤ flushed
//!             (Busy)           (Busy)           ├── the service did not want the rest ──► Discarding ──► Idle
//!                                               │   of its body
//!                                               └── the answer said Connection: close, ─► Over
//!                                                   or the body failed
//! ```
//!
//! - *In flight*: `exchanges` is above 0, and `unanswered` until the service has answered.
//! - *Answer not written*: `UNFLUSHED`.
//! - *Left of its body*: `bodies` is above 0. They are counted, since a service may still read the body of
//!   one request while the next one is answered; `bodies` has their life, `UNWANTED` and `NOT_DISCARDED` what
//!   becomes of the rest.
//! - *Over*: `CLOSE_SENT` or `BODY_FAILED`, which are never cleared.
//!
//! All other flags are about what hyper is put off from (`put_off`), what the client does, or the mode; the
//! table of all of them is in `flags`. Counters only grow, but for the three above: that a connection has
//! gone on is seen by comparing them (`reads`, `writes`, `requests`).

mod bodies;
mod flags;
mod put_off;
mod recall;
#[cfg(feature = "http2")]
mod stream;

use std::iter;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use atomic_waker::AtomicWaker;

#[cfg(test)]
pub(crate) use self::bodies::LEFTOVER_MAX;
use self::bodies::Leftover;
use self::flags::{
    ANSWERS_CLOSE, AWAITS_CONTINUE, BECOMES_TUNNEL, BODY_DROPPED, BODY_FAILED, BODY_TOUCHED,
    BODY_WANTED, CLIENT_CLOSES, CLOSE_SENT, DISCARDING, FLUSH_DUE, Flags, HEAD_UNWRITTEN, MID_HEAD,
    NOT_DISCARDED, PIPELINED, READ_BLOCKED, RECALL_ALLOWED, SWITCHED, TIMED_OUT, UNFLUSHED,
    UNWANTED, UPGRADE_OFFERED, WRITE_BLOCKED,
};
use crate::connections::body_remainder::Remainder;
use crate::connections::chunked_body::Malformed;
use crate::connections::limits::Timeout;
use crate::connections::registry::Registry;
use crate::http::framing::Wire;
use crate::http::request_record::RequestRecord;
use crate::sockets::peer::Peer;
use crate::sockets::stream::Stream;
#[cfg(feature = "tls")]
use crate::tls::session::TlsSession;

/// The state that a connection's parts share with its task.
#[derive(Debug)]
pub(crate) struct Activity {
    registry: Arc<Registry>,
    flags: Flags,
    /// Requests that have begun and not ended.
    exchanges: AtomicU32,
    /// Requests that the service has not answered yet.
    unanswered: AtomicU32,
    /// Request bodies that have not come to their end, or are still in the service's hands.
    bodies: AtomicU32,
    /// How often something was read from the socket.
    reads: AtomicU32,
    /// How often something had been read when the last request began.
    read_before: AtomicU32,
    /// How often something was written to the socket.
    writes: AtomicU32,
    /// How many requests have begun.
    requests: AtomicU32,
    /// How many requests had begun when the connection's task looked last.
    requests_seen: AtomicU32,
    waker: AtomicWaker,
    leftover: Mutex<Option<Leftover>>,
    wire: Mutex<Wire>,
    peer: Peer,
    #[cfg(feature = "tls")]
    session: Option<TlsSession>,
    /// Requests may be recalled.
    recalls: bool,
    /// The request that the connection is at.
    exchange: Mutex<RequestRecord>,
}

/// Where a connection stands, as [`crate::http::framing`] demands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// A request is in flight, its body or its answer.
    Busy,
    /// Every request has been consumed and answered.
    Idle,
    /// Every request has been answered, and consumed but for the rest of a body that the service does not want.
    Discarding,
    /// Every request has been answered, and what may come is no request any more.
    Over,
}

// === impl Activity ===

impl Activity {
    /// That of a connection over `stream`; `recalls`: the service may allow that a request is recalled.
    pub(crate) fn of(stream: &Stream, registry: Arc<Registry>, recalls: bool) -> Self {
        Self {
            #[cfg(feature = "tls")]
            session: stream.tls_session(),
            ..Self::new(registry, stream.peer(), recalls)
        }
    }

    /// `recalls`: the service may allow that a request is recalled.
    pub(crate) fn new(registry: Arc<Registry>, peer: Peer, recalls: bool) -> Self {
        Self {
            registry,
            flags: Flags::default(),
            exchanges: AtomicU32::new(0),
            unanswered: AtomicU32::new(0),
            bodies: AtomicU32::new(0),
            reads: AtomicU32::new(0),
            read_before: AtomicU32::new(0),
            writes: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            requests_seen: AtomicU32::new(0),
            waker: AtomicWaker::new(),
            leftover: Mutex::default(),
            wire: Mutex::new(Wire::new(recalls)),
            peer,
            #[cfg(feature = "tls")]
            session: None,
            recalls,
            exchange: Mutex::new(RequestRecord::new()),
        }
    }

    /// The registry of the server whose connection this is.
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The same, over TLS if there is a session.
    #[cfg(all(feature = "http2", feature = "tls"))]
    pub(crate) fn over_tls(mut self, session: Option<TlsSession>) -> Self {
        self.session = session;
        self
    }

    /// What there is to know of its TLS; none where it has come in clear text.
    #[cfg(feature = "tls")]
    pub(crate) fn tls_session(&self) -> Option<&TlsSession> {
        self.session.as_ref()
    }

    /// The client.
    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// The record of the request that the connection is at.
    pub(crate) fn exchange(&self) -> MutexGuard<'_, RequestRecord> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the connection stands. While it is busy the task is woken when the part that only others
    /// can finish, a request's body, is.
    pub(crate) fn standing(&self, cx: &Context<'_>) -> Standing {
        if self.bodies.load(Ordering::Acquire) > 0 {
            self.waker.register(cx.waker());
            if self.has(BODY_DROPPED) {
                // It was dropped between our last look and the registration.
                cx.waker().wake_by_ref();
            }
        }
        if self.is_answer_due() {
            return Standing::Busy;
        }
        let bodies = self.bodies.load(Ordering::Acquire);
        let (is_last, is_left) = (self.has(CLOSE_SENT), self.has(UNWANTED));
        match bodies {
            // In this order: a body fails before it counts as none.
            _ if self.has(BODY_FAILED) => Standing::Over,
            0 if is_last => Standing::Over,
            0 => Standing::Idle,
            1 if is_left && !is_last => Standing::Discarding,
            1 if is_left && self.has(NOT_DISCARDED) => Standing::Over,
            // The service has it. If the answer was the last, hyper ends the connection behind it.
            _ => Standing::Busy,
        }
    }

    /// What hyper has been given, told apart into requests.
    pub(crate) fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// hyper has read a request's head; `body` is what follows it.
    ///
    /// # Errors
    /// When it does not: no other request is read then.
    pub(crate) fn begin(&self, body: Option<Remainder>) -> Result<(), Malformed> {
        self.registry.metrics.begin();
        let reads = self.reads.load(Ordering::Relaxed);
        if self.requests.fetch_add(1, Ordering::Relaxed) > 0
            && self.read_before.swap(reads, Ordering::Relaxed) == reads
        {
            self.change(PIPELINED, true);
        }
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        self.exchanges.fetch_add(1, Ordering::AcqRel);
        // hyper has come to the end of the body before, whatever the service did, or does, with it.
        let of_last = NOT_DISCARDED | AWAITS_CONTINUE | BODY_WANTED | BODY_TOUCHED | RECALL_ALLOWED;
        self.change(of_last, false);
        self.change(HEAD_UNWRITTEN, body.is_some());
        let mut wire = self.wire();
        let followed = wire.begin(body);
        self.change(MID_HEAD, wire.is_mid_head());
        followed
    }

    /// Tells whether a request has begun since this was asked last: the one before has its answer.
    pub(crate) fn has_gone_on(&self) -> bool {
        let requests = self.requests();
        self.requests_seen.swap(requests, Ordering::Relaxed) != requests
    }

    /// How many requests have begun.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The service has answered, or has given up on the request; the answer's body follows. The answer
    /// says that it is the last if `closes`.
    pub(crate) fn answered(&self, closes: bool) {
        self.change(UNFLUSHED, true);
        if closes || self.has(ANSWERS_CLOSE) {
            self.change(CLOSE_SENT, true);
        }
        self.unanswered.fetch_sub(1, Ordering::Release);
        if self.recalls {
            self.wire().let_go();
        }
    }

    /// Tells whether no request can follow the one that is being answered: what is left of its body will
    /// not be read, or may never come.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.has(BODY_FAILED | NOT_DISCARDED | AWAITS_CONTINUE)
    }

    /// Tells whether the client is to blame for a body that could not be read.
    pub(crate) fn has_failed(&self) -> bool {
        self.has(BODY_FAILED)
    }

    /// hyper writes; answers to requests with bodies are looked at once, as hyper may say that they are
    /// the last where we cannot know it: it takes Content-Length out where there is Transfer-Encoding.
    pub(crate) fn writes(&self, bytes: &[u8]) {
        // hyper writes the name as a message that is passed on had it, in capitals for example.
        const CLOSE: &[u8] = b": close";
        const CONNECTION: &[u8] = b"connection";
        if self.has(HEAD_UNWRITTEN) && !self.is_answering() {
            self.change(HEAD_UNWRITTEN, false);
            // In a body it would say nothing, and cost the connection, which is rare and does no harm.
            let mut before = 0;
            let mut colons = iter::from_fn(|| {
                let colon = before + bytes[before..].iter().position(|byte| *byte == b':')?;
                before = colon + 1;
                Some(colon)
            });
            let is_close = |colon: usize| {
                let name = &bytes[colon.saturating_sub(CONNECTION.len())..colon];
                bytes[colon..].starts_with(CLOSE) && name.eq_ignore_ascii_case(CONNECTION)
            };
            if colons.any(is_close) {
                self.change(CLOSE_SENT, true);
            }
        }
    }

    /// Tells whether the request, on a stream of HTTP/2, is not answered by the service any more: its client has let it
    /// wait for too long.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.has(TIMED_OUT)
    }

    /// hyper is told to end with the next answer.
    pub(crate) fn answers_close(&self) {
        self.change(ANSWERS_CLOSE, true);
    }

    /// The request has its answer, or never will.
    pub(crate) fn end(&self) {
        self.exchanges.fetch_sub(1, Ordering::Release);
    }

    /// Tells whether an answer has to be given yet.
    pub(crate) fn is_answering(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) > 0
    }

    /// hyper has read; it came to nothing if `blocked`.
    pub(crate) fn read(&self, blocked: bool) {
        self.change(READ_BLOCKED, blocked);
        self.reads.fetch_add(u32::from(!blocked), Ordering::Relaxed);
    }

    /// Bytes came in.
    ///
    /// # Errors
    /// When they are no request's; hyper must not get them then.
    pub(crate) fn received(&self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut wire = self.wire();
        let followed = wire.follow(bytes);
        self.change(MID_HEAD, wire.is_mid_head());
        followed
    }

    /// hyper has written something that the socket has not got yet.
    pub(crate) fn unflushed(&self) {
        self.change(UNFLUSHED, true);
    }

    /// Tells whether an answer has to be given, or to be written, yet.
    fn is_answer_due(&self) -> bool {
        self.exchanges.load(Ordering::Acquire) > 0 || self.has(UNFLUSHED)
    }

    /// The request says that it is the client's last.
    pub(crate) fn client_closes(&self) {
        self.change(CLIENT_CLOSES, true);
    }

    /// Tells whether the client has said that it sends no further request.
    pub(crate) fn will_client_close(&self) -> bool {
        self.has(CLIENT_CLOSES)
    }

    /// Tells whether the connection speaks another protocol from here on.
    pub(crate) fn is_switching(&self) -> bool {
        self.has(SWITCHED)
    }

    /// The client offers to speak another protocol.
    pub(crate) fn offered(&self) {
        self.change(UPGRADE_OFFERED, true);
    }

    /// Tells whether the client has ever offered to speak another protocol, and forgets it.
    pub(crate) fn take_offer(&self) -> bool {
        let offered = self.has(UPGRADE_OFFERED);
        self.change(UPGRADE_OFFERED, false);
        offered
    }

    /// The service has agreed to speak another protocol from here on. hyper gives the socket away then without a
    /// last flush. That a client offers it is nothing: until it is taken the connection is like any other.
    pub(crate) fn switching(&self) {
        self.change(SWITCHED, true);
        self.wire().unfollow();
    }

    /// Who has agreed makes a tunnel of the connection.
    #[cfg(feature = "proxy")]
    pub(crate) fn becomes_tunnel(&self) {
        self.change(BECOMES_TUNNEL, true);
    }

    /// Tells whether the registry hears of what becomes of the connection from a tunnel.
    pub(crate) fn is_becoming_tunnel(&self) -> bool {
        self.has(BECOMES_TUNNEL)
    }

    /// Something was written to the socket; it came to nothing if `blocked`.
    pub(crate) fn written(&self, blocked: bool) {
        self.change(UNFLUSHED, true);
        self.change(WRITE_BLOCKED, blocked);
        self.writes.fetch_add(u32::from(!blocked), Ordering::Relaxed);
    }

    /// Everything that hyper had to write has reached the socket.
    pub(crate) fn flushed(&self) {
        self.change(UNFLUSHED | FLUSH_DUE | WRITE_BLOCKED, false);
    }

    /// What we wait for that only the client can do, and how far that has come.
    pub(crate) fn waits_for_client(&self) -> Option<(Timeout, u32)> {
        if self.has(WRITE_BLOCKED) {
            Some((Timeout::Write, self.writes.load(Ordering::Relaxed)))
        } else if self.bodies.load(Ordering::Acquire) > 0 {
            // Not who has sent all of it, or more than anybody has asked for.
            let is_waited_for = self.has(BODY_WANTED | DISCARDING) && self.has(READ_BLOCKED);
            is_waited_for.then(|| (Timeout::Body, self.reads.load(Ordering::Relaxed)))
        } else if self.exchanges.load(Ordering::Acquire) == 0 && self.is_mid_head() {
            // A head has to come whole in its time, however many bytes trickle in.
            Some((Timeout::Head, self.requests.load(Ordering::Relaxed)))
        } else {
            None
        }
    }

    /// Tells, of an idle connection, whether the beginning of a request has come in.
    pub(crate) fn is_mid_head(&self) -> bool {
        self.has(MID_HEAD)
    }

    /// Tells whether nobody reads what is left of the body of the last request.
    pub(crate) fn is_not_discarded(&self) -> bool {
        self.has(NOT_DISCARDED)
    }

    fn has(&self, flags: u32) -> bool {
        self.flags.has(flags)
    }

    fn change(&self, flags: u32, on: bool) {
        self.flags.change(flags, on);
    }
}
