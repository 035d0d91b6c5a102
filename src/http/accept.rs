//! Accepting connections on one listener.
//!
//! Errors of accept(2) come in three classes: a connection that died in the queue wants the next
//! accept at once; a lack of descriptors or memory wants a pause and a log line, never an exit and
//! never a spin; anything else means that the listener itself is broken and ends the server.

mod at_limit;
mod own;
mod shortage;

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use self::at_limit::AtLimit;
pub(crate) use self::own::accept_from;
use self::shortage::{Class, Shortage};
use crate::connections::registry::{Deposit, Mode, Registration};
use crate::sockets::listener::{Listener, Origin};
use crate::sockets::stream::Stream;

/// Accepts until the server stops; each connection is given to `serve`.
///
/// # Errors
/// When the listener itself is broken.
pub(crate) async fn accept(
    mut listener: Listener,
    registration: Registration,
    mut serve: impl FnMut(Stream),
) -> io::Result<()> {
    let handle = registration.handle();
    let registry = handle.registry();
    let mut shortage = Shortage::new();
    let mut at_limit = AtLimit::default();
    loop {
        let accepted = poll_fn(|cx| match registration.poll_turn(cx) {
            // The end of a connection wakes this task.
            Mode::Serve if registry.is_full() => {
                let is_waited = listener.poll_waiting(cx).is_ready();
                at_limit.make_room(cx, is_waited, registry);
                Poll::Pending
            }
            Mode::Serve => {
                listener.set_options(registry.tcp());
                listener.poll_accept(cx).map(Ok)
            }
            mode @ (Mode::Hold | Mode::Linger | Mode::Close) => Poll::Ready(Err(mode)),
        })
        .await;
        match accepted {
            Ok(Ok(stream)) => {
                shortage.ended();
                registry.metrics.accepted.add(1);
                serve(stream);
                at_limit.accepted(registry);
            }
            Ok(Err(error)) => match Class::of(&error) {
                Class::Connection => registry.metrics.accept_aborts.add(1),
                Class::Shortage | Class::Failure => {
                    let address = &listener.address;
                    shortage.wait(&error, address, &registration, &mut at_limit).await;
                }
                Class::Listener => return Err(error),
            },
            Err(Mode::Hold) => {
                registration.deposit(Deposit::Listener(listener));
                let Deposit::Listener(returned) =
                    poll_fn(|cx| registration.poll_released(cx)).await
                else {
                    unreachable!("a registration gets back what it deposited");
                };
                listener = returned;
            }
            Err(_) => {
                at_limit.tell_closed(registry);
                // The queue of a listener that systemd holds stays there for the next process. That of
                // another listener ends with it: the clients that wait there are served first.
                if listener.origin == Origin::Ourselves {
                    accept_queue(&listener, &mut serve);
                }
                listener.close();
                return Ok(());
            }
        }
    }
}

/// Accepts what is queued now, without the runtime, which may not know of the last connections yet.
fn accept_queue(listener: &Listener, serve: &mut impl FnMut(Stream)) {
    loop {
        match listener.accept_now() {
            Ok(stream) => serve(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if Class::of(&error) == Class::Connection => {}
            Err(_) => return,
        }
    }
}
