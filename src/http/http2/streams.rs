//! What the streams of a connection and its task tell each other.
//!
//! hyper tells neither how many streams there are, nor whether the client has taken an answer. So each stream is
//! counted from its request on, and each piece of an answer until hyper has written it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

use crate::connections::limits::Timeout;
use crate::connections::parked::Idle;
use crate::http::activity::Activity;

/// How much a client sends at the beginning at least: the preface, and the head of a SETTINGS frame.
const PREFACE: u32 = 24 + 9;

/// How many requests a client may give up, if those are most of what it has asked for.
const GIVEN_UP_MAX: u32 = 1000;

/// The streams of one connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Streams whose tasks have not ended.
    open: AtomicU32,
    /// How many requests there have been.
    requests: AtomicU32,
    /// Pieces of answers that are not written.
    unsent: AtomicU32,
    /// How many pieces have been written, or given up.
    sent: AtomicU32,
    /// How many requests were given up before there was an answer.
    given_up: AtomicU32,
    /// How much has been read, as far as it matters.
    read: AtomicU32,
    /// How often something was written to the socket.
    writes: AtomicU32,
    /// hyper wants to write and the client takes nothing.
    is_write_blocked: AtomicBool,
    waker: AtomicWaker,
    /// The stream whose request the service was just called with; its task is about to be spawned.
    begun: Mutex<Option<Arc<Stream>>>,
    /// What hyper's connection gives back in the end.
    returned: Mutex<Option<Idle>>,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) activity: Arc<Activity>,
    streams: Arc<Streams>,
    unsent: AtomicU32,
    sent: AtomicU32,
    /// The service, or something in its place, has answered.
    is_answered: AtomicBool,
}

// === impl Streams ===

impl Streams {
    /// A request has come; its stream is one of these until it is dropped.
    pub(super) fn begin(self: &Arc<Self>, activity: Arc<Activity>) -> Arc<Stream> {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (unsent, sent) = (AtomicU32::new(0), AtomicU32::new(0));
        let (streams, is_answered) = (Arc::clone(self), AtomicBool::new(false));
        let stream = Arc::new(Stream { activity, streams, unsent, sent, is_answered });
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&stream));
        stream
    }

    /// The stream of the request that came last, for the task that hyper makes of it.
    pub(super) fn take_begun(&self) -> Option<Arc<Stream>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How many requests there have been.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Tells whether the client gives up most of what it asks for, and has done so more often than `times` what it may.
    pub(super) fn are_given_up(&self, times: u32) -> bool {
        let given_up = self.given_up.load(Ordering::Relaxed);
        given_up > times * GIVEN_UP_MAX && given_up > self.requests() / 2
    }

    /// Has the connection's task woken when there is nothing in flight any more.
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    /// Tells whether there is no stream, and every answer has been written.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
            && self.unsent.load(Ordering::Acquire) == 0
            && !self.is_write_blocked.load(Ordering::Relaxed)
    }

    /// Waits until the task of every stream has ended.
    pub(super) fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        self.register(cx);
        if self.open.load(Ordering::Acquire) == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    /// What the connection waits for that only the client can do, and how far that has come. What single streams wait
    /// for is not counted.
    pub(super) fn waits_for_client(&self) -> Option<(Timeout, u32)> {
        if self.is_write_blocked.load(Ordering::Relaxed) {
            Some((Timeout::Write, self.writes.load(Ordering::Relaxed)))
        } else if self.read.load(Ordering::Relaxed) < PREFACE {
            Some((Timeout::Head, 0))
        } else if self.open.load(Ordering::Acquire) == 0 && self.unsent.load(Ordering::Acquire) > 0
        {
            // What it has been sent leaves no room for the rest of an answer, and it does not ask for more.
            Some((Timeout::Write, self.sent.load(Ordering::Relaxed)))
        } else {
            None
        }
    }

    /// So much was read.
    pub(super) fn read(&self, bytes: usize) {
        let read = self.read.load(Ordering::Relaxed);
        if read < PREFACE {
            // Only the connection's task reads.
            let more = u32::try_from(bytes).unwrap_or(PREFACE).min(PREFACE);
            self.read.store(read + more, Ordering::Relaxed);
        }
    }

    /// Something was written to the socket; it came to nothing if `blocked`.
    pub(super) fn written(&self, blocked: bool) {
        self.is_write_blocked.store(blocked, Ordering::Relaxed);
        self.writes.fetch_add(u32::from(!blocked), Ordering::Relaxed);
    }

    /// Everything that was written has gone on its way, or not.
    pub(super) fn flushed(&self, has_gone: bool) {
        self.is_write_blocked.store(!has_gone, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, idle: Idle) {
        *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = Some(idle);
    }

    /// What hyper's connection has given back.
    pub(super) fn take_back(&self) -> Option<Idle> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

// === impl Stream ===

impl Stream {
    /// There is an answer.
    pub(super) fn answers(&self) {
        self.is_answered.store(true, Ordering::Relaxed);
    }

    /// hyper takes a piece of the answer.
    pub(super) fn sends(&self) {
        self.unsent.fetch_add(1, Ordering::AcqRel);
        self.streams.unsent.fetch_add(1, Ordering::AcqRel);
    }

    /// hyper has written the piece, or given it up.
    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.unsent.fetch_sub(1, Ordering::AcqRel);
        self.streams.sent.fetch_add(1, Ordering::Relaxed);
        if self.streams.unsent.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.streams.waker.wake();
        }
    }

    /// What the stream waits for that only the client can do, and how far that has come.
    pub(super) fn waits_for_client(&self) -> Option<(Timeout, u32)> {
        if self.unsent.load(Ordering::Acquire) > 0 {
            return Some((Timeout::Write, self.sent.load(Ordering::Relaxed)));
        }
        // Once there is an answer both may talk, and be silent, for as long as they like.
        let is_answered = self.is_answered.load(Ordering::Relaxed);
        if is_answered { None } else { self.activity.waits_for_client() }
    }

    /// Its task has ended.
    pub(super) fn end(&self) {
        if !self.is_answered.load(Ordering::Relaxed) {
            self.activity.registry().metrics.streams_given_up.add(1);
            self.streams.given_up.fetch_add(1, Ordering::Relaxed);
        }
        if self.streams.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.streams.waker.wake();
        }
    }
}
