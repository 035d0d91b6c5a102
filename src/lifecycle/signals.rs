//! The signals that the daemon understands.
//!
//! | signal | meaning |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | stop cleanly; another one, half a second later or more, ends the lame duck time, or cuts off what is in flight |
//! | `SIGUSR2` | replace the program in place |
//! | `SIGHUP` | reload |
//!
//! The [overseer](crate::daemon::overseer) receives them on a thread of its own, which no task can block.
//!
//! # Source
//! signal(7): a blocked signal and an ignored one stay so in a program that is executed; daemon(7).

use std::io::{self, IsTerminal};
use std::ptr;
use std::sync::Arc;
use std::task::Poll;

use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::lifecycle::shutdown::Cause;

/// The signals that the daemon handles.
const HANDLED: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR2];

/// Other signals that must be neither blocked nor ignored: the one by which the service manager's watchdog ends
/// the process, and the one that tells of a child's end, such as the dry run of an upgrade.
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

/// The registered handlers; from here on none of the signals kills the process.
#[derive(Debug)]
pub(crate) struct Handlers(Vec<(Event, Signal)>);

/// Orders that have been received and not carried out yet, each at most once; and the way to ask the overseer
/// to block the signals.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    reload: Arc<Notify>,
    upgrade: Arc<Notify>,
    block_requests: mpsc::Sender<BlockRequest>,
}

/// Asks the overseer to block the signals until the answer is dropped: they stay pending, for the next program
/// if there is one.
#[derive(Debug)]
pub(crate) struct BlockRequest {
    pub(crate) answer: oneshot::Sender<SignalsBlocked>,
    /// The runtime that asks. Its driver takes signals from the same pipe as the overseer's.
    pub(crate) runtime: Handle,
}

/// The signals are blocked until this is dropped.
#[derive(Debug)]
pub(crate) struct SignalsBlocked {
    _unblock: oneshot::Sender<()>,
}

/// Undoes what the parent process did to the needed signals (the JVM, .NET and Ruby block some for the children
/// that they start), and blocks the handled ones, which only the overseer's thread is to receive.
///
/// To be called on the first thread, before there are others, which inherit its signal mask.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn prepare() -> io::Result<()> {
    for signal in NEEDED {
        #[expect(unsafe_code, reason = "no safe interface to these calls among our libraries")]
        // SAFETY: the structure is plain data, valid when zeroed, and lives through the calls; a signal's
        // default action runs no code of this program.
        unsafe {
            let mut action = std::mem::zeroed::<libc::sigaction>();
            let asked = libc::sigaction(signal, ptr::null(), &raw mut action);
            // A handler is the program's own: execve(2) passes none on.
            if asked == 0 && action.sa_sigaction == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
    mask(libc::SIG_UNBLOCK, &NEEDED)?;
    block()
}

/// Blocks the handled signals on the calling thread. A signal that every thread blocks stays pending, also across
/// execve(2).
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn block() -> io::Result<()> {
    mask(libc::SIG_BLOCK, &HANDLED)
}

/// Unblocks the handled signals on the calling thread.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn unblock() -> io::Result<()> {
    mask(libc::SIG_UNBLOCK, &HANDLED)
}

/// Tells whether somebody runs the program at a terminal. Ctrl-C is a `SIGINT` there, which goes to the process group
/// in the foreground only; standard output may be a pipe all the same.
pub(crate) fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stderr().is_terminal()
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

/// Completes once the driver of the runtime in which this runs has told of every signal that it took before.
///
/// A turn of the driver first wakes those whose sockets are ready, and then tells of the signals that it has found.
/// So all of a turn is done when a socket is found ready that was not in the turn before.
///
/// # Errors
/// When there are no descriptors left.
pub(crate) async fn driver_turned() -> io::Result<()> {
    let (sender, receiver) = UnixStream::pair()?;
    for _ in 0..2 {
        // To the end: only then the next wait is for the driver.
        while receiver.try_read(&mut [0]).is_ok() {}
        sender.writable().await?;
        sender.try_write(&[0])?;
        receiver.readable().await?;
    }
    Ok(())
}

// === impl Handlers ===

impl Handlers {
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

// === impl SignalsBlocked ===

impl SignalsBlocked {
    /// The receiver completes when this is dropped.
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (unblock, is_unblocked) = oneshot::channel();
        (Self { _unblock: unblock }, is_unblocked)
    }
}

// === impl Orders ===

impl Orders {
    /// No orders yet; the receiver is the overseer's.
    pub(crate) fn new() -> (Self, mpsc::Receiver<BlockRequest>) {
        let (block_requests, received) = mpsc::channel(1);
        (Self { reload: Arc::default(), upgrade: Arc::default(), block_requests }, received)
    }

    /// Blocks the signals, once those that came before have been handled. `None` if there is no overseer.
    pub(crate) async fn block_signals(&self) -> Option<SignalsBlocked> {
        let (answer, answered) = oneshot::channel();
        let request = BlockRequest { answer, runtime: Handle::current() };
        self.block_requests.send(request).await.ok()?;
        answered.await.ok()
    }

    /// Gives an order to the daemon.
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
