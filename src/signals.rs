//! The signals that the daemon understands.
//!
//! | signal | meaning |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | stop cleanly; a second one ends at once |
//! | `SIGUSR2` | replace the program in place |
//! | `SIGHUP` | reload |

use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::shutdown::Cause;

/// A signal that arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    Terminate,
    Interrupt,
    Hangup,
    Upgrade,
}

/// The registered signals; from here on none of them kills the process. Or none.
#[derive(Debug)]
pub(crate) struct Signals {
    /// Empty: somebody else's.
    registered: Vec<(Event, Signal)>,
}

// === impl Signals ===

impl Signals {
    /// Registers the handlers.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub(crate) fn register() -> io::Result<Self> {
        Ok(Self {
            registered: vec![
                (Event::Terminate, signal(SignalKind::terminate())?),
                (Event::Interrupt, signal(SignalKind::interrupt())?),
                (Event::Hangup, signal(SignalKind::hangup())?),
                (Event::Upgrade, signal(SignalKind::user_defined2())?),
            ],
        })
    }

    /// Signals that are not heard: they are the business of the program around the daemon.
    pub(crate) fn none() -> Self {
        Self { registered: Vec::new() }
    }

    /// Waits for a signal that asks for a stop; others are ignored meanwhile.
    pub(crate) async fn stop(&mut self) -> Cause {
        loop {
            match self.next().await {
                Event::Terminate => return Cause::Terminate,
                Event::Interrupt => return Cause::Interrupt,
                Event::Hangup | Event::Upgrade => {}
            }
        }
    }

    /// Waits for the next signal.
    ///
    /// # Cancel safety
    /// Cancel safe: a signal that is not returned is returned by the next call.
    pub(crate) async fn next(&mut self) -> Event {
        std::future::poll_fn(|cx| {
            for (event, signal) in &mut self.registered {
                if let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                    return Poll::Ready(*event);
                }
            }
            Poll::Pending
        })
        .await
    }
}
