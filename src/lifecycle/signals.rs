//! The signals that the daemon understands.
//!
//! | signal | meaning |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | stop cleanly; another one, half a second later or more, ends at once |
//! | `SIGUSR2` | replace the program in place |
//! | `SIGHUP` | reload |
//!
//! They are heard by the [overseer](crate::daemon::overseer), which whatever a task does does not hold up.
//!
//! # Source
//! signal(7): a blocked signal and an ignored one stay so in a program that is executed; daemon(7).

use std::io;
use std::ptr;
use std::sync::Arc;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::lifecycle::shutdown::Cause;

/// The signals that the daemon hears.
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

/// Orders that have been heard and not carried out yet, each at most once; and the way to ask whoever hears them
/// to wait.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    reload: Arc<Notify>,
    upgrade: Arc<Notify>,
    holds: mpsc::Sender<Hold>,
}

/// Asks that no signal is heard any more until what is sent back is dropped: each waits for who is next.
pub(crate) type Hold = oneshot::Sender<Held>;

/// While it lasts no signal is heard.
#[derive(Debug)]
pub(crate) struct Held {
    _released: oneshot::Sender<()>,
}

/// Makes the signals work that have to, whatever the parent process did with them (the JVM, .NET and Ruby block
/// some for the children that they start), and keeps those that are heard for the overseer.
///
/// It is for the first thread, before there are others, which inherit what it does.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn prepare() -> io::Result<()> {
    for signal in NEEDED {
        #[expect(unsafe_code, reason = "no safe interface to these calls among our libraries")]
        // SAFETY: the structure is plain data, valid when zeroed, and lives through the calls; a signal's
        // default runs no code of ours.
        unsafe {
            let mut action = std::mem::zeroed::<libc::sigaction>();
            let asked = libc::sigaction(signal, ptr::null(), &raw mut action);
            // A handler is the program's own: it came after the parent's doing.
            if asked == 0 && action.sa_sigaction == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
    mask(libc::SIG_UNBLOCK, &NEEDED)?;
    block()
}

/// Keeps the calling thread from hearing signals. One that no thread hears waits, also for the program that this
/// one is replaced by.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn block() -> io::Result<()> {
    mask(libc::SIG_BLOCK, &HEARD)
}

/// Lets the calling thread hear signals.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn unblock() -> io::Result<()> {
    mask(libc::SIG_UNBLOCK, &HEARD)
}

fn mask(how: libc::c_int, signals: &[libc::c_int]) -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe interface to these calls among our libraries")]
    // SAFETY: the set is plain data, valid when zeroed, and lives through the calls.
    let masked = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::pthread_sigmask(how, &raw const set, ptr::null_mut())
    };
    match masked {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
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

// === impl Held ===

impl Held {
    /// The other value ends when this is dropped.
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (released, is_released) = oneshot::channel();
        (Self { _released: released }, is_released)
    }
}

// === impl Orders ===

impl Orders {
    /// Nobody's orders; the other value is where holds are asked for.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Hold>) {
        let (holds, asked) = mpsc::channel(1);
        (Self { reload: Arc::default(), upgrade: Arc::default(), holds }, asked)
    }

    /// Has no signal heard any more, having told those that came before. None if nobody hears any.
    pub(crate) async fn hold(&self) -> Option<Held> {
        let (ask, answer) = oneshot::channel();
        self.holds.send(ask).await.ok()?;
        answer.await.ok()
    }

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
