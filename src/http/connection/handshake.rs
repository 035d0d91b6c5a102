//! The handshake of TLS, before the first request.
//!
//! # Source
//! RFC 8446 section 4; RFC 9110 section 15.5.1 for what a client hears that sends a request in clear text.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until, timeout};

use super::Served;
use super::lingering_close;
use crate::connections::limits::{Limits, Timeout};
use crate::connections::parked::Idle;
use crate::connections::registry::{Mode, Registration};
use crate::http::access::{self, AccessSetting};
use crate::http::activity::Activity;
use crate::http::io::Io;
use crate::http::refusal::Refusal;
use crate::tls::acceptor::Acceptor;

/// How long a handshake may go on once the daemon wants to stop or to hand over, which it cannot do with half of one.
const GRACE: Duration = Duration::from_secs(1);

/// How long the first request is waited for with the connection as it is: tickets to resume the session are sent with
/// the first answer, and only before it has been parked.
const FIRST_REQUEST: Duration = Duration::from_millis(100);

/// Makes the handshake of a client that has begun to send. No requests have been served then.
pub(super) async fn shake(
    mut idle: Idle,
    registration: Registration,
    acceptor: Option<&Arc<Acceptor>>,
    access: &AccessSetting,
    limits: &Limits,
) -> Served {
    let (server, peer) = (registration.handle().registry(), idle.stream.peer());
    // A server that has no TLS any more; the process before this one had.
    let Some(acceptor) = acceptor else { return Served::Closed };
    // A probe that only connects is no handshake.
    let Ok(first) = idle.stream.first_byte() else { return Served::Closed };
    if first.is_some_and(|first| first.is_ascii_alphabetic()) {
        access::refused(access, server, peer, Refusal::ClearText.status(), &Refusal::ClearText);
        return end(idle, registration, clear_text().as_bytes()).await;
    }
    let handle = registration.handle().clone();
    let begun = Instant::now();
    let mut timer = pin!(sleep_until(begun + limits.head_timeout));
    let shaken = {
        let mut shaking = pin!(idle.stream.shake(acceptor));
        poll_fn(|cx| {
            let grace = Instant::now() + GRACE;
            if handle.poll_mode(cx) != Mode::Serve && timer.deadline() > grace {
                timer.as_mut().reset(grace);
            }
            match shaking.as_mut().poll(cx) {
                Poll::Ready(shaken) => Poll::Ready(Some(shaken)),
                Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
            }
        })
        .await
    };
    match shaken {
        Some(Ok(())) => {
            let first = poll_fn(|cx| {
                if handle.poll_mode(cx) == Mode::Serve {
                    idle.stream.poll_first_request(cx)
                } else {
                    Poll::Ready(())
                }
            });
            // If none comes, the connection is parked.
            let _ = timeout(FIRST_REQUEST, first).await;
            Served::Idle(idle, registration, 0)
        }
        Some(Err(error)) => {
            let reason = error.message();
            tracing::debug!(server = server.server(), %peer, reason, "a TLS handshake failed");
            end(idle, registration, &[]).await
        }
        None => {
            server.metrics.timeouts[Timeout::Handshake as usize].add(1);
            Served::Closed
        }
    }
}

/// Ends a connection on which no TLS is spoken, behind some last words.
async fn end(mut idle: Idle, registration: Registration, words: &[u8]) -> Served {
    idle.stream.discard_tls();
    let server = Arc::clone(registration.handle().registry());
    let activity = Arc::new(Activity::new(server, idle.stream.peer(), false));
    let mut io = Io::new(idle, activity, registration);
    io.put_off(words);
    let (idle, registration) = lingering_close::begin(io).await;
    Served::LingeringClose(idle, registration)
}

/// What a client is told that has sent a request in clear text.
fn clear_text() -> String {
    const WORDS: &str = "This port speaks HTTPS: ask for https:// instead of http://\n";
    let date = httpdate::fmt_http_date(SystemTime::now());
    let length = WORDS.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
         content-length: {length}\r\ndate: {date}\r\n\r\n{WORDS}"
    )
}
