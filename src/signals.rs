//! The signals that the daemon understands.
//!
//! | signal | meaning |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | stop cleanly; another one, half a second later or more, ends at once |
//! | `SIGUSR2` | replace the program in place |
//! | `SIGHUP` | reload |
//!
//! They are heard by the [overseer](crate::overseer), which whatever a task does does not hold up.
//!
//! # Source
//! signal(7): a blocked signal and an ignored one stay so in a program that is executed; daemon(7).

use std::io;
use std::ptr;
use std::sync::Arc;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::shutdown::Cause;

/// The signals that the daemon hears. They stay ignored until it does: one that comes right after an upgrade in
/// place would end it.
const HEARD: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR2];

/// Others that have to work: the one by which the service manager's watchdog ends it, and the one that tells of
/// a child's end, such as the dry run of an upgrade.
const NEEDED: [libc::c_int; 2] = [libc::SIGABRT, libc::SIGCHLD];

/// A signal that arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    Stop(Cause),
    Order(Order),
}

/// What a signal asks of a daemon that serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    Reload,
    Upgrade,
}

/// The registered signals; from here on none of them kills the process.
#[derive(Debug)]
pub(crate) struct Registered(Vec<(Event, Signal)>);

/// Orders that have been heard and not carried out yet, each at most once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders {
    reload: Arc<Notify>,
    upgrade: Arc<Notify>,
}

/// Makes the signals work that have to, whatever the parent process did with them: the JVM, .NET and Ruby
/// block some for the children that they start.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn reset() -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe interface to these calls among our libraries")]
    // SAFETY: the structures are plain data, valid when zeroed, and live through the calls; a signal's default
    // runs no code of ours.
    unsafe {
        let mut needed = std::mem::zeroed();
        libc::sigemptyset(&raw mut needed);
        for signal in HEARD {
            libc::sigaddset(&raw mut needed, signal);
        }
        for signal in NEEDED {
            libc::sigaddset(&raw mut needed, signal);
            let mut action = std::mem::zeroed::<libc::sigaction>();
            let asked = libc::sigaction(signal, ptr::null(), &raw mut action);
            // A handler is the program's own: it came after the parent's doing.
            if asked == 0 && action.sa_sigaction == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        match libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const needed, ptr::null_mut()) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

// === impl Registered ===

impl Registered {
    /// Registers the handlers, with the runtime that is entered.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub(crate) fn register() -> io::Result<Self> {
        let kinds = [
            (Event::Stop(Cause::Terminate), SignalKind::terminate()),
            (Event::Stop(Cause::Interrupt), SignalKind::interrupt()),
            (Event::Order(Order::Reload), SignalKind::hangup()),
            (Event::Order(Order::Upgrade), SignalKind::user_defined2()),
        ];
        let registered = kinds.into_iter().map(|(event, kind)| Ok((event, signal(kind)?)));
        registered.collect::<io::Result<_>>().map(Self)
    }

    /// Waits for the next signal.
    ///
    /// # Cancel safety
    /// Cancel safe: a signal that is not returned is returned by the next call.
    pub(crate) async fn next(&mut self) -> Event {
        std::future::poll_fn(|cx| {
            for (event, signal) in &mut self.0 {
                if let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                    return Poll::Ready(event.clone());
                }
            }
            Poll::Pending
        })
        .await
    }
}

// === impl Orders ===

impl Orders {
    /// Has an order carried out.
    pub(crate) fn give(&self, order: Order) {
        match order {
            Order::Reload => self.reload.notify_one(),
            Order::Upgrade => self.upgrade.notify_one(),
        }
    }

    /// Waits for the next order.
    ///
    /// # Cancel safety
    /// Cancel safe: an order that is not returned is returned by the next call.
    pub(crate) async fn next(&self) -> Order {
        tokio::select! {
            () = self.upgrade.notified() => Order::Upgrade,
            () = self.reload.notified() => Order::Reload,
        }
    }
}
