//! Accepting connections on one listener.
//!
//! Errors of accept(2) come in three classes: a connection that died in the queue wants the next
//! accept at once; a lack of descriptors or memory wants a pause and a log line, never an exit and
//! never a spin; anything else means that the listener itself is broken and ends the server.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::{Instant, Sleep, sleep};

use crate::connections::registry::{Deposit, EVICTABLE_AFTER, Mode, Registration, Registry, Room};
use crate::sockets::listener::{Listener, Origin};
use crate::sockets::stream::Stream;

/// The first pause when descriptors or memory are short; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// That clients have to wait is logged once in this time; the metrics count every time.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// How many idle connections were closed for others is logged once in this time.
const CLOSED_INTERVAL: Duration = Duration::from_secs(10);

/// How long clients wait for room while no connection has been idle for long enough; then any idle one is evicted.
const NO_ROOM_MAX: Duration = Duration::from_secs(1);

/// What an error of accept(2) is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Class {
    /// The connection: it has ended in the queue.
    Connection,
    /// The machine: it is short of descriptors or memory.
    Shortage,
    /// The listener: it is broken.
    Listener,
}

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
    let mut pause = PAUSE_MIN;
    let mut at_limit = AtLimit::default();
    let mut told_short = None;
    loop {
        let accepted = poll_fn(|cx| match registration.poll_turn(cx) {
            // The end of a connection wakes this task.
            Mode::Serve if registry.is_full() => {
                at_limit.make_room(cx, &listener, registry);
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
                pause = PAUSE_MIN;
                registry.metrics.accepted.add(1);
                serve(stream);
                at_limit.accepted(registry);
            }
            Ok(Err(error)) => match Class::of(&error) {
                Class::Connection => registry.metrics.accept_aborts.add(1),
                Class::Shortage => {
                    registry.metrics.accept_shortages.add(1);
                    if is_due(&mut told_short, LOG_INTERVAL) {
                        tracing::warn!(
                            server = registry.server(),
                            address = %listener.address,
                            %error,
                            "cannot accept for now; connections wait in the queue",
                        );
                    }
                    // The end of an idle connection frees a descriptor and memory.
                    let most = registry.connections().saturating_sub(1);
                    let (closed, _) = registry.make_room(most, EVICTABLE_AFTER);
                    at_limit.tell(closed, registry);
                    tokio::select! {
                        () = sleep(pause) => {}
                        // A stop does not wait for the shortage to end.
                        () = poll_fn(|cx| match registration.poll_turn(cx) {
                            Mode::Serve => Poll::Pending,
                            Mode::Hold | Mode::Linger | Mode::Close => Poll::Ready(()),
                        }) => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
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

/// What an acceptor remembers while its server has all the connections it may have.
#[derive(Debug, Default)]
struct AtLimit {
    /// It has, and a client has been waiting.
    is_full: bool,
    told_full: Option<Instant>,
    told_closed: Option<Instant>,
    /// Idle connections that were closed, and are not in the log yet.
    closed: usize,
    /// Since when there has been no room, and no connection that could be evicted.
    no_room_since: Option<Instant>,
    /// Fires when a connection has been idle for long enough.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Tells whether something may be logged again, and notes that it is.
fn is_due(told: &mut Option<Instant>, interval: Duration) -> bool {
    let is_due = told.is_none_or(|told| told.elapsed() >= interval);
    if is_due {
        *told = Some(Instant::now());
    }
    is_due
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

// === impl AtLimit ===

impl AtLimit {
    /// Makes room for the client that waits, if one does, and evicts those above a limit that was lowered.
    fn make_room(&mut self, cx: &mut Context<'_>, listener: &Listener, registry: &Registry) {
        let is_waited = listener.poll_waiting(cx).is_ready();
        if is_waited && !self.is_full {
            self.is_full = true;
            registry.metrics.full.add(1);
            if is_due(&mut self.told_full, LOG_INTERVAL) {
                tracing::warn!(
                    server = registry.server(),
                    connections = registry.limit(),
                    "the server has all the connections it may have; idle ones are closed for new \
                     ones, or more wait in the queue (raise max_connections, or LimitNOFILE= in the unit)",
                );
            }
        }
        let most = registry.limit().saturating_sub(usize::from(is_waited));
        loop {
            let lacking = self.no_room_since.map_or(Duration::ZERO, |since| since.elapsed());
            let idle = if lacking < NO_ROOM_MAX { EVICTABLE_AFTER } else { Duration::ZERO };
            let (closed, room) = registry.make_room(most, idle);
            self.tell(closed, registry);
            if closed > 0 || room == Room::Made {
                self.no_room_since = None;
            } else {
                self.no_room_since.get_or_insert_with(Instant::now);
            }
            let Room::Later(time) = room else { return };
            let time = time.min(NO_ROOM_MAX.saturating_sub(lacking));
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(time)));
            timer.as_mut().reset(Instant::now() + time);
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }

    /// Counts idle connections that were closed, and logs how many at intervals.
    fn tell(&mut self, closed: usize, registry: &Registry) {
        self.closed += closed;
        if self.closed > 0 && is_due(&mut self.told_closed, CLOSED_INTERVAL) {
            self.tell_closed(registry);
        }
    }

    /// Logs how many were closed since the last line.
    fn tell_closed(&mut self, registry: &Registry) {
        if self.closed > 0 {
            tracing::info!(
                server = registry.server(),
                connections = std::mem::take(&mut self.closed),
                "closed the connections that had been idle longest, to make room for others",
            );
        }
    }

    /// A client has been accepted.
    fn accepted(&mut self, registry: &Registry) {
        self.no_room_since = None;
        self.tell(0, registry);
        // One line each time that the server fills up, not one for each client that waits.
        let limit = registry.limit();
        if self.is_full && registry.connections() < limit - limit.div_ceil(8) {
            self.is_full = false;
            registry.has_room();
        }
    }
}

// === impl Class ===

impl Class {
    fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::BADF | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::INVAL | Errno::FAULT) => {
                Self::Listener
            }
            // Errors of the network that Linux passes on, accept(2), and interruptions.
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::AGAIN
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
                | Errno::NOTCONN,
            ) => Self::Connection,
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, and unknown errors: without a pause a firewall's EPERM would
            // come again at once.
            _ => Self::Shortage,
        }
    }
}
