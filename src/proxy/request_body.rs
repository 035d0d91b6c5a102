//! A request's body on its way to the application: what of it has gone is kept as long as the request may have to be
//! sent again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;

use crate::BoxError;
use crate::proxy::fields::trailers::clean_request;
use crate::proxy::wire::Wire;

/// How much of the body of a request with an idempotent method is kept, so that it can be sent again: 64 KiB.
pub(super) const KEPT_MAX: usize = 64 << 10;

/// What a piece that is kept counts at least: it takes memory of its own besides its bytes.
const PIECE_MIN: usize = 256;

/// A request's body, which outlives the attempts to send it.
#[derive(Clone)]
pub(super) struct RequestBody(Arc<Mutex<Source>>);

struct Source {
    body: UnsyncBoxBody<Bytes, BoxError>,
    /// What has been sent, from the beginning.
    kept: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    /// How many bytes are kept; none: something was sent that is not.
    kept_bytes: Option<usize>,
    /// Nothing was read from the client yet.
    is_whole: bool,
    rest: Rest,
    /// Bytes came, or the end, since this was asked last.
    has_moved: bool,
}

/// What is to come of a body from the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rest {
    ToCome,
    /// All has come.
    Nothing,
    /// The client has not sent what it had announced.
    Missing,
}

/// The body of one attempt, as hyper sees it.
pub(super) struct AttemptBody(Option<Attempt>);

struct Attempt {
    body: RequestBody,
    wire: Arc<Wire>,
    /// How many of the kept pieces have been sent again.
    resent: usize,
    has_sent_trailers: bool,
}

// === impl RequestBody ===

impl RequestBody {
    /// `may_repeat`: what is sent of it is worth keeping.
    pub(super) fn new<B>(body: B, may_repeat: bool) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let source = Source {
            body: body.map_err(Into::into).boxed_unsync(),
            kept: Vec::new(),
            trailers: None,
            kept_bytes: may_repeat.then_some(0),
            is_whole: true,
            rest: Rest::ToCome,
            has_moved: false,
        };
        Self(Arc::new(Mutex::new(source)))
    }

    /// The body for another attempt.
    pub(super) fn attempt(&self, wire: &Arc<Wire>) -> AttemptBody {
        let (body, wire) = (self.clone(), Arc::clone(wire));
        AttemptBody(Some(Attempt { body, wire, resent: 0, has_sent_trailers: false }))
    }

    /// Tells whether all of it can be sent again.
    pub(super) fn is_there(&self) -> bool {
        let source = self.source();
        source.is_whole || source.kept_bytes.is_some()
    }

    /// Tells whether the client failed to send what it had announced.
    pub(super) fn is_broken(&self) -> bool {
        self.source().rest == Rest::Missing
    }

    /// Tells whether the client has sent more of it since this was asked last.
    pub(super) fn has_moved(&self) -> bool {
        std::mem::take(&mut self.source().has_moved)
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Source ===

impl Source {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.rest == Rest::Nothing {
            return Poll::Ready(None);
        }
        let mut polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled {
            frame.trailers_mut().into_iter().for_each(clean_request);
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.is_whole = false;
                self.has_moved = true;
                if let (Some(data), Some(kept)) = (frame.data_ref(), self.kept_bytes) {
                    let bytes = kept + data.len().max(PIECE_MIN);
                    self.kept_bytes = (bytes <= KEPT_MAX).then_some(bytes);
                    if self.kept_bytes.is_some() {
                        self.kept.push(data.clone());
                    } else {
                        self.kept = Vec::new();
                    }
                }
                if self.kept_bytes.is_some() {
                    self.trailers = frame.trailers_ref().cloned();
                }
            }
            // The rest will never come.
            Poll::Ready(Some(Err(_))) => {
                (self.is_whole, self.kept_bytes, self.rest) = (false, None, Rest::Missing);
            }
            Poll::Ready(None) => (self.rest, self.has_moved) = (Rest::Nothing, true),
            Poll::Pending => {}
        }
        polled
    }
}

// === impl AttemptBody ===

impl AttemptBody {
    /// That of a request without one.
    pub(super) const fn none() -> Self {
        Self(None)
    }
}

impl Body for AttemptBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(attempt) = &mut self.0 else { return Poll::Ready(None) };
        if !attempt.wire.is_open() {
            // Whoever drives the connection polls it again when the gate has opened.
            return Poll::Pending;
        }
        let mut source = attempt.body.source();
        if let Some(piece) = source.kept.get(attempt.resent).cloned() {
            attempt.resent += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(trailers) = source.trailers.clone().filter(|_| !attempt.has_sent_trailers) {
            attempt.has_sent_trailers = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let polled = source.poll_next(cx);
        attempt.resent = source.kept.len();
        attempt.has_sent_trailers = source.trailers.is_some();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    /// hyper asks before the first frame only, and then for the head's sake: the length is in the head.
    fn size_hint(&self) -> SizeHint {
        if self.0.is_none() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}
