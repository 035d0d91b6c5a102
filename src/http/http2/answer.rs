//! The body of an answer, of which each piece is counted until hyper has written it.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::streams::Stream;
use crate::BoxError;
use crate::http::exchange::AnswerBody;

pin_project! {
    /// The body of an answer on a stream.
    pub(super) struct Sent<B: Body> {
        #[pin]
        body: AnswerBody<B>,
        stream: Arc<Stream>,
    }
}

/// A piece of it.
pub(super) struct Piece {
    bytes: Bytes,
    stream: Arc<Stream>,
}

// === impl Sent ===

impl<B: Body> Sent<B> {
    pub(super) fn new(body: AnswerBody<B>, stream: Arc<Stream>) -> Self {
        Self { body, stream }
    }
}

impl<B> Body for Sent<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Piece;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BoxError>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        let piece = |bytes| Piece::new(bytes, Arc::clone(this.stream));
        Poll::Ready(frame.map(|frame| Ok(frame?.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Piece ===

impl Piece {
    fn new(bytes: Bytes, stream: Arc<Stream>) -> Self {
        stream.sends();
        Self { bytes, stream }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(slices)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.bytes.copy_to_bytes(length)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.stream.sent();
    }
}
