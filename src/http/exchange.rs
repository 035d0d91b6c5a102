//! One request and its response: the wrapper around a service that watches both to their ends.
//!
//! A handler that panics costs its own request, which is answered with 500, and nothing else.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Extensions, Method, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::{Buf, Bytes, Incoming};
use hyper::service::Service;
use pin_project_lite::pin_project;

use crate::BoxError;
use crate::connections::body_remainder::Remainder;
use crate::connections::chunked_body::Malformed;
use crate::http::access::AccessSetting;
use crate::http::activity::Activity;
use crate::http::body::Body;
use crate::http::refusal::Refusal;
use crate::http::request_fields::{RequestFields, X_REQUEST_ID};
use crate::http::request_rules;
use crate::http::response_rules;
#[cfg(feature = "proxy")]
use crate::http::tunnel::BecomesTunnel;
use crate::log::error_text::chain;
use crate::sockets::peer::Peer;

/// How much of a body hyper gets at a time: it copies that into its buffer, which must not become as large as the
/// body where a client takes nothing.
const PIECE: usize = 64 << 10;

/// A service whose exchanges are seen by the connection's task, the access log and the metrics.
#[derive(Debug)]
pub(crate) struct Watched<'s, S> {
    pub(crate) service: &'s S,
    pub(crate) activity: Arc<Activity>,
    pub(crate) access: &'s AccessSetting,
    /// Tell the service the peer, as an extension of the request.
    pub(crate) tell_peer: bool,
    /// What the program has made of the connection; each request carries it.
    pub(crate) state: Option<&'s Extensions>,
    /// How many fields a request may have; of HTTP/1.1 hyper has counted them.
    #[cfg(feature = "http2")]
    pub(crate) fields_max: usize,
}

/// Counts and logs a request when it is dropped, however the exchange has ended. The record itself is in the
/// connection's activity: hyper moves answers about, which is cheaper if they are small.
#[derive(Debug)]
struct Exchange {
    activity: Arc<Activity>,
    /// How many bytes the body has been read for.
    bytes: u64,
    /// The body came to its end.
    whole: bool,
}

pin_project! {
    /// The answer to come.
    pub(crate) struct Answer<F, B: http_body::Body> {
        // None: the service panicked before it gave one, or was not called.
        #[pin]
        future: Option<F>,
        // The status of a request that the service was not called for.
        refused: Option<StatusCode>,
        exchange: Option<Exchange>,
        // An answer that switches protocols, until hyper's connection is one that can be upgraded.
        switching: Option<Box<Response<AnswerBody<B>>>>,
    }
}

pin_project! {
    /// The body of the answer, in pieces that a buffer can hold.
    pub(crate) struct AnswerBody<B: http_body::Body> {
        // None: the answer has no body.
        #[pin]
        body: Option<B>,
        // The rest of a frame of the service's that was too large for hyper at once.
        rest: Option<B::Data>,
        exchange: Exchange,
    }
}

// === impl Watched ===

impl<S, B> Service<Request<Incoming>> for Watched<'_, S>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>>,
    B: http_body::Body,
{
    type Response = Response<AnswerBody<B>>;
    type Error = Infallible;
    type Future = Answer<S::Future, B>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let begun = self.activity.begin(Remainder::of(request.body()));
        let fields = RequestFields::of(request.headers());
        if fields.closes {
            self.activity.client_closes();
            self.activity.answers_close();
        }
        if fields.has_upgrade || *request.method() == Method::CONNECT {
            self.activity.offered();
        }
        let (method, version) = (request.method(), request.version());
        if version == Version::HTTP_10 && !fields.keeps_alive {
            self.activity.answers_close();
        }
        let record = self.access.begin(&request, &fields);
        self.activity.exchange().begin(method, version, record);
        let exchange = Exchange { activity: Arc::clone(&self.activity), bytes: 0, whole: false };
        let begun = begun.map_err(|Malformed| Refusal::Framing);
        if let Err(refusal) = begun.and_then(|()| self.check(&request, &fields)) {
            let (refused, exchange) = (Some(refusal.status()), Some(exchange));
            self.activity.exchange().refused(refusal);
            return Answer { future: None, refused, exchange, switching: None };
        }
        // To an HTTP/1.0 client hyper does not send `100 Continue`.
        let expects_continue = fields.expects_continue && version > Version::HTTP_10;
        let host = request_rules::host_of_target(&request);
        let mut request =
            request.map(|incoming| Body::new(incoming, &self.activity, expects_continue));
        if let Some(host) = host {
            request.headers_mut().insert(header::HOST, host);
        }
        if self.tell_peer {
            tell_peer(request.extensions_mut(), self.activity.peer());
            #[cfg(feature = "tls")]
            if let Some(session) = self.activity.tls_session() {
                request.extensions_mut().insert(session.clone());
            }
        }
        if let Some(state) = self.state {
            request.extensions_mut().extend(state.clone());
        }
        let future = unpanicked(|| self.service.call(request)).ok();
        Answer { future, refused: None, exchange: Some(exchange), switching: None }
    }
}

impl<S> Watched<'_, S> {
    #[cfg_attr(
        not(feature = "http2"),
        expect(clippy::unused_self, reason = "HTTP/2's limit is there")
    )]
    fn check<B>(&self, request: &Request<B>, fields: &RequestFields<'_>) -> Result<(), Refusal> {
        #[cfg(feature = "http2")]
        if request.version() == Version::HTTP_2 {
            return request_rules::check_of_stream(request, fields, self.fields_max);
        }
        request_rules::check(request, fields)
    }
}

fn tell_peer(extensions: &mut Extensions, peer: Peer) {
    #[cfg(feature = "axum")]
    if let Some(address) = peer.tcp() {
        extensions.insert(axum::extract::ConnectInfo(address));
    }
    extensions.insert(peer);
}

// === impl Answer ===

impl<F, B, E> Future for Answer<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: http_body::Body,
{
    type Output = Result<Response<AnswerBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = match (&this.refused, this.future.as_mut().as_pin_mut()) {
            (Some(status), _) => {
                let exchange = this.exchange.take().expect(POLLED_ONCE);
                return Poll::Ready(Ok(exchange.answered(bare(*status), true)));
            }
            (None, Some(future)) => unpanicked(|| future.poll(cx)),
            (None, None) => match this.switching.take() {
                Some(response) => return Poll::Ready(Ok(*response)),
                None => Err(Panicked),
            },
        };
        let polled = polled.map(|polled| polled.map_err(Into::into));
        let response = match polled {
            Ok(Poll::Pending) if this.exchange.as_ref().is_some_and(Exchange::has_timed_out) => {
                bare(StatusCode::REQUEST_TIMEOUT)
            }
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => response.map(Some),
            Ok(Poll::Ready(Err(error))) => {
                bare(this.exchange.as_ref().expect(POLLED_ONCE).failed(&*error))
            }
            Err(Panicked) => {
                if let Some(exchange) = &this.exchange {
                    exchange.panicked();
                }
                bare(StatusCode::INTERNAL_SERVER_ERROR)
            }
        };
        // The service's future is dropped before the answer's head is made: what it does with the rest of the
        // request's body decides whether the connection goes on. After a panic only destructors may run.
        let _ = unpanicked(|| this.future.set(None));
        let exchange = this.exchange.take().expect(POLLED_ONCE);
        let response = exchange.answered(response, false);
        let activity = &response.body().exchange.activity;
        if activity.is_switching() {
            #[cfg(feature = "proxy")]
            if response.extensions().get::<BecomesTunnel>().is_some() {
                activity.becomes_tunnel();
            }
            // The connection's task looks whenever hyper has nothing to do.
            cx.waker().wake_by_ref();
            *this.switching = Some(Box::new(response));
            return Poll::Pending;
        }
        Poll::Ready(Ok(response))
    }
}

// === impl AnswerBody ===

impl<B> http_body::Body for AnswerBody<B>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if this.rest.is_none() {
            let Some(mut body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            let Ok((polled, has_ended)) =
                unpanicked(|| (body.as_mut().poll_frame(cx), body.is_end_stream()))
            else {
                // The head has been sent: all that is left is to end the connection, as after an error.
                this.exchange.panicked();
                return Poll::Ready(Some(Err(Panicked.into())));
            };
            let frame = ready!(polled);
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut data) if data.remaining() <= PIECE => {
                        // For Bytes, which nearly all bodies are made of, this copies nothing.
                        let piece = data.copy_to_bytes(data.remaining());
                        this.exchange.bytes += piece.len() as u64;
                        // hyper does not ask a body that says it has ended.
                        this.exchange.whole = has_ended;
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                    Ok(data) => *this.rest = Some(data),
                    Err(frame) => {
                        // Nor one whose trailers have come.
                        this.exchange.whole = true;
                        let trailers = frame.into_trailers().unwrap_or_default();
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    this.exchange.whole = true;
                    return Poll::Ready(None);
                }
            }
        }
        let piece = this
            .rest
            .as_mut()
            .map_or_else(Bytes::new, |rest| rest.copy_to_bytes(rest.remaining().min(PIECE)));
        this.rest.take_if(|rest| !rest.has_remaining());
        this.exchange.bytes += piece.len() as u64;
        let has_ended = this.body.as_ref().as_pin_ref().is_none_or(|body| body.is_end_stream());
        this.exchange.whole = this.rest.is_none() && has_ended;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_some() {
            // hyper asks before the first frame only.
            return SizeHint::default();
        }
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), B::size_hint)
    }
}

// === impl Exchange ===

impl Exchange {
    fn has_timed_out(&self) -> bool {
        self.activity.has_timed_out()
    }

    fn panicked(&self) {
        self.activity.registry().metrics.panics.add(1);
    }

    /// Logs an error of the service; answers the status to answer with.
    fn failed(&self, error: &(dyn StdError + 'static)) -> StatusCode {
        let (server, peer) = (self.activity.registry().server(), self.activity.peer());
        if self.activity.has_failed() {
            // It could not read the body, which is the client's mistake: the operator need not act.
            let error = chain(error);
            tracing::debug!(server, %peer, error, "a body could not be read; 400 is answered");
            return StatusCode::BAD_REQUEST;
        }
        tracing::warn!(server, error = chain(error), "the service failed; 500 is answered");
        StatusCode::INTERNAL_SERVER_ERROR
    }

    /// Sends `response` on its way; the connection `ends` with it, or goes on if it can.
    fn answered<B: http_body::Body>(
        self,
        mut response: Response<Option<B>>,
        ends: bool,
    ) -> Response<AnswerBody<B>> {
        let closes = ends || self.activity.is_cut_short();
        let mut remembered = self.activity.exchange();
        let asked = remembered.asked();
        let status = response.status();
        let (length, is_last) = response_rules::conform(&mut response, asked, closes);
        if response.status() != status {
            tracing::warn!(
                server = self.activity.registry().server(),
                status = status.as_u16(),
                "the service gave an interim answer for its final one; 500 is answered",
            );
        }
        if let Some(id) = remembered.answered(response.status(), length) {
            response.headers_mut().entry(X_REQUEST_ID).or_insert(id);
        }
        drop(remembered);
        if response_rules::is_switching(response.status(), asked) {
            self.activity.switching();
        }
        self.activity.answered(is_last);
        response.map(|body| AnswerBody { body, rest: None, exchange: self })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let registry = self.activity.registry();
        let mut remembered = self.activity.exchange();
        if !remembered.is_answered() {
            // There is no answer, and hyper ends the connection.
            self.activity.answered(true);
        }
        remembered.end(registry, self.activity.peer(), self.bytes, self.whole);
        drop(remembered);
        self.activity.end();
    }
}

/// The invariant of futures.
const POLLED_ONCE: &str = "a future is not polled after its end";

/// A response that is nothing but its status.
fn bare<B>(status: StatusCode) -> Response<Option<B>> {
    let mut response = Response::new(None);
    *response.status_mut() = status;
    response
}

/// The service's code panicked; the panic hook has logged where and why.
#[derive(Debug, thiserror::Error)]
#[error("the service panicked")]
struct Panicked;

/// Runs the service's code; what it was working on is not used again if it panics.
fn unpanicked<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_: Box<dyn Any + Send>| Panicked)
}
