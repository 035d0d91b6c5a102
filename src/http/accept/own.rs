//! Accepting through a listener of the program's own.
//!
//! It cannot be handed over. While the server is held, and at its end, the clients that wait already are accepted,
//! and then none until the server is released.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::{consume_budget, yield_now};
use tokio::time::Instant;

use super::at_limit::AtLimit;
use super::shortage::{Class, Shortage};
use crate::connections::registry::{Mode, Registration};
use crate::sockets::own_listener::{Accepted, OwnListener};
use crate::sockets::stream::Stream;

/// Its address in the log.
const ADDRESS: &str = "a listener of its own";

/// After so many clients in a row that were gone it is the listener that has failed.
const GONE_MAX: u32 = 100;

/// For how long those that wait already are accepted in the end: more may come all the time.
const LAST_MAX: Duration = Duration::from_secs(1);

/// Whether clients are accepted while the server is held, or at its end.
#[derive(Default)]
struct Closing {
    since: Option<Instant>,
    /// Lets the runtime look once more who waits: what a listener says without that may be old.
    look: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Those that waited have been accepted.
    is_over: bool,
}

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
    let mut closing = Closing::default();
    // Clients that were gone, since one was not.
    let mut gone = 0;
    while let Some(accepted) = next(&mut listener, &registration, &mut at_limit, &mut closing).await
    {
        match accepted {
            Ok(stream) => {
                shortage.ended();
                gone = 0;
                registry.metrics.accepted.add(1);
                serve(stream);
                at_limit.accepted(registry);
            }
            Err(error) => match Class::of_own(&error) {
                Class::Connection if gone < GONE_MAX => {
                    gone += 1;
                    registry.metrics.accept_aborts.add(1);
                }
                Class::Shortage => {
                    shortage.wait(&error, &ADDRESS, &registration, &mut at_limit).await;
                }
                Class::Connection | Class::Failure => {
                    shortage.wait_for_own(&error, &registration).await;
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
    closing: &mut Closing,
) -> Option<io::Result<Stream>> {
    let registry = registration.handle().registry();
    let mut accepting = listener.accept();
    // A client without room; it is served at a stop, whether there is room or not.
    let mut waiting = None;
    poll_fn(|cx| {
        let (mode, turn) = registration.poll_begin(cx);
        let is_serving = mode == Mode::Serve;
        if is_serving {
            registration.end_turn(turn);
        }
        closing.begin(is_serving);
        if waiting.is_none() && !closing.is_over {
            if let Poll::Ready(accepted) = accepting.as_mut().poll(cx) {
                match accepted.and_then(Accepted::into_stream) {
                    Ok(stream) => waiting = Some(stream),
                    Err(error) => {
                        // It is not asked again and again in the end.
                        closing.is_over = !is_serving;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
        }
        if is_serving && registry.is_full() {
            at_limit.make_room(cx, waiting.is_some(), registry);
            return Poll::Pending;
        }
        if let Some(stream) = waiting.take() {
            closing.look = None;
            stream.renew_options(registry.tcp());
            return Poll::Ready(Some(Ok(stream)));
        }
        if !is_serving {
            ready!(closing.poll_over(cx));
        }
        registration.end_turn(turn);
        match mode {
            Mode::Serve | Mode::Hold => Poll::Pending,
            Mode::Linger | Mode::Close => Poll::Ready(None),
        }
    })
    .await
}

// === impl Closing ===

impl Closing {
    fn begin(&mut self, is_serving: bool) {
        if is_serving {
            *self = Self::default();
        } else {
            let since = self.since.get_or_insert_with(Instant::now);
            self.is_over |= since.elapsed() >= LAST_MAX;
        }
    }

    /// The listener has nobody: ready if it had nobody before the runtime's last look either.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_over {
            let look = self.look.get_or_insert_with(|| Box::pin(yield_now()));
            ready!(look.as_mut().poll(cx));
            self.is_over = true;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::duplex;
    use tokio::sync::mpsc;

    use super::*;
    use crate::connections::registry::Registry;
    use crate::sockets::own_listener::Accept;

    /// Looks at who waits only when the runtime has had its turn.
    struct Late(mpsc::UnboundedReceiver<Accepted>);

    impl Accept for Late {
        async fn accept(&mut self) -> io::Result<Accepted> {
            yield_now().await;
            self.0.recv().await.ok_or_else(|| io::ErrorKind::Unsupported.into())
        }
    }

    #[tokio::test]
    async fn who_waits_is_accepted_before_a_hold_and_others_when_it_is_over() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        let (clients, listener) = mpsc::unbounded_channel();
        let (accepted, mut served) = mpsc::unbounded_channel();
        let registration = registry.join_own_acceptor();
        let serve = move |stream: Stream| accepted.send(stream).unwrap();
        let acceptor =
            tokio::spawn(accept_from(OwnListener::new(Late(listener)), registration, serve));
        let connect = || clients.send(Accepted::stream(duplex(1).0)).unwrap();
        connect();
        served.recv().await.unwrap();
        for _ in 0..2 {
            connect();
            connect();
            registry.hold();
            registry.turned().await;
            assert!(served.try_recv().is_ok() && served.try_recv().is_ok());
            connect();
            for _ in 0..8 {
                registry.turned().await;
            }
            assert!(served.try_recv().is_err(), "nobody is accepted while it is held");
            registry.release();
            served.recv().await.unwrap();
        }
        connect();
        registry.linger();
        assert!(acceptor.await.unwrap().is_ok());
        assert!(served.try_recv().is_ok());
    }
}
