//! The request body that services receive.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::http::activity::Activity;

/// The body of a request.
///
/// It is hyper's [`Incoming`] with one difference: a body that the service drops before its end
/// does not cost the connection. Up to 1 MiB of it are read and discarded, so that the client can
/// send its next request on the same connection. Of a body that is larger, or that the client waits to
/// be asked for (`Expect: 100-continue`), nothing is read; the answer says `Connection: close` then.
#[derive(Debug)]
pub struct Body {
    incoming: Option<Incoming>,
    /// Absent where the request has no body, and after its end.
    activity: Option<Arc<Activity>>,
    /// The client waits for `100 Continue`, which hyper sends when the body is first read.
    unasked: bool,
    /// Which of the connection's requests it belongs to.
    request: u32,
}

// === impl Body ===

impl Body {
    pub(crate) fn new(
        incoming: Incoming,
        activity: &Arc<Activity>,
        expects_continue: bool,
    ) -> Self {
        if incoming.is_end_stream() {
            return Self { incoming: None, activity: None, unasked: false, request: 0 };
        }
        activity.request_body_begins(expects_continue);
        let (activity, request) = (Some(Arc::clone(activity)), activity.requests());
        Self { incoming: Some(incoming), activity, unasked: expects_continue, request }
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
        let frame = Pin::new(&mut *incoming).poll_frame(cx);
        // A counted body has ended when all of it has come, and a chunked one when hyper says so.
        let has_ended = incoming.is_end_stream()
            || (matches!(frame, Poll::Ready(None)) && incoming.size_hint().exact().is_none());
        let has_failed = !has_ended && matches!(frame, Poll::Ready(None | Some(Err(_))));
        if has_ended || has_failed {
            self.incoming = None;
        }
        let request = self.request;
        if let Some(activity) =
            self.activity.as_ref().filter(|activity| activity.requests() == request)
        {
            activity.request_body_wanted(frame.is_pending());
        }
        // Something has come, so the client does not wait for `100 Continue`. That the body was polled is not
        // enough: hyper does not send it where the answer has begun.
        if self.unasked && frame.is_ready() {
            self.unasked = false;
            if let Some(activity) = &self.activity {
                activity.request_body_asked();
            }
        }
        match self.activity.take_if(|_| has_ended || has_failed) {
            Some(activity) if has_ended => activity.request_body_ends(),
            Some(activity) => activity.request_body_failed(),
            None => {}
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
        if let (Some(activity), Some(incoming)) = (self.activity.take(), self.incoming.take()) {
            activity.request_body_dropped(incoming, self.request, self.unasked);
        }
    }
}
