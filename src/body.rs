//! The request body that services receive.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::activity::Activity;

/// The body of a request.
///
/// It is hyper's [`Incoming`] with one difference: a body that the service drops before its end
/// does not cost the connection. Up to 1 MiB of it are read and forgotten, so that the client can
/// send its next request on the same connection.
#[derive(Debug)]
pub struct Body {
    incoming: Option<Incoming>,
    /// Absent where there was no body to begin with.
    activity: Option<Arc<Activity>>,
    /// The client waits for `100 Continue`; without it there is nothing to read.
    expects_continue: bool,
}

// === impl Body ===

impl Body {
    pub(crate) fn new(
        incoming: Incoming,
        activity: &Arc<Activity>,
        expects_continue: bool,
    ) -> Self {
        if incoming.is_end_stream() {
            return Self { incoming: None, activity: None, expects_continue };
        }
        activity.request_body_begins();
        Self { incoming: Some(incoming), activity: Some(Arc::clone(activity)), expects_continue }
    }

    fn end(&mut self) {
        self.incoming = None;
        if let Some(activity) = self.activity.take() {
            activity.request_body_ends();
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = self.incoming.as_mut() else {
            return Poll::Ready(None);
        };
        // From here on hyper asks the client to continue.
        let frame = Pin::new(&mut *incoming).poll_frame(cx);
        let ended = incoming.is_end_stream();
        self.expects_continue = false;
        if ended || matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.end();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        match (self.activity.take(), self.incoming.take()) {
            (Some(activity), Some(incoming)) if !self.expects_continue => {
                activity.request_body_dropped(incoming);
            }
            (Some(activity), Some(_)) => activity.request_body_abandoned(),
            (Some(activity), None) => activity.request_body_ends(),
            (None, _) => {}
        }
    }
}
