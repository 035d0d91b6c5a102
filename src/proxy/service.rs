//! The proxy as a service.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::BoxError;
use crate::connections::drain::ENDLESS;
use crate::http::body::Body as ClientBody;
use crate::http::probe::is_path;
use crate::http::recall::Recall;
use crate::proxy::answer::AnswerBody;
use crate::proxy::failure::refused;
use crate::proxy::fields::{Head, is_last_hop};
use crate::proxy::forward::Forward;
use crate::proxy::forwarded::Client;
use crate::proxy::length::Length;
use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::request_body::RequestBody;
use crate::proxy::room::{Permit, Room};
use crate::proxy::settings::Settings;
use crate::proxy::trusted::TrustedProxy;
use crate::proxy::upstream::Upstream;
use crate::sockets::address::Address;
use crate::sockets::peer::Peer;
#[cfg(feature = "tls")]
use crate::tls::session::TlsSession;

/// A service that passes requests on to an application, which may be written in any language.
///
/// The application speaks HTTP/1.1 on a Unix socket or a port. While it is away, because it starts, restarts or has
/// crashed, requests wait for it. A request that it has not read is sent again; one that it may have executed
/// only if its method is idempotent.
///
/// It is a service of hyper's and of tower's: give it to [`Daemon::hyper_server`](crate::Daemon::hyper_server), which
/// then also tells it who its clients are and leaves the application out of the watchdog, or put it behind a router.
/// A clone is the same proxy.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use lockstepd::{Daemon, Proxy};
///
/// let proxy = Proxy::to("unix:/run/shop/app.sock").wait(Duration::from_secs(10));
/// let daemon = Daemon::new("shop").hyper_server("public", "0.0.0.0:8080", proxy);
/// # let _ = daemon;
/// ```
#[derive(Clone, Debug)]
pub struct Proxy(Arc<State>);

/// What all requests share.
#[derive(Debug)]
pub(crate) struct State {
    upstream: RwLock<Arc<Upstream>>,
    settings: RwLock<Arc<Settings>>,
    pub(crate) room: Arc<Room>,
    pub(crate) metrics: Arc<ProxyMetrics>,
}

/// The answer to come.
type Answer = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

// === impl Proxy ===

impl Proxy {
    /// The default of [`Proxy::wait`]: how long a request waits for an application that is away.
    pub const WAIT: Duration = Duration::from_secs(30);

    /// A proxy for the application at `address`: `unix:/run/shop/app.sock`, `127.0.0.1:8000`, `[::1]:8000`.
    ///
    /// An address that cannot be understood is refused when the daemon starts.
    ///
    /// A Unix socket is better in every way: it needs no network in the sandbox, the file's permissions say who
    /// may connect, and of a request that failed it can be known whether the application has read it.
    pub fn to<A>(address: A) -> Self
    where
        A: TryInto<Address, Error: ToString>,
    {
        let address = address.try_into().map_err(|error| error.to_string());
        Self(Arc::new(State {
            upstream: RwLock::new(Upstream::new(address, false)),
            settings: RwLock::default(),
            room: Arc::new(Room::new()),
            metrics: Arc::default(),
        }))
    }

    /// Sets how long a request waits for an application that cannot be reached; then 503 is answered, with
    /// `Retry-After`. Default 30 s.
    #[must_use]
    pub fn wait(self, time: Duration) -> Self {
        self.set(|settings| settings.wait = time.min(ENDLESS))
    }

    /// Sets how many requests may wait at the same time; one more is answered with 503 at once. Default 1000.
    #[must_use]
    pub fn max_waiting(self, requests: usize) -> Self {
        self.set(|settings| settings.max_waiting = requests)
    }

    /// Sets how long a connection to the application may take to come about; then it is tried again. Default 5 s.
    #[must_use]
    pub fn connect_timeout(self, time: Duration) -> Self {
        self.set(|settings| settings.connect_timeout = time.min(ENDLESS))
    }

    /// Sets how long the application may take to begin its answer, counted from the last byte of the request; then
    /// 504 is answered. Default 60 s.
    #[must_use]
    pub fn response_timeout(self, time: Duration) -> Self {
        self.set(|settings| settings.response_timeout = time.min(ENDLESS))
    }

    /// Sets how long an answer may stand still that has begun; then it is cut off. Default 5 min: server-sent events
    /// have to have a comment or an event within that time.
    #[must_use]
    pub fn idle_timeout(self, time: Duration) -> Self {
        self.set(|settings| settings.idle_timeout = time.min(ENDLESS))
    }

    /// Says that the application answers 503 while it starts, and has executed nothing then: such a request waits and
    /// is sent again. Default false: 503 is an answer like any other.
    #[must_use]
    pub fn wait_on_503(self, wait: bool) -> Self {
        self.set(|settings| settings.wait_on_503 = wait)
    }

    /// Says that the application speaks HTTP/2 with prior knowledge (h2c, RFC 9113 section 3.3), as one of gRPC does.
    /// Default false: HTTP/1.1.
    ///
    /// A connection carries one request at a time, as with HTTP/1.1: when the client leaves, it is closed. The
    /// application is offered no upgrades, so `WebSocket`s do not work.
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn http2(self, http2: bool) -> Self {
        let address = self.0.upstream().address.clone();
        self.0.set_upstream(Upstream::new(address, http2));
        self
    }

    /// Adds `Via` to requests and answers. Default false.
    #[must_use]
    pub fn via(self, via: bool) -> Self {
        self.set(|settings| settings.via = via)
    }

    /// Says which clients are proxies whose `Forwarded` and `X-Forwarded-*` are to be believed, and are passed on. Those
    /// of everybody else are replaced. Default: none.
    #[must_use]
    pub fn trusted_proxies(self, proxies: impl IntoIterator<Item = TrustedProxy>) -> Self {
        self.set(|settings| settings.trusted = proxies.into_iter().collect())
    }

    /// Sets the path that the application at another address has to answer with success before a reload sends requests
    /// there, see [`Reload::proxy`](crate::Reload::proxy). Default: none, it is not asked.
    #[must_use]
    pub fn health(self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.set(|settings| settings.health = Some(path))
    }

    fn set(self, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::clone(&self.0.settings());
        set(&mut settings);
        self.0.set_settings(Arc::new(settings));
        self
    }

    /// What is wrong with the address, or the path that tells whether the application is well.
    pub(crate) fn problem(&self) -> Option<String> {
        if let Err(error) = &self.0.upstream().address {
            return Some(error.clone());
        }
        let settings = self.0.settings();
        let path = settings.health.as_deref().filter(|path| !is_path(path))?;
        Some(format!("\"{}\" is no path (write \"/up\")", path.escape_debug()))
    }

    /// What is to be said of an application that is away or held.
    pub(crate) fn trouble(&self) -> Option<String> {
        let (trouble, waiting) = (self.0.room.trouble()?, self.0.room.waiting());
        Some(format!("application {} {trouble}, {waiting} waiting", self.0.upstream()))
    }

    /// Says by when the last request that waits has to be answered: the daemon ends.
    pub(crate) fn close_by(&self, end: Instant) {
        self.0.room.close_by(end);
    }

    /// What there is to show and to steer.
    pub(crate) fn state(&self) -> &Arc<State> {
        &self.0
    }

    fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let state = Arc::clone(&self.0);
        state.metrics.requests.add(1);
        let (mut parts, body) = request.into_parts();
        if let Some(response) = refused(&parts.method) {
            return Box::pin(ready(Ok(response)));
        }
        if is_last_hop(&parts.method, &mut parts.headers) {
            return Box::pin(ready(Ok(Response::new(AnswerBody::empty()))));
        }
        let settings = state.settings();
        let length = Length::of(&body);
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let told = parts.extensions.get::<Peer>().copied();
        let recall = ClientBody::recall(&body);
        let peer = told.or_else(|| recall.as_ref().map(Recall::peer)).unwrap_or(Peer::Other);
        let client = client_of(peer, &parts.extensions, recall.as_ref());
        let head = Head::of(parts, length, client, &settings);
        let has_body = length != Length::Nothing;
        // An application that speaks HTTP/2 may say of any request that it has not executed it.
        let may_repeat = head.method.is_idempotent() || (has_body && state.upstream().is_http2);
        let body = has_body.then(|| RequestBody::new(body, may_repeat));
        let upgrade = upgrade.filter(|_| head.offer.is_some());
        let mut forward = Forward::new(state, settings, head, body, upgrade, recall);
        Box::pin(async move { Ok(forward.run().await) })
    }
}

impl<B> Service<Request<B>> for Proxy
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

    fn call(&self, request: Request<B>) -> Answer {
        self.answer(request)
    }
}

impl<B> tower_service::Service<Request<B>> for Proxy
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

    /// Ready at once: requests wait on their own.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        self.answer(request)
    }
}

/// Who has sent the request, and how.
#[cfg(feature = "tls")]
fn client_of(peer: Peer, told: &Extensions, recall: Option<&Recall>) -> Client {
    let session = told.get::<TlsSession>().or_else(|| recall.and_then(Recall::tls_session));
    let certificate = session.and_then(TlsSession::client_certificate);
    let certificate = certificate.and_then(|shown| http::HeaderValue::try_from(shown.field()).ok());
    Client { peer, is_secured: session.is_some(), certificate }
}

#[cfg(not(feature = "tls"))]
fn client_of(peer: Peer, _: &Extensions, _: Option<&Recall>) -> Client {
    Client { peer, is_secured: false, certificate: None }
}

// === impl State ===

impl State {
    pub(crate) fn upstream(&self) -> Arc<Upstream> {
        Arc::clone(&self.upstream.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_upstream(&self, upstream: Arc<Upstream>) {
        *self.upstream.write().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    pub(super) fn set_settings(&self, settings: Arc<Settings>) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The application has taken a request: whoever waits may go on.
    pub(super) fn taken(&self, permit: &mut Permit) {
        if let Some(away) = permit.taken() {
            let (upstream, seconds) = (self.upstream(), away.as_secs_f64());
            tracing::info!(address = %upstream, away_seconds = seconds, "the application is back");
        }
    }
}
