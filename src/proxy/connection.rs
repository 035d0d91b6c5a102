//! A connection to the application: hyper's, driven by whoever waits for the answer.
//!
//! There is no task for it: what the application sends is read when the client's task asks for more, so a client
//! that takes nothing holds the application back, and one that leaves drops the connection.

#[cfg(feature = "http2")]
mod http2;

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

#[cfg(feature = "http2")]
use self::http2::{Http2, Sent};
#[cfg(feature = "http2")]
use crate::proxy::fields::http2::of_http2;
use crate::proxy::request_body::AttemptBody;
use crate::proxy::timer::Timer;
use crate::proxy::wire::{UpstreamIo, Wire};
use crate::sockets::stream::Stream;

/// The longest head of an answer, in bytes; as much as a request's by default.
const HEAD_MAX: usize = 64 << 10;

/// A connection that serves one request at a time.
pub(super) struct Connection {
    /// None: hyper is done with it.
    hyper: Option<Box<Hyper>>,
    sender: Sender,
    /// hyper has ended it.
    is_done: bool,
    /// Kept with it: most answers come in time, and the next request waits for a later time.
    pub(super) timer: Timer,
    pub(super) wire: Arc<Wire>,
    /// The wire's, for hyper.
    waker: Waker,
}

#[cfg_attr(
    feature = "http2",
    expect(clippy::large_enum_variant, reason = "it is boxed, and nearly all are the large one")
)]
enum Hyper {
    Http1(http1::Connection<TokioIo<UpstreamIo>, AttemptBody>),
    #[cfg(feature = "http2")]
    Http2(Box<Http2>),
}

/// Takes requests for hyper.
enum Sender {
    Http1(SendRequest<AttemptBody>),
    #[cfg(feature = "http2")]
    Http2(Box<hyper::client::conn::http2::SendRequest<AttemptBody>>),
}

/// What hyper says of an attempt.
pub(super) type Attempted = Result<Response<Incoming>, TrySendError<Request<AttemptBody>>>;

// === impl Connection ===

impl Connection {
    pub(super) async fn new(stream: Stream, is_unix: bool) -> io::Result<Self> {
        let (io, wire) = UpstreamIo::new(stream, Wire::new(is_unix));
        let mut builder = http1::Builder::new();
        // Of fields there are hyper's 100 at most, which it has room for on the stack.
        builder.max_header_size(HEAD_MAX).max_buf_size(2 * HEAD_MAX);
        let (sender, hyper) =
            builder.handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        Ok(Self::of(Hyper::Http1(hyper), Sender::Http1(sender), wire))
    }

    /// One to an application that speaks HTTP/2, and knows that we do.
    #[cfg(feature = "http2")]
    pub(super) async fn http2(stream: Stream, is_unix: bool) -> io::Result<Self> {
        let (io, wire) = UpstreamIo::new(stream, Wire::http2(is_unix));
        let (sender, hyper) = Http2::handshake(io, &wire).await.map_err(io::Error::other)?;
        Ok(Self::of(Hyper::Http2(Box::new(hyper)), Sender::Http2(Box::new(sender)), wire))
    }

    fn of(hyper: Hyper, sender: Sender, wire: Arc<Wire>) -> Self {
        Self {
            hyper: Some(Box::new(hyper)),
            sender,
            is_done: false,
            timer: Timer::default(),
            waker: Waker::from(Arc::clone(&wire)),
            wire,
        }
    }

    /// Gives hyper a request.
    pub(super) fn send(
        &mut self,
        request: Request<AttemptBody>,
    ) -> impl Future<Output = Attempted> + Send + use<> {
        #[cfg(not(feature = "http2"))]
        {
            let Sender::Http1(sender) = &mut self.sender;
            sender.try_send_request(request)
        }
        #[cfg(feature = "http2")]
        match &mut self.sender {
            Sender::Http1(sender) => Sent::Http1 { answer: sender.try_send_request(request) },
            Sender::Http2(sender) => {
                let request = of_http2(request);
                // Boxed, so that the futures of all requests need not keep room for both.
                Sent::Http2 { answer: Box::pin(sender.try_send_request(request)) }
            }
        }
    }

    /// Lets hyper read and write; ready when it is done with the connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wire.wakes(cx.waker());
        let mut cx = Context::from_waker(&self.waker);
        while let Some(hyper) = &mut self.hyper {
            if hyper.poll(&mut cx).is_ready() {
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
        !self.is_done
            && match &self.sender {
                Sender::Http1(sender) => sender.is_ready(),
                // The request's body may be on its way yet, though its answer is there.
                #[cfg(feature = "http2")]
                Sender::Http2(sender) => {
                    sender.is_ready() && self.hyper.as_deref().is_some_and(Hyper::is_at_rest)
                }
            }
    }

    /// Nobody polls it until it is given a request.
    pub(super) fn rests(&self) {
        self.wire.wakes_nobody();
    }

    /// Closes the connection; whoever waits for an answer is told that none will come.
    pub(super) fn drop_hyper(&mut self) {
        self.hyper = None;
    }

    /// Takes the connection apart, once hyper is done with it; what it has read and not used comes along. One of HTTP/2
    /// has nothing to give: no other protocol is agreed on there.
    pub(super) fn into_parts(mut self) -> Option<(Stream, Bytes)> {
        match *self.hyper.take()? {
            Hyper::Http1(hyper) => {
                let parts = hyper.into_parts();
                Some((parts.io.into_inner().stream, parts.read_buf))
            }
            #[cfg(feature = "http2")]
            Hyper::Http2(_) => None,
        }
    }
}

// === impl Hyper ===

impl Hyper {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(hyper) => Pin::new(hyper).poll_without_shutdown(cx).map(drop),
            #[cfg(feature = "http2")]
            Self::Http2(hyper) => hyper.poll(cx),
        }
    }

    #[cfg(feature = "http2")]
    fn is_at_rest(&self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(hyper) => hyper.is_at_rest(),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("wire", &self.wire).finish_non_exhaustive()
    }
}
