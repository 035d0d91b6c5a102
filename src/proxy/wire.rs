//! The connection to the application as hyper sees it, and what is known of how far a request has come on it.
//!
//! The gate: while it is shut, a request's body is not read. It opens when the application has taken all that was
//! written, the head; see [`crate::proxy::verdict`] for why. On TCP that cannot be known, and it opens when the head
//! has been written. With `Expect: 100-continue` it opens when the application asks for the body, or has taken the head
//! and let a time go by.
//!
//! In HTTP/2 there are frames of the connection before and between those of requests. So there a request may be read
//! once any byte has been written since it began, and its head counts as written when hyper has taken the request and
//! had nothing more to write.
//!
//! The waker that hyper gets is the connection's own, which wakes whoever polls it now. A connection goes from task to
//! task, and hyper wakes whoever polled it last when it is given a request: that would be a client whose answer is out.

use std::io;
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use atomic_waker::AtomicWaker;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::sent_fields::SentFields;
use crate::sockets::stream::Stream;

/// What is known of the request that is on its way. All accesses are by the task that drives the connection, but for
/// who is to be woken.
#[derive(Debug)]
pub(super) struct Wire {
    flags: AtomicU32,
    is_unix: bool,
    is_http2: bool,
    /// Whoever polls the connection; nobody while it is kept.
    task: AtomicWaker,
    /// There was nothing to read, and the runtime wakes the wire when there is: hyper looks up to three times in a turn.
    is_blocked: AtomicBool,
    fields: Mutex<SentFields>,
}

/// The connection's socket, lent to hyper.
#[derive(Debug)]
pub(super) struct UpstreamIo {
    pub(super) stream: Stream,
    wire: Arc<Wire>,
}

/// Bytes were written since the request began.
const WRITTEN: u32 = 1;
/// Everything was written that hyper had, once at least: the head is whole.
const HEAD_SENT: u32 = 1 << 1;
/// A byte of an answer has come.
const ANSWERED: u32 = 1 << 2;
/// The kernel says that the connection was reset.
const RESET: u32 = 1 << 3;
/// The body may be read.
const OPEN: u32 = 1 << 4;
/// The gate has opened since this was asked last.
const JUST_OPENED: u32 = 1 << 5;
/// The application has to ask for the body before the gate opens.
const EXPECTS: u32 = 1 << 6;
/// Somebody wants to know when the head is taken, or it has a body.
const WATCHED: u32 = 1 << 7;
/// The application has taken everything that was written.
const TAKEN: u32 = 1 << 8;
/// The connection has served another request before.
const KEPT: u32 = 1 << 9;
/// What is to be written has the request's head in it.
const HAS_HEAD: u32 = 1 << 10;
/// hyper has given the request back: what was written is not of it.
const RETURNED: u32 = 1 << 11;

// === impl Wire ===

impl Wire {
    pub(super) fn new(is_unix: bool) -> Self {
        Self {
            flags: AtomicU32::new(0),
            is_unix,
            is_http2: false,
            task: AtomicWaker::new(),
            is_blocked: AtomicBool::new(false),
            fields: Mutex::default(),
        }
    }

    #[cfg(feature = "http2")]
    pub(super) fn http2(is_unix: bool) -> Self {
        Self { is_http2: true, ..Self::new(is_unix) }
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// Whatever happens to the connection from here on wakes this task; it has to poll the connection after that.
    pub(super) fn wakes(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Wakes nobody from here on.
    pub(super) fn wakes_nobody(&self) {
        drop(self.task.take());
    }

    /// A request begins. When its head is taken is to be found out if it is `watched`; its body waits to be asked
    /// for if it `expects` that.
    pub(super) fn begin(&self, watched: bool, expects: bool) {
        let flags = if watched { WATCHED } else { 0 }
            | if expects { EXPECTS } else { 0 }
            | if self.is_http2 { 0 } else { HAS_HEAD }
            | if self.has(WRITTEN | KEPT) { KEPT } else { 0 };
        self.flags.store(flags, Ordering::Relaxed);
        self.fields().begin();
    }

    /// hyper has put the request's head among what is to be written.
    #[cfg(feature = "http2")]
    pub(super) fn has_head(&self) {
        self.set(HAS_HEAD);
    }

    /// The fields of the request, which hyper has.
    pub(super) fn fields(&self) -> MutexGuard<'_, SentFields> {
        self.fields.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether a byte of the request has been written, or may have been.
    pub(super) fn is_begun(&self) -> bool {
        self.has(WRITTEN) && !self.has(RETURNED)
    }

    /// hyper gives the request back, of which it has written nothing.
    pub(super) fn returned(&self, fields: HeaderMap) {
        self.set(RETURNED);
        self.fields().returned(fields);
    }

    /// Tells whether all of the head has been written, or may have been.
    pub(super) fn is_head_sent(&self) -> bool {
        self.has(if self.is_http2 { WRITTEN } else { HEAD_SENT })
    }

    /// Tells whether the kernel has said that the last byte of the head was not read.
    pub(super) fn is_head_unread(&self) -> bool {
        self.is_unix && self.has(RESET) && !self.has(OPEN)
    }

    /// Tells whether an answer has begun to come.
    pub(super) fn has_answered(&self) -> bool {
        self.has(ANSWERED)
    }

    /// Tells whether the application has taken the head; known only of a request that is watched.
    pub(super) fn is_taken(&self) -> bool {
        self.has(TAKEN)
    }

    /// Tells whether the body may be read.
    pub(super) fn is_open(&self) -> bool {
        self.has(OPEN)
    }

    /// Nobody waits any longer for the application to ask for the body; that it has taken the head is waited for.
    pub(super) fn expect_no_longer(&self) {
        self.flags.fetch_and(!EXPECTS, Ordering::Relaxed);
        if self.is_taken() {
            self.open();
        }
    }

    /// Lets the body be read: the application has asked for it, or has taken the head.
    pub(super) fn open(&self) {
        if !self.is_open() {
            self.set(OPEN | JUST_OPENED);
        }
    }

    /// Tells whether the gate has opened since this was asked last: hyper has to be polled again.
    pub(super) fn has_just_opened(&self) -> bool {
        self.has(JUST_OPENED)
            && self.flags.fetch_and(!JUST_OPENED, Ordering::Relaxed) & JUST_OPENED != 0
    }

    fn has(&self, flags: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & flags != 0
    }

    fn set(&self, flags: u32) {
        // Most of the time they are set, and looking is cheaper than writing.
        if self.flags.load(Ordering::Relaxed) & flags != flags {
            self.flags.fetch_or(flags, Ordering::Relaxed);
        }
    }
}

impl Wake for Wire {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order: whoever is woken finds that there may be something to read.
        self.is_blocked.store(false, Ordering::Release);
        self.task.wake();
    }
}

// === impl UpstreamIo ===

impl UpstreamIo {
    pub(super) fn new(stream: Stream, wire: Wire) -> (Self, Arc<Wire>) {
        let wire = Arc::new(wire);
        (Self { stream, wire: Arc::clone(&wire) }, wire)
    }

    /// What came on a kept connection since its last answer is the answer to nothing: the next request must not take
    /// it for its own. hyper looks for it as well, but what came since the runtime looked last it does not find. In
    /// HTTP/2 each answer says whose it is.
    fn has_come_unasked(&mut self) -> bool {
        let is_first = self.wire.has(KEPT) && !self.wire.has(WRITTEN) && !self.wire.is_http2;
        is_first && self.stream.has_unread()
    }

    /// Notes a reset, which is told once.
    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            if error.kind() == io::ErrorKind::ConnectionReset {
                self.wire.set(RESET);
            }
        }
        result
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // In a tunnel it is somebody else who is woken.
        let is_woken = ptr::eq(cx.waker().data(), Arc::as_ptr(&self.wire).cast());
        if is_woken {
            if self.wire.is_blocked.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            // Before the look: the wake may come right behind it. The runtime's lock, under which it looks last and
            // is told whom to wake, puts the two in order.
            self.wire.is_blocked.store(true, Ordering::Relaxed);
        }
        let before = buf.filled().len();
        let read = ready!(self.stream.poll_read(cx, buf));
        self.wire.is_blocked.store(false, Ordering::Relaxed);
        if buf.filled().len() > before {
            self.wire.set(ANSWERED);
        }
        Poll::Ready(self.noted(read))
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.wire.has(WRITTEN) && !self.wire.is_http2 {
            // hyper has put the head into one buffer, and nothing else: the body has to wait for the gate.
            self.wire.fields().written(buf);
        }
        if self.has_come_unasked() {
            return Poll::Ready(Err(io::Error::other("the application has spoken unasked")));
        }
        let written = ready!(self.stream.poll_write(cx, buf));
        if written.is_ok() {
            self.wire.set(WRITTEN);
        }
        let written = self.noted(written);
        match &written {
            // The application takes no more of the body, but may have answered. How it ends is for the reads to say,
            // which hyper always has going.
            // HTTP/2 reads when it has written, so it is told that it has.
            Err(error) if self.wire.is_head_sent() && is_closed(error) => {
                if self.wire.is_http2 {
                    Poll::Ready(Ok(buf.len()))
                } else {
                    Poll::Pending
                }
            }
            _ => Poll::Ready(written),
        }
    }

    /// hyper flushes when its own buffer is empty.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, wire } = &mut *self;
        if wire.has(WRITTEN) && wire.has(HAS_HEAD) {
            wire.set(HEAD_SENT);
            if wire.has(WATCHED) && !wire.has(TAKEN) && stream.poll_taken(cx).is_ready() {
                wire.set(TAKEN);
                if !wire.has(EXPECTS) {
                    wire.open();
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }
}

/// Tells whether the peer has closed its end.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
