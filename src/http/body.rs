//! The request body that services receive.

#[cfg(any(feature = "proxy", test))]
use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::http::activity::Activity;
#[cfg(any(feature = "proxy", test))]
use crate::http::recall::Recall;

/// The body of a request.
///
/// It is hyper's [`Incoming`] with one difference: a body that the service drops before its end
/// does not cost the connection. Up to 1 MiB of it are read and discarded, so that the client can
/// send its next request on the same connection. Of a body that is larger, or that the client waits to
/// be asked for (`Expect: 100-continue`), nothing is read; the answer says `Connection: close` then.
///
/// A test that calls a service without a server makes one of what a request is to contain.
///
/// # Examples
/// ```
/// use http::Request;
/// use lockstepd::Body;
///
/// let order = Request::post("/orders").body(Body::from("tea"))?;
/// let list = Request::get("/orders").body(Body::empty())?;
/// # let _ = (order, list);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug)]
pub struct Body {
    content: Content,
    /// Absent where the request has no body, and after its end.
    activity: Option<Arc<Activity>>,
    /// The client waits for `100 Continue`, which hyper sends when the body is first read.
    unasked: bool,
    /// Which of the connection's requests it belongs to.
    request: u32,
    /// Of a request that may be recalled; as an extension it would cost more.
    #[cfg(any(feature = "proxy", test))]
    recall: Option<Recall>,
}

/// What is left of a body.
#[derive(Debug)]
enum Content {
    Nothing,
    /// From a client.
    Incoming(Incoming),
    /// From the program itself.
    Given(Bytes),
}

// === impl Body ===

impl Body {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            content: Content::Nothing,
            activity: None,
            unasked: false,
            request: 0,
            #[cfg(any(feature = "proxy", test))]
            recall: None,
        }
    }

    pub(crate) fn new(
        incoming: Incoming,
        activity: &Arc<Activity>,
        expects_continue: bool,
    ) -> Self {
        let mut body = Self::empty();
        #[cfg(any(feature = "proxy", test))]
        {
            body.recall = activity.recalls().then(|| Recall::new(activity));
        }
        if !incoming.is_end_stream() {
            activity.request_body_begins(expects_continue);
            body.content = Content::Incoming(incoming);
            body.activity = Some(Arc::clone(activity));
            body.unasked = expects_continue;
            body.request = activity.requests();
        }
        body
    }

    /// What the service of a request with this body needs, if the request may be recalled.
    #[cfg(any(feature = "proxy", test))]
    pub(crate) fn recall<B: 'static>(body: &B) -> Option<Recall> {
        (body as &dyn Any).downcast_ref::<Self>()?.recall.clone()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let incoming = match &mut self.content {
            Content::Incoming(incoming) => incoming,
            Content::Given(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = Content::Nothing;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Content::Nothing => return Poll::Ready(None),
        };
        let frame = Pin::new(&mut *incoming).poll_frame(cx);
        // A counted body has ended when all of it has come, and a chunked one when hyper says so.
        let has_ended = incoming.is_end_stream()
            || (matches!(frame, Poll::Ready(None)) && incoming.size_hint().exact().is_none());
        let has_failed = !has_ended && matches!(frame, Poll::Ready(None | Some(Err(_))));
        if has_ended || has_failed {
            self.content = Content::Nothing;
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
        match &self.content {
            Content::Incoming(incoming) => incoming.is_end_stream(),
            Content::Given(_) => false,
            Content::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Incoming(incoming) => incoming.size_hint(),
            Content::Given(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Nothing => SizeHint::with_exact(0),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some(activity) = self.activity.take() else { return };
        if let Content::Incoming(incoming) = std::mem::replace(&mut self.content, Content::Nothing)
        {
            activity.request_body_dropped(incoming, self.request, self.unasked);
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::empty();
        }
        let mut body = Self::empty();
        body.content = Content::Given(bytes);
        body
    }
}

impl From<String> for Body {
    fn from(content: String) -> Self {
        Bytes::from(content).into()
    }
}

impl From<&'static str> for Body {
    fn from(content: &'static str) -> Self {
        Bytes::from_static(content.as_bytes()).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(content: Vec<u8>) -> Self {
        Bytes::from(content).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(content: &'static [u8]) -> Self {
        Bytes::from_static(content).into()
    }
}
