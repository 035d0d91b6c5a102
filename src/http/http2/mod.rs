//! A connection of HTTP/2, from its preface to its end.
//!
//! Each of its streams is an exchange like one on a connection of HTTP/1.1, in a task of its own: counted, logged,
//! and subject to the time-outs for bodies and answers.
//!
//! What client and server know of each other cannot travel to another process. So from its preface on the connection
//! is [own](crate::connections::registry): it is never held, and ends in order before a hand-over. Its end has three steps, RFC 9113
//! section 6.8: GOAWAY without a last stream, and PING; once that is answered, and with it everything that was
//! on its way, GOAWAY with the last stream; and when no stream is left, the end of the socket.
//!
//! Invariants:
//! - A client that does not answer the PING is waited for no longer than [`SILENT_MAX`] once no stream is left.
//! - The connection is registered until the task of every stream has ended.
//! - A client that gives up a thousand requests, and most of what it asks for, is told to end the connection; at twice
//!   that it is closed. Each request may have cost the service work that nobody wants.
//!
//! What h2 0.4.20 does not keep to: it ends a connection with `PROTOCOL_ERROR` where a `WINDOW_UPDATE` comes for a stream
//! behind the last one, whose beginning it has ignored. Requests in flight are lost then.
//!
//! Absent on purpose: PING at intervals. The kernel finds out which clients are gone, as it does for HTTP/1.1. And a
//! time for field blocks that have come by part: hyper tells of them when they are whole, and until then the
//! connection is idle, and ends as such.

mod answer;
mod io;
mod request;
mod stream;
mod streams;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::Extensions;
use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use self::io::Io;
use self::stream::{Spawner, Streamed};
use self::streams::Streams;
use crate::connections::body_remainder::Remainder;
use crate::connections::limits::{Limits, Timeout};
use crate::connections::parked::Idle;
use crate::connections::registry::{Mode, Registration, Registry};
use crate::http::connection::Shared;
use crate::http::service::HttpService;
use crate::http::timeouts::{Timeouts, after};
use crate::sockets::peer::Peer;

/// How long a client is waited for that is to end the connection, and has no stream.
const SILENT_MAX: Duration = Duration::from_secs(1);

/// How much of an answer waits in its stream for the client to ask for more: as much as hyper gets at a time.
const SEND_BUFFER_MAX: usize = 64 << 10;

/// A connection while it is served, as the metrics have it.
struct Open(Arc<Registry>);

/// Why a connection ends.
enum End {
    /// hyper is done with it.
    Hyper(hyper::Result<()>),
    TimedOut(Timeout),
    /// Its client has been told, and does not say that it has heard it.
    Unanswered,
    /// Its client has been told, and goes on giving up what it asks for.
    GivenUp,
}

/// Serves a connection to its end; answers what is left of it if its client may still be sending.
pub(super) async fn serve<S>(
    idle: Idle,
    registration: Registration,
    shared: &Shared<S>,
    limits: Arc<Limits>,
    state: Option<&Extensions>,
) -> Option<(Idle, Registration)>
where
    S: HttpService,
{
    let handle = registration.handle().clone();
    handle.becomes_own();
    let registry = Arc::clone(handle.registry());
    let _open = Open::new(&registry);
    let peer = idle.stream.peer();
    let idle_timeout = limits.idle_timeout.min(shared.idle_timeout_max);
    let streams = Arc::new(Streams::default());
    let spawner = Spawner {
        streams: Arc::clone(&streams),
        limits: Arc::clone(&limits),
        signal: registration.signal(),
    };
    let service = Streamed {
        shared,
        registry: Arc::clone(&registry),
        peer,
        #[cfg(feature = "tls")]
        session: idle.stream.tls_session(),
        state,
        fields_max: limits.headers,
        streams: Arc::clone(&streams),
    };
    let io = TokioIo::new(Io::new(idle, Arc::clone(&streams)));
    let mut connection = Box::pin(builder(spawner, &limits).serve_connection(io, service));
    let (mut timeouts, mut end_timer) = (Timeouts::default(), Timeouts::default());
    // Since when there has been nothing in flight, and after how many requests.
    let mut quiet = Some((Instant::now(), 0));
    // Since when it is to end.
    let mut closing = None;

    let end = poll_fn(|cx| {
        loop {
            let is_closing = matches!(handle.poll_mode(cx), Mode::Linger | Mode::Close);
            let are_given_up = streams.are_given_up(1);
            if closing.is_none() && (is_closing || are_given_up || handle.is_evicted()) {
                registry.metrics.evicted.add(u64::from(!is_closing && !are_given_up));
                closing = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
            }
            streams.register(cx);
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(End::Hyper(result));
            }
            if streams.are_given_up(2) {
                return Poll::Ready(End::GivenUp);
            }
            let waits = streams.waits_for_client();
            if let Poll::Ready(waiting) = timeouts.poll_waited(waits, &limits, cx) {
                return Poll::Ready(End::TimedOut(waiting));
            }
            let requests = streams.requests();
            // Once all that was asked has been answered and written, what the client does not take is answers to PING and
            // SETTINGS: it is no less quiet for them, or it could put off its end with nothing else.
            let known = quiet.filter(|(_, before)| *before == requests);
            if known.is_none() && !streams.is_quiet() {
                handle.busy();
                quiet = None;
                return Poll::Pending;
            }
            let (since, _) = known.unwrap_or_else(|| (Instant::now(), requests));
            quiet = Some((since, requests));
            handle.finished();
            handle.idle(since);
            let (since, limit) = match closing {
                Some(told) => (since.max(told), SILENT_MAX),
                // The rest of the preface has a time of its own.
                None if waits.is_some() => return Poll::Pending,
                None => (since, idle_timeout),
            };
            ready!(end_timer.poll_until(after(since, limit), cx));
            if closing.is_some() {
                return Poll::Ready(End::Unanswered);
            }
            registry.metrics.timeouts[Timeout::Idle as usize].add(1);
            closing = Some(Instant::now());
            connection.as_mut().graceful_shutdown();
        }
    })
    .await;

    // Its streams are given up, those that are left, and hear of it.
    drop(connection);
    poll_fn(|cx| streams.poll_ended(cx)).await;
    let mut idle = streams.take_back()?;
    let lingers = end.lingers(&registry, peer, &mut idle);
    if !lingers {
        // The connection stops counting as open when its socket is closed, not before.
        drop(idle);
        return None;
    }
    idle.stream.shutdown_now();
    #[cfg(feature = "tls")]
    idle.stream.discard_tls();
    idle.skip = Some(Remainder::UntilClose(0));
    Some((idle, registration))
}

// === impl End ===

impl End {
    /// Notes the end; tells whether the client may still be sending.
    fn lingers(self, registry: &Registry, peer: Peer, idle: &mut Idle) -> bool {
        match self {
            Self::Hyper(Ok(())) | Self::Unanswered => idle.stream.has_unread(),
            Self::Hyper(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::debug!(server = registry.server(), %peer, error, "connection ended");
                true
            }
            Self::TimedOut(waiting) => {
                registry.metrics.timeouts[waiting as usize].add(1);
                false
            }
            Self::GivenUp => {
                tracing::debug!(
                    server = registry.server(),
                    %peer,
                    "a connection is closed whose client gives up most of what it asks for",
                );
                false
            }
        }
    }
}

// === impl Open ===

impl Open {
    fn new(registry: &Arc<Registry>) -> Self {
        registry.metrics.http2_connections.add(1);
        Self(Arc::clone(registry))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.http2_ended.add(1);
    }
}

/// hyper's settings.
fn builder(spawner: Spawner, limits: &Limits) -> http2::Builder<Spawner> {
    let mut builder = http2::Builder::new(spawner);
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_size).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER_MAX);
    builder
}
