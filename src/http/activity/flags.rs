//! What is noted of a connection besides its counters: the flags of [`Activity`](super::Activity), by what
//! they are about.
//!
//! "Task" is the connection's own task, in which hyper, the I/O and the service are polled (after an upgrade the
//! I/O goes on in the service's task, and the connection's own has ended); "service" is whatever task has the
//! body of a request in its hands. The flags of a body are the reason why all of them are atomic: they share
//! one word, so that one load answers several questions. A connection that is built anew has a new activity:
//! "never" is until then.
//!
//! # The answer
//!
//! | flag | it means | set when | cleared when | without it |
//! |---|---|---|---|---|
//! | [`UNFLUSHED`] | something written has not reached the socket | hyper writes, or the service has answered (task) | everything has been written (task) | a connection is taken apart with an answer in its buffer |
//! | [`HEAD_UNWRITTEN`] | the answer to a request with a body has no head on the wire | such a request begins (task) | its head is written (task) | hyper's own `Connection: close` is missed |
//! | [`ANSWERS_CLOSE`] | answers from now on say `Connection: close` | the stop, a request's `close` or HTTP/1.0 asks for it (task) | never | the next flag is missed where hyper, and not the service, says so |
//! | [`CLOSE_SENT`] | an answer has said `Connection: close` | that answer begins (task) | never | the connection is kept for a request that must not follow (RFC 9112, 9.6) |
//!
//! # The body of a request
//!
//! | flag | it means | set when | cleared when | without it |
//! |---|---|---|---|---|
//! | [`AWAITS_CONTINUE`] | the client waits for `100 Continue` (RFC 9110, 10.1.1) and has not got it | such a request begins (task) | the service reads the body, or the next request begins | a body that may never come is waited for |
//! | [`BODY_WANTED`] | the service waits for more of the body | it polls and nothing is there (service) | something came, or the next request begins | the client's time-out runs while the service is at work |
//! | [`BODY_DROPPED`] | the service has dropped a body since the task looked last | it is dropped (service) | the task looks | a body that is dropped between the task's look and its registration as a waker is not noticed |
//! | [`UNWANTED`] | a body that was dropped before its end is kept here, to be discarded | it is dropped (service) | it has been discarded, or cannot be (task) | hyper closes the connection instead of reading on |
//! | [`DISCARDING`] | the rest of it is waited for | nothing more of it is there (task) | it has come to its end, or is too long (task) | a client that never sends it is subject to no time-out |
//! | [`NOT_DISCARDED`] | its rest is too long, or may never come: it is not discarded through hyper | that is known (either) | the next request begins (task) | a long body delays the answer |
//! | [`BODY_TOUCHED`] | the service has polled the body | it does (service) | the next request begins | a request is recalled although its client was asked for the body, or some of it is gone |
//! | [`BODY_FAILED`] | it could not be read to its end | that is found (either) | never | what follows is taken for a request: request smuggling |
//!
//! # A request that waits
//!
//! | flag | it means | set when | cleared when | without it |
//! |---|---|---|---|---|
//! | [`RECALL_ALLOWED`] | nothing has been done about the request: a hand-over may take it back | the service says so (task) | the service says so, or the next request begins (task) | a request is executed twice; or one that waits holds up the hand-over |
//! | [`RECALLED_BEFORE`] | the first request was recalled from the connection as it was built before, perhaps in another process | it is built (task) | never | one that waited loses its place to those who come after the restart |
//!
//! # What the client does
//!
//! | flag | it means | set when | cleared when | without it |
//! |---|---|---|---|---|
//! | [`MID_HEAD`] | the beginning of a head has come | bytes come (task) | the head is whole (task) | half a request is parked as if there were none |
//! | [`CLIENT_CLOSES`] | a request said `Connection: close` | it begins (task) | never | the socket lingers although no request can follow |
//! | [`PIPELINED`] | the client has sent several requests at once | two begin without a read between (task) | never | each answer is a write of its own |
//! | [`UPGRADE_OFFERED`] | a request offered another protocol | it begins (task) | the task has looked | hyper's end is believed before it has written the answer: at the end it gives the socket of such a connection away |
//! | [`SWITCHED`] | the service has agreed to it: what follows is no HTTP | it has answered so (task) | never | what is written may stay in the buffer, and its end does not reach the client |
//! | [`BECOMES_TUNNEL`] | who has agreed makes a tunnel of the connection | the answer says so (task) | never | a hand-over between its agreement and the tunnel's beginning loses it |
//! | [`READ_BLOCKED`] | hyper wants to read and the client has sent nothing | a read says so (task) | a read has something (task) | a client times out that has sent what was not read, and a flush is put off though hyper does not read again |
//! | [`WRITE_BLOCKED`] | hyper wants to write and the client takes nothing | a write, or a flush, says so (task) | one has gone (task) | no write time-out |
//!
//! # What hyper was put off from
//!
//! | flag | it means | set when | cleared when | without it |
//! |---|---|---|---|---|
//! | [`FLUSH_DUE`] | the next flush has to reach the socket | a put-off flush is remembered (task) | it has (task) | it is put off again, for ever |
//! | [`READ_PUT_OFF`] | hyper was put off once from reading a fresh connection | that happens (task) | never | it is put off for ever |
//! | [`READ_DUE`] | hyper has to be polled again to read | as above (task) | the task has looked | the second request is never read |
//! | [`HALF_CLOSED`] | the client has shut down its sending half, and hyper has not been told | that is seen with an answer due (task) | the answer is out (task) | hyper drops the request of a client that waits for its answer |
//!
//! # A stream of HTTP/2
//!
//! Each has an activity of its own, of which little is used: no bytes are followed, and nothing is put off.
//!
//! | flag | it means | set when | cleared when | without it |
//! |---|---|---|---|---|
//! | [`OF_STREAM`] | the activity is that of one stream | it is made | never | a body that is not wanted is read to its end, though the stream could be reset |
//! | [`TIMED_OUT`] | its body has been waited for for too long | the stream's task sees that (task) | never | the client is not told 408 |
//!
//! # The mode of the server
//!
//! | flag | it means | set when | cleared when | without it |
//! |---|---|---|---|---|
//! | [`RESTING`] | another mode than Serve | the task looks | the task looks | answers wait for a next request |
//! | [`HELD`] | the mode is Hold: no further request is begun | the task looks | the task looks | a client that always has a request holds up the hand-over |

use std::sync::atomic::{AtomicU32, Ordering};

pub(super) const UNFLUSHED: u32 = 1;
pub(super) const HEAD_UNWRITTEN: u32 = 1 << 1;
pub(super) const ANSWERS_CLOSE: u32 = 1 << 2;
pub(super) const CLOSE_SENT: u32 = 1 << 3;

pub(super) const AWAITS_CONTINUE: u32 = 1 << 4;
pub(super) const BODY_WANTED: u32 = 1 << 5;
pub(super) const BODY_DROPPED: u32 = 1 << 6;
pub(super) const UNWANTED: u32 = 1 << 7;
pub(super) const DISCARDING: u32 = 1 << 8;
pub(super) const NOT_DISCARDED: u32 = 1 << 9;
pub(super) const BODY_FAILED: u32 = 1 << 10;

pub(super) const MID_HEAD: u32 = 1 << 11;
pub(super) const CLIENT_CLOSES: u32 = 1 << 12;
pub(super) const PIPELINED: u32 = 1 << 13;
pub(super) const UPGRADE_OFFERED: u32 = 1 << 14;
pub(super) const SWITCHED: u32 = 1 << 15;
pub(super) const READ_BLOCKED: u32 = 1 << 16;
pub(super) const WRITE_BLOCKED: u32 = 1 << 17;

pub(super) const FLUSH_DUE: u32 = 1 << 18;
pub(super) const READ_PUT_OFF: u32 = 1 << 19;
pub(super) const READ_DUE: u32 = 1 << 20;
pub(super) const HALF_CLOSED: u32 = 1 << 21;

pub(super) const RESTING: u32 = 1 << 22;
pub(super) const HELD: u32 = 1 << 23;

pub(super) const BECOMES_TUNNEL: u32 = 1 << 24;

pub(super) const RECALL_ALLOWED: u32 = 1 << 25;
pub(super) const BODY_TOUCHED: u32 = 1 << 26;
pub(super) const RECALLED_BEFORE: u32 = 1 << 27;

pub(super) const OF_STREAM: u32 = 1 << 28;
pub(super) const TIMED_OUT: u32 = 1 << 29;

/// The flags that are set.
#[derive(Debug, Default)]
pub(super) struct Flags(AtomicU32);

// === impl Flags ===

impl Flags {
    /// Tells whether any of these is set.
    pub(super) fn has(&self, flags: u32) -> bool {
        self.0.load(Ordering::Acquire) & flags != 0
    }

    /// Sets these, or clears them.
    pub(super) fn change(&self, flags: u32, on: bool) {
        // Most of the time they are as they should be, and looking is cheaper than writing.
        let set = self.0.load(Ordering::Acquire) & flags;
        if on && set != flags {
            self.0.fetch_or(flags, Ordering::AcqRel);
        } else if !on && set != 0 {
            self.0.fetch_and(!flags, Ordering::AcqRel);
        }
    }
}
