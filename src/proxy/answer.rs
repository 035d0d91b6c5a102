//! The body of an answer on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::BoxError;
use crate::proxy::connection::Connection;
use crate::proxy::fields::trailers::clean_answer;
use crate::proxy::metrics::{FAILURES, ProxyMetrics};
use crate::proxy::pool::Pool;
use crate::proxy::room::Active;

/// The body of an answer: the application's, or a short text of the proxy's own.
#[derive(Debug)]
pub struct AnswerBody(Content);

#[derive(Debug)]
enum Content {
    Text(Bytes),
    Streamed(Box<Streamed>),
}

/// A body that comes from the application; the connection is driven here.
#[derive(Debug)]
struct Streamed {
    incoming: Incoming,
    /// None: it was given back, or is lost.
    connection: Option<Connection>,
    pool: Arc<Pool>,
    metrics: Arc<ProxyMetrics>,
    /// None: the answer may have no end, and nobody waits for it.
    _active: Option<Active>,
    /// The most time without a byte.
    limit: Duration,
    /// When that is over, while nothing comes.
    due: Option<Instant>,
    /// All has come. In HTTP/2 an answer whose request had not ended does not say so itself once its connection is gone.
    has_ended: bool,
}

/// The application has sent nothing for too long, in the middle of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the application sent no more of its answer in time")]
struct Stalled;

// === impl AnswerBody ===

impl AnswerBody {
    pub(super) const fn empty() -> Self {
        Self(Content::Text(Bytes::new()))
    }

    pub(super) const fn text(text: &'static str) -> Self {
        Self(Content::Text(Bytes::from_static(text.as_bytes())))
    }

    pub(super) fn streamed(
        incoming: Incoming,
        connection: Connection,
        pool: Arc<Pool>,
        metrics: Arc<ProxyMetrics>,
        active: Option<Active>,
        limit: Duration,
    ) -> Self {
        let connection = Some(connection);
        let streamed = Streamed {
            incoming,
            connection,
            pool,
            metrics,
            _active: active,
            limit,
            due: None,
            has_ended: false,
        };
        Self(Content::Streamed(Box::new(streamed)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Content::Text(text) if text.is_empty() => Poll::Ready(None),
            Content::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Content::Streamed(streamed) => streamed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Text(text) => text.is_empty(),
            Content::Streamed(streamed) => streamed.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Text(text) => SizeHint::with_exact(text.len() as u64),
            Content::Streamed(streamed) => streamed.incoming.size_hint(),
        }
    }
}

// === impl Streamed ===

impl Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut has_read = false;
        if self.has_ended {
            return Poll::Ready(None);
        }
        loop {
            if let Some(connection) = self.connection.as_ref().filter(|_| !has_read) {
                // A body that is read from wakes whoever drives the connection, which would be this task: it is driven
                // below, if it is still to be.
                connection.rests();
            }
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(self.passed(frame)))),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(self.cut(error)))),
                Poll::Ready(None) => {
                    self.give_back();
                    return Poll::Ready(None);
                }
                Poll::Pending if has_read => return self.poll_stalled(cx),
                Poll::Pending => {}
            }
            let Some(connection) = &mut self.connection else { return Poll::Pending };
            // What hyper reads now is looked at once more; or it has told the body how it ends.
            has_read = connection.poll(cx).is_pending();
            if !has_read {
                self.connection = None;
            }
        }
    }

    /// A frame that has come. Nothing follows trailers, and hyper does not ask again.
    fn passed(&mut self, mut frame: Frame<Bytes>) -> Frame<Bytes> {
        self.due = None;
        if let Some(trailers) = frame.trailers_mut() {
            clean_answer(trailers);
            self.has_ended = true;
        }
        if self.has_ended() {
            self.has_ended = true;
            self.give_back();
        }
        frame
    }

    fn has_ended(&self) -> bool {
        self.has_ended || self.incoming.is_end_stream()
    }

    fn poll_stalled(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let due = *self.due.get_or_insert_with(|| Instant::now() + self.limit);
        let Some(connection) = &mut self.connection else { return Poll::Pending };
        ready!(connection.timer.poll(due, cx));
        Poll::Ready(Some(Err(self.cut(Stalled))))
    }

    /// The answer ends before its end; so does the client's connection.
    fn cut(&mut self, error: impl Into<BoxError>) -> BoxError {
        self.connection = None;
        self.metrics.failures[FAILURES.len() - 1].add(1);
        error.into()
    }

    /// Keeps the connection for the next request, if it can take one.
    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            if connection.is_usable() {
                connection.rests();
                self.pool.put(connection);
            }
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        // hyper does not ask a body that says it has ended.
        if self.has_ended() {
            self.give_back();
        }
    }
}
