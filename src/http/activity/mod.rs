//! What is going on inside one hyper connection, as its I/O, service and bodies see it.
//!
//! hyper does not tell whether a connection is between two requests. The parts we give to it can:
//! each says when it begins and ends to be busy, and a connection of which none is may be taken
//! apart. They are counted, not flagged: a service may still read the body of one request while the
//! next one is answered.

mod bodies;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use atomic_waker::AtomicWaker;

#[cfg(test)]
pub(crate) use self::bodies::LEFTOVER_MAX;
use self::bodies::Leftover;
use crate::connections::body_remainder::Remainder;
use crate::connections::chunked_body::Malformed;
use crate::connections::limits::Timeout;
use crate::connections::registry::{Mode, Registry};
use crate::http::framing::Wire;
use crate::http::request_record::RequestRecord;
use crate::sockets::stream::Peer;

/// Something that was written has not reached the socket.
const UNFLUSHED: u32 = 1;
/// A request's body was dropped by the service before its end.
const LEFTOVER: u32 = 1 << 1;
/// The beginning of a request has come in. No sign of being busy.
const MID_HEAD: u32 = 1 << 2;
/// A request's body could not be read to its end: no other request is read. No sign of being busy.
const FAILED: u32 = 1 << 3;
/// hyper wants to read, and the client has sent nothing. No sign of being busy.
const READ_BLOCKED: u32 = 1 << 4;
/// hyper wants to write, and the client takes nothing. No sign of being busy.
const WRITE_BLOCKED: u32 = 1 << 5;

/// The next flush has to reach the socket at once. No sign of being busy.
const PROMPT: u32 = 1 << 6;
/// So has every flush: the connection speaks another protocol from here on. No sign of being busy.
const SWITCHING: u32 = 1 << 7;
/// hyper wanted to read from a fresh connection, and was put off once. No sign of being busy.
const READ_PUT_OFF: u32 = 1 << 8;
/// hyper has to be polled again, to read what it was put off from. No sign of being busy.
const READ_OWED: u32 = 1 << 9;
/// The client has said that it sends no further request. No sign of being busy.
const LAST: u32 = 1 << 10;
/// The client has sent several requests at once. No sign of being busy.
const PIPELINED: u32 = 1 << 11;
/// The connection is to come to rest: no answer waits for the next. No sign of being busy.
const RESTING: u32 = 1 << 12;
/// Everybody is asked to hold: no further request is begun. No sign of being busy.
const HELD: u32 = 1 << 14;
/// The client sends no more, and hyper has not been told. No sign of being busy.
const END_PUT_OFF: u32 = 1 << 13;
/// The client waits to be asked for its body, and has not been. No sign of being busy.
const UNASKED: u32 = 1 << 15;
/// The answers from now on say that they are the last. No sign of being busy.
const CLOSING: u32 = 1 << 16;
/// An answer has said that it is the last. No sign of being busy.
const CLOSED: u32 = 1 << 17;
/// A body was dropped by the service since the task looked last. No sign of being busy.
const DROPPED: u32 = 1 << 18;
/// The service waits for more of a body. No sign of being busy.
const WANTED: u32 = 1 << 19;
/// What it did not want is waited for, to be forgotten. No sign of being busy.
const LEFTOVER_WANTED: u32 = 1 << 20;
/// The rest of a body is too long to be read before the answer has gone out. No sign of being busy.
const GIVEN_UP: u32 = 1 << 21;
/// The head of the answer to a request with a body has not been written yet. No sign of being busy.
const HEAD_UNSEEN: u32 = 1 << 22;

/// The client has offered to speak another protocol, and hyper keeps that in mind. No sign of being busy.
const OFFERED: u32 = 1 << 23;

/// The state that a connection's parts share with its task.
#[derive(Debug)]
pub(crate) struct Activity {
    registry: Arc<Registry>,
    bits: AtomicU32,
    /// Requests that have begun and not ended, and those of them without an answer yet.
    exchanges: AtomicU32,
    unanswered: AtomicU32,
    /// Request bodies that have not come to their end, or are still in the service's hands.
    bodies: AtomicU32,
    /// How often something was read and written, and a request begun.
    reads: AtomicU32,
    /// How often something had been read when the last request began.
    read_before: AtomicU32,
    writes: AtomicU32,
    requests: AtomicU32,
    /// How many requests had begun when the connection's task looked last.
    requests_seen: AtomicU32,
    waker: AtomicWaker,
    leftover: Mutex<Option<Leftover>>,
    wire: Mutex<Wire>,
    peer: Peer,
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
    /// Every request has been answered, and consumed but for the rest of a body that nobody wants.
    Owed,
    /// Every request has been answered, and what may come is no request any more.
    Over,
}

// === impl Activity ===

impl Activity {
    pub(crate) fn new(registry: Arc<Registry>, peer: Peer) -> Self {
        Self {
            registry,
            bits: AtomicU32::new(0),
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
            wire: Mutex::new(Wire::new()),
            peer,
            exchange: Mutex::new(RequestRecord::new()),
        }
    }

    /// The server whose connection this is.
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// What is remembered of the request that the connection is at.
    pub(crate) fn exchange(&self) -> MutexGuard<'_, RequestRecord> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the connection stands. While it is busy the task is woken when the part that only others
    /// can finish, a request's body, is.
    pub(crate) fn standing(&self, cx: &Context<'_>) -> Standing {
        if self.bodies.load(Ordering::Acquire) > 0 {
            self.waker.register(cx.waker());
            if self.has(DROPPED) {
                // It was dropped between our last look and the registration.
                cx.waker().wake_by_ref();
            }
        }
        if self.owes_answer() {
            return Standing::Busy;
        }
        let bodies = self.bodies.load(Ordering::Acquire);
        let (is_last, is_left) = (self.has(CLOSED), self.has(LEFTOVER));
        match bodies {
            // In this order: a body fails before it counts as none.
            _ if self.has(FAILED) => Standing::Over,
            0 if is_last => Standing::Over,
            0 => Standing::Idle,
            1 if is_left && !is_last => Standing::Owed,
            1 if is_left && self.has(GIVEN_UP) => Standing::Over,
            // Somebody has it. If the answer was the last, hyper ends the connection behind it.
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
        self.change(GIVEN_UP | UNASKED | WANTED, false);
        self.change(HEAD_UNSEEN, body.is_some());
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
        if closes || self.has(CLOSING) {
            self.change(CLOSED, true);
        }
        self.unanswered.fetch_sub(1, Ordering::Release);
    }

    /// Tells whether no request can follow the one that is being answered: what is left of its body will
    /// not be read, or may never come.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.has(FAILED | GIVEN_UP | UNASKED)
    }

    /// Tells whether the client is to blame for a body that could not be read.
    pub(crate) fn has_failed(&self) -> bool {
        self.has(FAILED)
    }

    /// hyper writes; answers to requests with bodies are looked at once, as hyper may say that they are
    /// the last where we cannot know it: it takes Content-Length out where there is Transfer-Encoding.
    pub(crate) fn writes(&self, bytes: &[u8]) {
        const CLOSE: &[u8] = b"connection: close";
        if self.has(HEAD_UNSEEN) && !self.is_answering() {
            self.change(HEAD_UNSEEN, false);
            // In a body it would say nothing, and cost the connection, which is rare and does no harm.
            if bytes.windows(CLOSE.len()).any(|window| window == CLOSE) {
                self.change(CLOSED, true);
            }
        }
    }

    /// hyper is told to end with the next answer.
    pub(crate) fn closing(&self) {
        self.change(CLOSING, true);
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
    pub(crate) fn heard(&self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut wire = self.wire();
        let followed = wire.follow(bytes);
        self.change(MID_HEAD, wire.is_mid_head());
        followed
    }

    /// hyper has written something that the socket has not got yet.
    pub(crate) fn unflushed(&self) {
        self.change(UNFLUSHED, true);
    }

    /// Tells whether what is written may wait for a flush: the client sends several requests at
    /// once. Whoever speaks another protocol may not know that its stream has to be flushed.
    pub(crate) fn is_buffered(&self) -> bool {
        self.has(PIPELINED) && !self.has(SWITCHING)
    }

    /// Tells whether a flush may wait until hyper reads, which it does at once where it has not
    /// been told yet that there is nothing to read: nobody but the client can have anything to add.
    pub(crate) fn may_put_off(&self) -> bool {
        self.has(PIPELINED)
            && self.exchanges.load(Ordering::Acquire) == 0
            && self.bodies.load(Ordering::Acquire) == 0
            && !self.has(READ_BLOCKED | PROMPT | SWITCHING | RESTING)
    }

    /// Answers, between two polls of hyper, whether it has to be polled again for the sake of an
    /// answer that was put off; its next flush is not.
    pub(crate) fn owes_flush(&self) -> bool {
        let put_off = self.has(UNFLUSHED) && !self.has(WRITE_BLOCKED) && self.may_put_off();
        if put_off {
            self.change(PROMPT, true);
        }
        put_off
    }

    /// Answers, between two polls of hyper, whether it has to be polled again to read what it was
    /// put off from.
    pub(crate) fn owes_read(&self) -> bool {
        let owed = self.has(READ_OWED);
        self.change(READ_OWED, false);
        owed | self.owes_end()
    }

    /// Tells whether to put hyper off that wants to read: only the first time, and never whoever
    /// speaks another protocol, whom nobody asks again.
    pub(crate) fn put_off_reading(&self) -> bool {
        let first = !self.has(READ_PUT_OFF | SWITCHING);
        if first {
            self.change(READ_PUT_OFF, true);
            self.change(READ_OWED, true);
        }
        first
    }

    /// Tells whether to keep it from hyper that the client sends no more, because a request has come whole and
    /// its answer has not gone out: the client has but said its last word, and waits, RFC 9112 section 9.6.
    pub(crate) fn put_off_end(&self) -> bool {
        let puts_off = self.owes_answer() && !self.has(SWITCHING) && !self.wire().is_in_body();
        if puts_off {
            self.change(END_PUT_OFF, true);
        }
        puts_off
    }

    /// Tells whether an answer has to be given, or to be written, yet.
    fn owes_answer(&self) -> bool {
        self.exchanges.load(Ordering::Acquire) > 0 || self.has(UNFLUSHED)
    }

    /// Answers, between two polls of hyper, whether it has to be polled again to hear that the client sends no
    /// more.
    fn owes_end(&self) -> bool {
        let owed = self.has(END_PUT_OFF) && !self.owes_answer();
        if owed {
            self.change(END_PUT_OFF, false);
        }
        owed
    }

    /// The mode now. In another than Serve the connection is to come to rest, which it never would if
    /// answers were put off for the sake of the next; in Hold no further request is to begin.
    pub(crate) fn asked_for(&self, mode: Mode) {
        self.change(RESTING, mode != Mode::Serve);
        self.change(HELD, mode == Mode::Hold);
    }

    /// Tells whether nothing is to be read: what came next would be another request, and a client that
    /// always has one would hold up everybody's hand-over.
    pub(crate) fn is_deaf(&self) -> bool {
        self.has(HELD) && !self.has(SWITCHING) && self.bodies.load(Ordering::Acquire) == 0
    }

    /// The request says that it is the client's last.
    pub(crate) fn last(&self) {
        self.change(LAST, true);
    }

    /// Tells whether the client has said that it sends no further request.
    pub(crate) fn is_last(&self) -> bool {
        self.has(LAST)
    }

    /// Tells whether the connection speaks another protocol from here on.
    pub(crate) fn is_switching(&self) -> bool {
        self.has(SWITCHING)
    }

    /// The client offers to speak another protocol.
    pub(crate) fn offered(&self) {
        self.change(OFFERED, true);
    }

    /// Tells whether the client has ever offered to speak another protocol, and forgets it.
    pub(crate) fn had_offer(&self) -> bool {
        let offered = self.has(OFFERED);
        self.change(OFFERED, false);
        offered
    }

    /// The service has agreed to speak another protocol from here on. hyper gives the socket away then without a
    /// last flush. That a client offers it is nothing: until it is taken the connection is like any other.
    pub(crate) fn switching(&self) {
        self.change(SWITCHING, true);
        self.wire().unfollow();
    }

    /// Something was written to the socket; it came to nothing if `blocked`.
    pub(crate) fn written(&self, blocked: bool) {
        self.change(UNFLUSHED, true);
        self.change(WRITE_BLOCKED, blocked);
        self.writes.fetch_add(u32::from(!blocked), Ordering::Relaxed);
    }

    /// Everything that hyper had to write has reached the socket.
    pub(crate) fn flushed(&self) {
        self.change(UNFLUSHED | PROMPT, false);
    }

    /// What we wait for that only the client can do, and how far that has come.
    pub(crate) fn waits_for_client(&self) -> Option<(Timeout, u32)> {
        if self.has(WRITE_BLOCKED) {
            Some((Timeout::Write, self.writes.load(Ordering::Relaxed)))
        } else if self.bodies.load(Ordering::Acquire) > 0 {
            // Not who has sent all of it, or more than anybody has asked for.
            let is_waited_for = self.has(WANTED | LEFTOVER_WANTED) && self.has(READ_BLOCKED);
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
    pub(crate) fn is_given_up(&self) -> bool {
        self.has(GIVEN_UP)
    }

    fn has(&self, bits: u32) -> bool {
        self.bits.load(Ordering::Acquire) & bits != 0
    }

    /// Sets bits, or clears them.
    fn change(&self, bits: u32, on: bool) {
        // Most of the time they are as they should be, and looking is cheaper than writing.
        let set = self.bits.load(Ordering::Acquire) & bits;
        if on && set != bits {
            self.bits.fetch_or(bits, Ordering::AcqRel);
        } else if !on && set != 0 {
            self.bits.fetch_and(!bits, Ordering::AcqRel);
        }
    }
}
