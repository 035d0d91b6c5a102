//! The end of a connection whose client may still be sending, RFC 9112 section 9.6: closing a socket with
//! unread bytes resets the connection, and the client may lose the last answer by the reset.
//!
//! The answer has been sent, and the sending half shut down. What still comes is read and discarded, here or in
//! the next process: a client that sends a long body does not look for an answer before it has sent it all.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until, timeout};

use super::is_closing;
use super::park::wait_held;
use crate::connections::body_remainder::Remainder;
use crate::connections::limits::Timeout;
use crate::connections::parked::Idle;
use crate::connections::registry::{Mode, Registration};
use crate::http::io::Io;

/// How long the last answer may take to reach the socket. A client that does not take it in time does not get it.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// nginx's values: `lingering_timeout` and `lingering_time`.
const TIMEOUTS: CloseTimeouts =
    CloseTimeouts { pause: Duration::from_secs(5), total: Duration::from_secs(30) };

/// The same where no process takes over, and a stop waits for it.
const TIMEOUTS_AT_STOP: CloseTimeouts =
    CloseTimeouts { pause: Duration::from_secs(1), total: Duration::from_secs(3) };

/// How long a client may send nothing, and how long it may go on sending.
struct CloseTimeouts {
    pause: Duration,
    total: Duration,
}

/// Sends the answers that were put off when hyper gave the connection up, and shuts the sending half down.
pub(super) async fn begin(mut io: Io) -> (Idle, Registration) {
    // A client that is gone, or takes nothing, does not get them.
    let last = poll_fn(|cx| {
        ready!(io.poll_outbox(cx))?;
        io.idle.stream.poll_shutdown(cx)
    });
    if !matches!(timeout(LAST_WRITE_TIMEOUT, last).await, Ok(Ok(()))) {
        io.idle.stream.shutdown_now();
    }
    #[cfg(feature = "tls")]
    io.idle.stream.discard_tls();
    let Io { idle: Idle { stream, .. }, registration, .. } = io;
    let (unread, skip) = (Bytes::new(), Some(Remainder::UntilClose(0)));
    (Idle { stream, unread, skip, waiting: Timeout::Idle, waits_since: None }, registration)
}

/// Reads and discards what comes, until the client has closed the connection or its time is over.
pub(super) async fn discard_until_close(idle: &mut Option<Idle>, registration: &Registration) {
    let begun = Instant::now();
    let (mut heard_at, mut heard) = (begun, 0);
    let mut timer = pin!(sleep_until(begun + TIMEOUTS.total));
    let mut poll = |idle: &mut Option<Idle>, cx: &mut Context<'_>| {
        let mode = registration.handle().poll_mode(cx);
        if mode == Mode::Hold {
            return Poll::Ready(mode);
        }
        registration.handle().finished();
        let Some(idle) = idle else { return Poll::Ready(Mode::Close) };
        if idle.poll_request(cx).is_ready() {
            // No request follows: the client has closed the connection.
            return Poll::Ready(Mode::Close);
        }
        let discarded = idle.discarded();
        if discarded != Some(heard) {
            (heard_at, heard) = (Instant::now(), discarded.unwrap_or_default());
        }
        let timeouts = if is_closing(mode) { TIMEOUTS_AT_STOP } else { TIMEOUTS };
        let end = (heard_at + timeouts.pause).min(begun + timeouts.total);
        if timer.deadline() != end {
            timer.as_mut().reset(end);
        }
        // A client that goes on sending uses up all that the task may do in a turn.
        pin!(unconstrained(timer.as_mut())).poll(cx).map(|()| {
            let server = registration.handle().registry().server();
            let peer = idle.stream.peer();
            tracing::debug!(server, %peer, bytes = heard, "a client did not end its connection in time");
            Mode::Close
        })
    };
    while poll_fn(|cx| poll(idle, cx)).await == Mode::Hold {
        wait_held(idle, registration).await;
    }
    // Its client has been told that nothing follows.
    idle.take();
}
