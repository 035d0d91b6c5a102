//! One stream: its request given to the service, its answer counted, and its task.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Extensions, Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::answer::Sent;
use super::request;
use super::streams::{Stream, Streams};
use crate::BoxError;
use crate::connections::limits::{Limits, Timeout};
use crate::connections::poll_counter::PolledTogether;
use crate::connections::registry::{Registry, Signal};
use crate::http::activity::Activity;
use crate::http::body::Body;
use crate::http::connection::Shared;
use crate::http::exchange::{Answer, Watched};
use crate::http::timeouts::Timeouts;
use crate::sockets::peer::Peer;
#[cfg(feature = "tls")]
use crate::tls::session::TlsSession;

/// A service whose streams are counted.
#[derive(Debug)]
pub(super) struct Streamed<'s, S> {
    pub(super) shared: &'s Shared<S>,
    pub(super) registry: Arc<Registry>,
    pub(super) peer: Peer,
    #[cfg(feature = "tls")]
    pub(super) session: Option<TlsSession>,
    pub(super) state: Option<&'s Extensions>,
    pub(super) fields_max: usize,
    pub(super) streams: Arc<Streams>,
}

/// Spawns the tasks of a connection's streams.
#[derive(Clone, Debug)]
pub(super) struct Spawner {
    pub(super) streams: Arc<Streams>,
    pub(super) limits: Arc<Limits>,
    /// Counts the polls of their tasks.
    pub(super) signal: Arc<Signal>,
}

pin_project! {
    /// The answer to come on a stream.
    pub(super) struct StreamAnswer<F, B: http_body::Body> {
        #[pin]
        answer: Answer<F, B>,
        stream: Arc<Stream>,
    }
}

pin_project! {
    /// hyper's future for a stream, which ends early if the client lets it wait for too long.
    struct Task<F> {
        #[pin]
        future: F,
        end: End,
        timeouts: Timeouts,
        limits: Arc<Limits>,
        signal: Arc<Signal>,
    }
}

/// Tells the connection that a stream's task has ended.
struct End(Arc<Stream>);

// === impl Streamed ===

impl<S, B> Service<Request<Incoming>> for Streamed<'_, S>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>>,
    B: http_body::Body,
{
    type Response = Response<Sent<B>>;
    type Error = Infallible;
    type Future = StreamAnswer<S::Future, B>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (registry, recalls) = (Arc::clone(&self.registry), self.shared.recalls);
        let activity = Activity::of_stream(registry, self.peer, recalls);
        #[cfg(feature = "tls")]
        let activity = activity.over_tls(self.session.clone());
        let activity = Arc::new(activity);
        let stream = self.streams.begin(Arc::clone(&activity));
        request::join_cookies(request.headers_mut());
        let watched = Watched {
            service: &self.shared.service,
            activity,
            access: &self.shared.http_settings.access,
            tell_peer: self.shared.tell_peer,
            state: self.state,
            fields_max: self.fields_max,
        };
        StreamAnswer { answer: watched.call(request), stream }
    }
}

// === impl StreamAnswer ===

impl<F, B, E> Future for StreamAnswer<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: http_body::Body,
{
    type Output = Result<Response<Sent<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.answer.poll(cx));
        this.stream.answers();
        let stream = Arc::clone(this.stream);
        Poll::Ready(Ok(response.map(|body| Sent::new(body, stream))))
    }
}

// === impl Spawner ===

impl<F> Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    /// hyper calls this with the future of a stream right after it has called the service.
    fn execute(&self, future: F) {
        let Some(stream) = self.streams.take_begun() else {
            // None of a stream's; what hyper has besides is for upgrades, of which there are none.
            tokio::spawn(future);
            return;
        };
        let (timeouts, limits) = (Timeouts::default(), Arc::clone(&self.limits));
        let signal = Arc::clone(&self.signal);
        tokio::spawn(Task { future, end: End(stream), timeouts, limits, signal });
    }
}

// === impl Task ===

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let polled: &PolledTogether = (**this.signal).as_ref();
        if polled.count(|| this.future.as_mut().poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        let End(stream) = this.end;
        // Before the look, so that what the client is waited for from then on is not missed.
        stream.activity.register(cx);
        let waits = stream.waits_for_client();
        let waiting = ready!(this.timeouts.poll_waited(waits, this.limits, cx));
        stream.activity.registry().metrics.timeouts[waiting as usize].add(1);
        if waiting == Timeout::Body && stream.activity.times_out() {
            // The answer is 408 from here on.
            return this.future.poll(cx);
        }
        // hyper resets a stream whose future is dropped.
        Poll::Ready(())
    }
}

// === impl End ===

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}
