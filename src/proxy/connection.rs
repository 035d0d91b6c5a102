//! A connection to the application: hyper's, driven by whoever waits for the answer.
//!
//! There is no task for it: what the application sends is read when the client's task asks for more, so a client
//! that takes nothing holds the application back, and one that leaves drops the connection.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use crate::proxy::request_body::AttemptBody;
use crate::proxy::timer::Timer;
use crate::proxy::wire::{UpstreamIo, Wire};
use crate::sockets::stream::Stream;

/// The longest head of an answer, in bytes; as much as a request's by default.
const HEAD_MAX: usize = 64 << 10;

/// A connection that serves one request at a time.
pub(super) struct Connection {
    /// None: hyper is done with it.
    hyper: Option<Box<http1::Connection<TokioIo<UpstreamIo>, AttemptBody>>>,
    sender: SendRequest<AttemptBody>,
    /// hyper has ended it.
    is_done: bool,
    /// Kept with it: most answers come in time, and the next request waits for a later time.
    pub(super) timer: Timer,
    pub(super) wire: Arc<Wire>,
    /// The wire's, for hyper.
    waker: Waker,
}

/// What hyper says of an attempt.
pub(super) type Attempted = Result<Response<Incoming>, TrySendError<Request<AttemptBody>>>;

// === impl Connection ===

impl Connection {
    pub(super) async fn new(stream: Stream, is_unix: bool) -> io::Result<Self> {
        let (io, wire) = UpstreamIo::new(stream, is_unix);
        let mut builder = http1::Builder::new();
        // Of fields there are hyper's 100 at most, which it has room for on the stack.
        builder.max_header_size(HEAD_MAX).max_buf_size(2 * HEAD_MAX);
        let (sender, hyper) =
            builder.handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        Ok(Self {
            hyper: Some(Box::new(hyper)),
            sender,
            is_done: false,
            timer: Timer::default(),
            waker: Waker::from(Arc::clone(&wire)),
            wire,
        })
    }

    /// Gives hyper a request.
    pub(super) fn send(
        &mut self,
        request: Request<AttemptBody>,
    ) -> impl Future<Output = Attempted> + Send + use<> {
        self.sender.try_send_request(request)
    }

    /// Lets hyper read and write; ready when it is done with the connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wire.wakes(cx.waker());
        let mut cx = Context::from_waker(&self.waker);
        while let Some(hyper) = &mut self.hyper {
            if Pin::new(&mut **hyper).poll_without_shutdown(&mut cx).is_ready() {
                self.is_done = true;
                return Poll::Ready(());
            }
            // The body may be read from now on: hyper looks when it is polled.
            if !self.wire.has_just_opened() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Tells whether it can take another request, as far as hyper has seen: the last one has its answer. Whether the
    /// application has closed it meanwhile, hyper looks before it writes the next request.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_done && self.sender.is_ready()
    }

    /// Nobody polls it until it is given a request.
    pub(super) fn rests(&self) {
        self.wire.wakes_nobody();
    }

    /// Closes the connection; whoever waits for an answer is told that none will come.
    pub(super) fn drop_hyper(&mut self) {
        self.hyper = None;
    }

    /// Takes the connection apart, once hyper is done with it; what it has read and not used comes along.
    pub(super) fn into_parts(mut self) -> Option<(Stream, Bytes)> {
        let parts = self.hyper.take()?.into_parts();
        Some((parts.io.into_inner().stream, parts.read_buf))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("wire", &self.wire).finish_non_exhaustive()
    }
}
