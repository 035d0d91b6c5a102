//! One connection's life: parked, serving, or in a lingering close.
//!
//! ```text
//!  accepted ─┐                 ┌──── the next byte arrives ────┐
//!            ▼                 │                               ▼
//!        ┌────────────── parked (a socket, nothing else)    serving (a hyper connection)
//!  taken │                     ▲                               │
//!  over ─┘                     └── between two requests ◄──────┤
//!                              │                               ├─► lingering close, and closed
//!                     deposited while held                     └─► upgraded
//! ```
//!
//! An idle connection is nothing but a socket and, at times, bytes that were read but belong to a
//! request that is not whole yet. That makes it cheap to keep and trivial to hand over: hyper's
//! connection is taken apart whenever no request is in flight, and put together again when the
//! next byte arrives. If there is nothing but the socket, the task ends as well: the connection goes into the
//! [set of parked ones](crate::connections::registry), and runs on in another task. A connection that is busy stays built: if the next request came within
//! `STAY` of the last parking, it is parked only after it has been idle for as long, or twice that.
//!
//! Invariants:
//! - A connection is taken apart only where [`crate::http::framing`] allows it: between two requests, or in a
//!   body that the service does not want, with everything written. What hyper had read of the next request is kept.
//!   With a request in flight it is taken apart only where that can be [recalled](crate::http::recall).
//! - In Linger and Close a connection that has sent a byte is answered, with
//!   `Connection: close`, before it ends.

mod close;
#[cfg(feature = "tls")]
mod handshake;
mod lingering_close;
mod park;
mod refuse_http2;
mod upgrade;

use std::future::poll_fn;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, StatusCode};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::consume_budget;
use tokio::time::Instant;

use self::close::close;
pub(crate) use self::park::end_of;
use self::park::{COMES_SOON, leave, park};
use self::upgrade::{Switchable, tell_upgraded};
use crate::connections::body_remainder::Remainder;
use crate::connections::limits::{Limits, Timeout};
use crate::connections::parked::Idle;
use crate::connections::registry::{Mode, Registration};
use crate::http::access::{AccessLog, AccessSetting};
use crate::http::activity::{Activity, Standing};
use crate::http::exchange::Watched;
#[cfg(test)]
use crate::http::framing::{Fault, PLANTED};
#[cfg(feature = "http2")]
use crate::http::http2;
use crate::http::io::Io;
use crate::http::on_connect::OnConnect;
use crate::http::service::HttpService;
use crate::http::timeouts::Timeouts;
#[cfg(feature = "tls")]
use crate::tls::acceptor::Acceptor;

/// How soon the next request has to come for a connection to stay built.
const STAY: Duration = Duration::from_millis(20);

/// What all connections of one server share.
#[derive(Debug)]
pub(crate) struct Shared<S> {
    pub(crate) service: S,
    /// Tell the service each request's peer.
    pub(crate) tell_peer: bool,
    /// The service may allow that a request is recalled.
    pub(crate) recalls: bool,
    /// What each request of a connection carries.
    pub(crate) on_connect: Option<OnConnect>,
    /// Names of fields in answers have capitals.
    pub(crate) title_case: bool,
    /// The path that the watchdog asks for; none: it does not ask.
    pub(crate) probe: Option<String>,
    /// The most time that a connection may be idle, if that is less than the limits say.
    pub(crate) idle_timeout_max: Duration,
    /// What handshakes are made with, of connections that are to have one.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Arc<Acceptor>>,
    pub(crate) http_settings: Arc<HttpSettings>,
}

/// The settings of all connections of the servers that share them; a reload may change them.
#[derive(Debug)]
pub(crate) struct HttpSettings {
    pub(crate) access: AccessSetting,
    limits: RwLock<Arc<Limits>>,
}

/// How serving came to its end.
enum Served {
    /// So many requests have been served.
    Idle(Idle, Registration, u32),
    /// No request follows, but the client may still be sending.
    LingeringClose(Idle, Registration),
    /// The client speaks HTTP/2, from the first of the bytes on that are there.
    #[cfg(feature = "http2")]
    Http2(Idle, Registration),
    Closed,
}

/// Why a built connection is not polled any more.
enum End {
    /// hyper is done with it.
    Hyper(hyper::Result<()>),
    /// It is between two requests, or in a body that the service does not want.
    Idle(Standing),
    /// Its request has not been touched, and goes along to the next process.
    Recalled,
    TimedOut(Timeout),
    /// It is to end, and half a request that has come needs no answer.
    Unanswered,
    /// No request follows, but the client may still be sending.
    Over,
}

// === impl HttpSettings ===

impl HttpSettings {
    pub(crate) fn new(access: AccessLog, limits: Limits) -> Self {
        Self { access: AccessSetting::new(access), limits: RwLock::new(Arc::new(limits)) }
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }
}

// === impl Shared ===

impl<S> Shared<S> {
    /// hyper's settings, and the service, wrapped so that its exchanges are noted in `activity`.
    pub(super) fn watched<'s>(
        &'s self,
        activity: &Arc<Activity>,
        limits: &Limits,
        state: Option<&'s Extensions>,
    ) -> (http1::Builder, Watched<'s, S>) {
        let mut builder = http1::Builder::new();
        builder
            .max_headers(limits.headers)
            .max_header_size(limits.head_size)
            .max_buf_size(limits.head_buffer());
        if self.title_case {
            builder.title_case_headers(true);
        }
        let service = Watched {
            service: &self.service,
            activity: Arc::clone(activity),
            access: &self.http_settings.access,
            tell_peer: self.tell_peer,
            state,
            #[cfg(feature = "http2")]
            fields_max: usize::MAX,
        };
        (builder, service)
    }
}

/// Runs a connection, which has been idle `since` then, to its end, or until it is in the set of parked ones.
///
/// Not an async function: its future would have room for the arguments twice, in each parked connection.
pub(crate) fn run<S>(
    idle: Idle,
    registration: Registration,
    mut since: Instant,
    shared: Arc<Shared<S>>,
) -> impl Future<Output = ()> + Send
where
    S: HttpService,
{
    // A client that has sent one request may never send another.
    let mut has_served = idle.waiting != Timeout::FirstByte;
    let (mut idle, mut registration) = (Some(idle), Some(registration));
    async move {
        let mut may_have_come = true;
        let mut comes_soon = false;
        // Made before the first request; boxed, so that the tasks of parked connections stay small.
        let mut state = None::<Box<Extensions>>;
        // `since`: since when no request has come; a wake-up without one does not count.
        loop {
            // Whatever a client does, other tasks of the thread are polled as well.
            consume_budget().await;
            let limits = shared.http_settings.limits();
            #[cfg(feature = "tls")]
            if idle.as_mut().is_some_and(Idle::begins_record) {
                since = Instant::now();
            }
            let end =
                idle.as_ref().map(|idle| end_of(idle, since, &limits, shared.idle_timeout_max));
            let end = end.unwrap_or(since);
            // Another task would not have the state.
            let may_leave = state.is_none();
            let leaves = may_leave && !comes_soon;
            if leaves && leave(&mut idle, &mut registration, since, end, may_have_come) {
                return;
            }
            if !park(&mut idle, registration.as_ref(), &since, end, may_leave && comes_soon).await {
                comes_soon = false;
                continue;
            }
            comes_soon = has_served && since.elapsed() < COMES_SOON;
            // Asked before it is taken: what has been lent keeps its room in the task, beside that for parking.
            #[cfg(feature = "tls")]
            if idle.as_ref().is_some_and(|idle| idle.stream.expects_handshake()) {
                let (Some(readable), Some(registered)) = (idle.take(), registration.take()) else {
                    return;
                };
                let (tls, access) = (shared.tls.as_ref(), &shared.http_settings.access);
                let shake = handshake::shake(readable, registered, tls, access, &limits);
                let (Served::Idle(connection, registered, _)
                | Served::LingeringClose(connection, registered)) = Box::pin(shake).await
                else {
                    return;
                };
                (idle, registration) = (Some(connection), Some(registered));
                // The client had its time for a request.
                may_have_come = false;
                continue;
            }
            let (Some(readable), Some(registered)) = (idle.take(), registration.take()) else {
                return;
            };
            let stay = has_served && since.elapsed() < STAY;
            if let (Some(on_connect), None) = (&shared.on_connect, &state) {
                let Some(made) = on_connect.call(&readable) else {
                    registered.handle().registry().metrics.panics.add(1);
                    // The connection stops counting as open when its socket is closed, not before.
                    drop(readable);
                    return;
                };
                state = Some(Box::new(made));
            }
            let serve = serve(readable, registered, stay, &shared, limits, state.as_deref());
            // Boxed, so that a parked connection's task does not keep the room for a built one.
            match Box::pin(serve).await {
                Served::Idle(connection, registered, requests) => {
                    (idle, registration) = (Some(connection), Some(registered));
                    may_have_come = false;
                    if requests > 0 {
                        (has_served, since) = (true, Instant::now());
                    }
                }
                Served::LingeringClose(connection, registered) => {
                    (idle, registration) = (Some(connection), Some(registered));
                }
                // Those of HTTP/2 have been served, in the box.
                #[cfg(feature = "http2")]
                Served::Http2(..) => return,
                Served::Closed => return,
            }
        }
    }
}

/// Serves requests until the connection is idle again or has ended, whatever the client speaks.
async fn serve<S>(
    idle: Idle,
    registration: Registration,
    stay: bool,
    shared: &Shared<S>,
    limits: Arc<Limits>,
    state: Option<&Extensions>,
) -> Served
where
    S: HttpService,
{
    match serve_http1(idle, registration, stay, shared, limits, state).await {
        #[cfg(feature = "http2")]
        Served::Http2(idle, registration) => {
            let limits = shared.http_settings.limits();
            let serve = http2::serve(idle, registration, shared, limits, state);
            // Boxed, so that connections of HTTP/1.1 need not keep room for it.
            match Box::pin(serve).await {
                Some((idle, registration)) => Served::LingeringClose(idle, registration),
                None => Served::Closed,
            }
        }
        served => served,
    }
}

/// The same of HTTP/1.1.
async fn serve_http1<S>(
    idle: Idle,
    registration: Registration,
    stay: bool,
    shared: &Shared<S>,
    limits: Arc<Limits>,
    state: Option<&Extensions>,
) -> Served
where
    S: HttpService,
{
    let handle = registration.handle().clone();
    let registry = Arc::clone(handle.registry());
    let activity = Arc::new(Activity::of(&idle.stream, registry, shared.recalls));
    let (mut builder, service) = shared.watched(&activity, &limits, state);
    let mut closing = is_closing(handle.mode());
    if closing {
        activity.answers_close();
    }
    let waiting = idle.waiting;
    let io = TokioIo::new(Io::new(idle, Arc::clone(&activity), registration));
    let connection = builder.keep_alive(!closing).serve_connection(io, service);
    let mut connection = Switchable::Http(connection);
    let mut timeouts = Timeouts::default();
    // At the last look all of an unwanted body had come, and hyper had not told its end.
    let mut stalled = false;

    let end = poll_fn(|cx| {
        let mode = handle.poll_mode(cx);
        activity.mode_is(mode);
        loop {
            // Only while the answer's head can still say so; otherwise the connection lingers, as idle ones do.
            if is_closing(mode) && !closing && activity.is_answering() {
                closing = true;
                activity.answers_close();
                connection.graceful_shutdown();
            }
            if let Poll::Ready(result) = connection.poll(&activity, cx) {
                return Poll::Ready(End::Hyper(result));
            }
            // Reading on may be what hyper was waiting for.
            let goes_on = activity.poll_leftover(cx) || activity.is_read_due();
            stalled &= !goes_on;
            if !goes_on && (closing || !is_closing(mode) || !activity.is_answering()) {
                break;
            }
        }
        if activity.is_flush_due() {
            cx.waker().wake_by_ref();
        }
        let may_be_recalled = activity.may_be_recalled();
        if activity.has_gone_on() || may_be_recalled {
            // A request has ended and the next begun, without the connection having been idle; or this one waits.
            handle.finished();
        }
        if mode == Mode::Hold && may_be_recalled {
            return Poll::Ready(End::Recalled);
        }
        let standing = activity.standing(cx);
        match standing {
            Standing::Idle => {}
            // The rest is skipped without hyper, here or in the next process.
            Standing::Discarding
                if mode != Mode::Serve || stalled || activity.is_not_discarded() =>
            {
                return Poll::Ready(End::Idle(standing));
            }
            Standing::Busy | Standing::Discarding => {
                // hyper 1.12 never tells the end of a body with trailers whose answer has gone out before.
                stalled = standing == Standing::Discarding && !activity.wire().is_in_body();
                return timeouts.poll_timed_out(&activity, &limits, cx).map(End::TimedOut);
            }
            Standing::Over => return Poll::Ready(End::Over),
        }
        handle.finished();
        let half_a_head = activity.is_mid_head();
        match mode {
            // Half a request need not be answered.
            Mode::Close if half_a_head && closing => Poll::Ready(End::Unanswered),
            // hyper has the beginning of the head, and waits for the rest.
            Mode::Serve | Mode::Linger if half_a_head && (closing || mode == Mode::Serve) => {
                timeouts.poll_timed_out(&activity, &limits, cx).map(End::TimedOut)
            }
            Mode::Serve if stay => {
                timeouts.poll_idle_for(STAY, &activity, cx).map(|()| End::Idle(standing))
            }
            Mode::Serve | Mode::Hold | Mode::Linger | Mode::Close => {
                Poll::Ready(End::Idle(standing))
            }
        }
    })
    .await;

    // Before the connection is taken apart: that drops the request, which then does not count as waiting.
    let answering = activity.is_answering();
    if answering && matches!(end, End::TimedOut(Timeout::Body)) {
        activity.exchange().answered(StatusCode::REQUEST_TIMEOUT, Some(0));
    }
    let recalled = if matches!(end, End::Recalled) { activity.recall() } else { None };
    let Some(parts) = connection.into_parts() else {
        // The upgraded stream, wherever it is now, holds the registration.
        tell_upgraded(&handle, &activity);
        return Served::Closed;
    };
    let io = parts.io.into_inner();
    let waits_since = recalled.is_some().then(|| activity.exchange().begun());
    let requests = activity.requests() - u32::from(waits_since.is_some());
    let read = &parts.read_buf;
    let rest = match end {
        End::Idle(standing) => activity.wire().take_apart(read, standing == Standing::Idle),
        End::Recalled => recalled.and_then(|request| put_back(request, read)),
        _ => {
            let access = &shared.http_settings.access;
            return close(end, io, &handle, access, &limits, answering, read).await;
        }
    };
    let Some((read, skip)) = rest else { return lost(&io) };
    let Io { idle: Idle { stream, unread, .. }, registration, .. } = io;
    // The connection may have been woken without a request.
    let waiting = if requests > 0 { Timeout::Idle } else { waiting };
    let idle = Idle { stream, unread: joined(read, unread), skip, waiting, waits_since };
    Served::Idle(idle, registration, requests)
}

/// The end of a connection of which nobody knows where its next request begins.
fn lost(io: &Io) -> Served {
    debug_assert!(false, "hyper and we do not see a request's end in the same place");
    tracing::error!(
        server = io.registration.handle().registry().server(),
        peer = %io.idle.stream.peer(),
        "a connection is closed, as there is no telling where its next request begins \
         (a fault of lockstepd or hyper: please report it)",
    );
    Served::Closed
}

/// The whole of a recalled request, and what came behind it; `read` is what hyper had read of that and not used. None if
/// that is something else.
fn put_back(request: Bytes, read: &Bytes) -> Option<(Bytes, Option<Remainder>)> {
    #[cfg(test)]
    if PLANTED.get() == Some(Fault::RecalledInPart) {
        return Some((read.clone(), None));
    }
    request.ends_with(read).then_some((request, None))
}

/// What hyper has read, and what comes after it.
pub(super) fn joined(read: Bytes, unread: Bytes) -> Bytes {
    match (read.is_empty(), unread.is_empty()) {
        (true, _) => unread,
        (false, true) => read,
        (false, false) => [read, unread].concat().into(),
    }
}

fn is_closing(mode: Mode) -> bool {
    matches!(mode, Mode::Linger | Mode::Close)
}

#[cfg(test)]
mod model;
