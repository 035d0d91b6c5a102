//! A connection between two requests: waiting for the next byte, or held.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

#[cfg(test)]
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::lingering_close::discard_until_close;
use crate::connections::limits::{Limits, Timeout};
use crate::connections::linger;
use crate::connections::parked::Idle;
use crate::connections::registry::{Deposit, Handle, Mode, Registration};
#[cfg(test)]
use crate::http::framing::{Fault, PLANTED};
use crate::http::timeouts::after;

/// A connection whose client comes back so soon waits for it in its task, for as long: that costs less than to leave
/// the task and be given another, but for memory.
pub(super) const COMES_SOON: Duration = Duration::from_secs(1);

/// When a connection that has been idle `since` then is to end.
pub(crate) fn end_of(
    idle: &Idle,
    since: Instant,
    limits: &Limits,
    idle_timeout_max: Duration,
) -> Instant {
    let limit = match idle.waiting {
        Timeout::FirstByte => limits.first_byte_timeout,
        Timeout::Head => limits.head_timeout,
        _ => limits.idle_timeout.min(idle_timeout_max),
    };
    after(since, limit)
}

/// Leaves a connection that has been idle `since` then to the set of parked ones, which ends its task; answers whether it
/// did. `may_have_come`: nobody has looked yet whether the client has sent something.
pub(super) fn leave(
    idle: &mut Option<Idle>,
    registration: &mut Option<Registration>,
    since: Instant,
    end: Instant,
    may_have_come: bool,
) -> bool {
    let (Some(connection), Some(registered)) = (idle.as_mut(), registration.as_ref()) else {
        return false;
    };
    #[cfg(test)]
    if PLANTED.get() == Some(Fault::ParkedWithUnread) {
        connection.unread = Bytes::new();
    }
    if !connection.is_between_requests() || registered.handle().is_evicted() {
        return false;
    }
    if may_have_come {
        #[cfg(feature = "tls")]
        if connection.stream.is_secured() {
            return false;
        }
        match connection.read_first() {
            Ok(has_come) if has_come || Instant::now() >= end => return false,
            Ok(_) => {}
            Err(_) => {
                // The connection stops counting as open when its socket is closed, not before.
                drop(idle.take());
                return true;
            }
        }
    }
    let (Some(connection), Some(registered)) = (idle.take(), registration.take()) else {
        return false;
    };
    match registered.park(connection, since, end) {
        None => true,
        Some((connection, registered)) => {
            (*idle, *registration) = (Some(connection), Some(registered));
            false
        }
    }
}

/// Waits for the next byte until `end`; the connection has been idle `since` then. If it is to end instead, takes
/// it out of `idle`, which closes it. Where it `may_leave` its task, waits for no longer than [`COMES_SOON`]. Answers
/// whether there is nothing more to wait for.
pub(super) async fn park(
    idle: &mut Option<Idle>,
    registration: Option<&Registration>,
    since: &Instant,
    end: Instant,
    may_leave: bool,
) -> bool {
    let (Some(connection), Some(registration)) = (&idle, registration) else { return true };
    if connection.is_in_lingering_close() {
        // Boxed, so that the tasks of parked connections do not keep the room for it.
        Box::pin(discard_until_close(idle, registration)).await;
        return true;
    }
    let handle = registration.handle();
    let leaves = if may_leave { Some(*since + COMES_SOON).filter(|at| *at < end) } else { None };
    let mut timer = pin!(sleep_until(leaves.unwrap_or(end)));
    loop {
        let (mode, ready) = poll_fn(|cx| {
            let mode = handle.poll_mode(cx);
            if mode != Mode::Hold {
                // If it was a straggler at the last release, it is not any more.
                handle.finished();
            }
            // While bytes to be skipped keep coming, they use up the task's budget, and the timer is never ready.
            let is_skipping = idle.as_ref().is_some_and(|idle| idle.skip.is_some());
            if is_skipping && Instant::now() >= end {
                return Poll::Ready((mode, false));
            }
            let ready = match idle.as_mut().map(|idle| idle.poll_request(cx)) {
                Some(Poll::Ready(Ok(()))) => true,
                // The client is gone, or in the middle of what is to be skipped.
                None | Some(Poll::Ready(Err(_))) => return Poll::Ready((Mode::Close, false)),
                Some(Poll::Pending) if idle.as_ref().is_some_and(|idle| idle.skip.is_none()) => {
                    handle.idle(*since);
                    // If a byte has come that the runtime does not know of yet, another is evicted instead.
                    let is_evicted = mode == Mode::Serve && handle.is_evicted();
                    let mut has_come =
                        || idle.as_mut().is_some_and(|idle| idle.stream.has_unread());
                    if is_evicted && !has_come() {
                        handle.registry().metrics.evicted.add(1);
                        return Poll::Ready((Mode::Close, false));
                    }
                    is_evicted
                }
                Some(Poll::Pending) => false,
            };
            if let (Mode::Linger, false, Some(idle)) = (mode, ready, idle.as_mut()) {
                let Some(until) = linger_until(idle, handle, *since, end) else {
                    return Poll::Ready((Mode::Close, false));
                };
                if timer.deadline() != until {
                    timer.as_mut().reset(until);
                }
            }
            let wake = ready
                || matches!(mode, Mode::Hold | Mode::Close)
                || timer.as_mut().poll(cx).is_ready();
            if wake { Poll::Ready((mode, ready)) } else { Poll::Pending }
        })
        .await;
        match mode {
            Mode::Hold => {
                wait_held(idle, registration).await;
                if idle.is_none() {
                    return true;
                }
            }
            _ if ready => {
                handle.busy();
                return true;
            }
            Mode::Serve | Mode::Linger if leaves.is_some() => return false,
            Mode::Serve | Mode::Linger => {
                if let Some(idle) = idle.take() {
                    let timeouts = &handle.registry().metrics.timeouts;
                    timeouts[idle.waiting as usize].add(1);
                    close(idle);
                }
                return true;
            }
            Mode::Close => {
                if idle.as_mut().is_some_and(Idle::begin_lingering_close) {
                    Box::pin(discard_until_close(idle, registration)).await;
                } else if let Some(idle) = idle.take() {
                    close(idle);
                }
                return true;
            }
        }
    }
}

/// Until when a connection lingers that has been idle `since` then, and is to end at `end`. None: it has for long
/// enough.
fn linger_until(idle: &mut Idle, handle: &Handle, since: Instant, end: Instant) -> Option<Instant> {
    let stop = handle.registry().lingers_since();
    // In the middle of a body its client is not silent.
    let stop = stop.filter(|_| idle.skip.is_none());
    match stop.and_then(|stop| linger::end_of(&idle.stream, since, stop)) {
        Some(lingered) if lingered > Instant::now() => Some(lingered.min(end)),
        // If a byte has come that the runtime does not know of yet, that wakes the task.
        Some(_) if !idle.stream.has_unread() => None,
        _ => Some(end),
    }
}

/// Closes a connection.
#[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "with TLS something is said first"))]
fn close(mut idle: Idle) {
    #[cfg(feature = "tls")]
    idle.stream.say_end();
    drop(idle);
}

/// Leaves a connection with the registry for as long as the mode is Hold. One that cannot leave, since it has come to
/// its end, is closed.
pub(super) async fn wait_held(idle: &mut Option<Idle>, registration: &Registration) {
    #[cfg(feature = "tls")]
    if idle.as_mut().is_some_and(|idle| idle.settle().is_err()) {
        idle.take();
        return;
    }
    if let Some(connection) = idle.take() {
        registration.deposit(Deposit::Connection(connection));
    }
    let Deposit::Connection(connection) = poll_fn(|cx| registration.poll_released(cx)).await else {
        unreachable!("a registration gets back what it deposited");
    };
    *idle = Some(connection);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::connections::registry::Registry;
    use crate::sockets::stream::Stream;

    /// Longer than a test may take.
    const ENDLESS: Duration = Duration::from_secs(3600);

    /// A connection and its client.
    fn connection(registry: &Arc<Registry>) -> (Option<Idle>, Registration, UnixStream) {
        let (ours, client) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let idle = Idle::fresh(Stream::unix(ours.into()));
        let registration = registry.join_connection(idle.stream.socket());
        (Some(idle), registration, client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_lingers_until_its_client_has_been_silent_for_a_while() {
        for (silent, lingers) in [(0, 250), (100, 150), (240, 20), (60_000, 20)] {
            let registry = Arc::new(Registry::new("test".to_owned()));
            let (mut idle, registration, _client) = connection(&registry);
            let since = Instant::now();
            tokio::time::sleep(Duration::from_millis(silent)).await;
            let stop = {
                let parked = park(&mut idle, Some(&registration), &since, since + ENDLESS, false);
                let mut parked = pin!(parked);
                assert!(poll_fn(|cx| Poll::Ready(parked.as_mut().poll(cx))).await.is_pending());
                registry.linger();
                let stop = Instant::now();
                parked.await;
                stop
            };
            assert!(idle.is_none());
            let timeouts = &registry.metrics.timeouts;
            assert!(timeouts.iter().all(|count| count.get() == 0), "it has not timed out");
            let took = stop.elapsed().as_millis();
            // The runtime's timers have milliseconds.
            assert!((lingers..=lingers + 1).contains(&took), "{took} ms after {silent} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_comes_while_a_connection_lingers_is_served() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        let (mut idle, registration, mut client) = connection(&registry);
        let since = Instant::now();
        registry.linger();
        let parked = park(&mut idle, Some(&registration), &since, since + ENDLESS, false);
        let asked = async { client.write_all(b"GET / HTTP/1.1\r\n").unwrap() };
        tokio::join!(parked, asked);
        assert!(idle.is_some());
    }
}
