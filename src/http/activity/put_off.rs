//! What hyper wants to do and is put off from, until it is time: flushing, reading, and learning that the
//! client sends no more.

use std::sync::atomic::Ordering;

use super::Activity;
use super::flags::{
    FLUSH_DUE, HALF_CLOSED, HELD, PIPELINED, READ_BLOCKED, READ_DUE, READ_PUT_OFF, RESTING,
    SWITCHED, UNFLUSHED, WRITE_BLOCKED,
};
use crate::connections::registry::Mode;

// === impl Activity ===

impl Activity {
    /// Tells whether what is written may wait for a flush: the client sends several requests at
    /// once. A program that speaks another protocol may not know that its stream has to be flushed.
    pub(crate) fn is_buffered(&self) -> bool {
        self.has(PIPELINED) && !self.has(SWITCHED)
    }

    /// Tells whether a flush may wait until hyper reads, which it does at once where it has not
    /// been told yet that there is nothing to read: only the client can have anything to add.
    pub(crate) fn may_put_off(&self) -> bool {
        self.has(PIPELINED)
            && self.exchanges.load(Ordering::Acquire) == 0
            && self.bodies.load(Ordering::Acquire) == 0
            && !self.has(READ_BLOCKED | FLUSH_DUE | SWITCHED | RESTING)
    }

    /// Answers, between two polls of hyper, whether it has to be polled again for the sake of an
    /// answer that was put off; its next flush is not.
    pub(crate) fn is_flush_due(&self) -> bool {
        let put_off = self.has(UNFLUSHED) && !self.has(WRITE_BLOCKED) && self.may_put_off();
        if put_off {
            self.change(FLUSH_DUE, true);
        }
        put_off
    }

    /// Answers, between two polls of hyper, whether it has to be polled again to read what it was
    /// put off from.
    pub(crate) fn is_read_due(&self) -> bool {
        let is_due = self.has(READ_DUE);
        self.change(READ_DUE, false);
        is_due | self.is_end_due()
    }

    /// Tells whether to put hyper off that wants to read: only the first time, and never after a
    /// switch of protocols, when hyper is not polled again.
    pub(crate) fn put_off_reading(&self) -> bool {
        let first = !self.has(READ_PUT_OFF | SWITCHED);
        if first {
            self.change(READ_PUT_OFF, true);
            self.change(READ_DUE, true);
        }
        first
    }

    /// Tells whether hyper is not to learn that the client sends no more, because a request has come whole and
    /// its answer has not gone out: the client has shut down its sending half, and waits for the answer.
    pub(crate) fn put_off_half_close(&self) -> bool {
        let puts_off = self.is_answer_due() && !self.has(SWITCHED) && !self.wire().is_in_body();
        if puts_off {
            self.change(HALF_CLOSED, true);
        }
        puts_off
    }

    /// Tells whether the client may be sent `100 Continue` now: its request has no answer yet, everything before that
    /// has been written, and it is not of HTTP/1.0.
    pub(crate) fn may_be_told_to_continue(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) == 1
            && self.exchanges.load(Ordering::Acquire) == 1
            && !self.has(UNFLUSHED | SWITCHED)
            && !self.exchange().asked().is_old()
    }

    /// Answers, between two polls of hyper, whether it has to be polled again to learn that the client sends no
    /// more.
    fn is_end_due(&self) -> bool {
        let is_due = self.has(HALF_CLOSED) && !self.is_answer_due();
        if is_due {
            self.change(HALF_CLOSED, false);
        }
        is_due
    }

    /// The mode now. In another than Serve the connection is to come to rest, which it never would if
    /// answers were put off for the sake of the next; in Hold no further request is to begin.
    pub(crate) fn mode_is(&self, mode: Mode) {
        self.change(RESTING, mode != Mode::Serve);
        self.change(HELD, mode == Mode::Hold);
    }

    /// Tells whether nothing is to be read: what came next would be another request, and a client that
    /// always has one would hold up the hand-over of all connections.
    pub(crate) fn must_not_read(&self) -> bool {
        self.has(HELD) && !self.has(SWITCHED) && self.bodies.load(Ordering::Acquire) == 0
    }
}
