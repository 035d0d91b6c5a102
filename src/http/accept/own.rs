//! Accepting through a listener of the program's own.
//!
//! It cannot be handed over, and is never held: when what is own [ends](crate::connections::registry::Registry::end_own),
//! clients are accepted until the linger is over, then those that wait already, and then none until the server goes
//! on.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use tokio::task::consume_budget;
use tokio::time::Instant;

use super::at_limit::AtLimit;
use super::shortage::{Class, Shortage};
use crate::connections::registry::{Mode, Registration, Registry};
use crate::sockets::own_listener::{Accepted, OwnListener};
use crate::sockets::stream::Stream;

/// Its address in the log.
const ADDRESS: &str = "a listener of its own";

/// After so many clients in a row that were gone it is the listener that has failed.
const GONE_MAX: u32 = 100;

/// For how long those that wait already are accepted in the end: more may come all the time.
const LAST_MAX: Duration = Duration::from_secs(1);

/// Accepts until the server stops; each connection is given to `serve`.
///
/// # Errors
/// When the listener is broken, or brings what cannot be served.
pub(crate) async fn accept_from(
    mut listener: OwnListener,
    registration: Registration,
    mut serve: impl FnMut(Stream),
) -> io::Result<()> {
    let registry = registration.handle().registry();
    let mut shortage = Shortage::new();
    let mut at_limit = AtLimit::default();
    let mut closing_since = None;
    // Clients that were gone, since one was not.
    let mut gone = 0;
    while let Some(accepted) =
        next(&mut listener, &registration, &mut at_limit, &mut closing_since).await
    {
        match accepted {
            Ok(stream) => {
                shortage.is_over();
                gone = 0;
                registry.metrics.accepted.add(1);
                serve(stream);
                at_limit.accepted(registry);
            }
            Err(error) => match Class::of(&error) {
                Class::Connection if gone < GONE_MAX => {
                    gone += 1;
                    registry.metrics.accept_aborts.add(1);
                }
                Class::Shortage if error.kind() == io::ErrorKind::Unsupported => return Err(error),
                // Nobody waits for what comes after a pause.
                Class::Connection | Class::Shortage if registration.handle().is_ending() => break,
                Class::Connection | Class::Shortage => {
                    shortage.wait(&error, &ADDRESS, &registration, &mut at_limit).await;
                }
                Class::Listener => return Err(error),
            },
        }
        // A listener that always has another client must not keep a thread to itself.
        consume_budget().await;
    }
    at_limit.tell_closed(registry);
    Ok(())
}

/// The next client, once there is room for it; none when the server ends.
async fn next(
    listener: &mut OwnListener,
    registration: &Registration,
    at_limit: &mut AtLimit,
    closing_since: &mut Option<Instant>,
) -> Option<io::Result<Stream>> {
    let handle = registration.handle();
    let registry: &Registry = handle.registry();
    let mut accepting = listener.accept();
    // A client without room; it is served at a stop, whether there is room or not.
    let mut waiting = None;
    // What waited when accepting came to its end has been accepted.
    let mut is_closed = false;
    poll_fn(|cx| {
        let (mode, turn) = registration.poll_begin(cx);
        if mode != Mode::Close {
            registration.end_turn(turn);
        }
        if mode == Mode::Close {
            let since = closing_since.get_or_insert_with(Instant::now);
            is_closed |= since.elapsed() >= LAST_MAX;
        } else {
            *closing_since = None;
            is_closed = false;
        }
        if waiting.is_none() && !is_closed {
            if let Poll::Ready(accepted) = accepting.as_mut().poll(cx) {
                match accepted.and_then(Accepted::into_stream) {
                    Ok(stream) => waiting = Some(stream),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
        }
        if mode == Mode::Serve && registry.is_full() {
            at_limit.make_room(cx, waiting.is_some(), registry);
            return Poll::Pending;
        }
        if let Some(stream) = waiting.take() {
            stream.renew_options(registry.tcp());
            return Poll::Ready(Some(Ok(stream)));
        }
        is_closed = mode == Mode::Close;
        registration.end_turn(turn);
        if handle.is_ending() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}
