//! The acceptors and connections of one server, and the mode that all of them obey.
//!
//! Every task that could read a byte from a client is registered: acceptors and connections. A hand-over has
//! to know that no task still holds a socket or bytes of a client. None does once every registration has
//! [deposited](Registration::deposit) what it holds.
//!
//! ```text
//!           hold ──► each deposits its idle connection, tunnel or listener
//!  Serve ◄──────────── release: each takes it back; what did not deposit is a straggler
//!    │                commit: the deposits are borrowed and sent to the next process
//!    ├──► Linger ──► Close    no process takes over: idle ones wait a moment, then end
//! ```
//!
//! Invariants:
//! - A deposit is never lost: its registration takes it back, or it is dropped with the registration.
//! - While the mode is Hold a registration that has deposited does nothing.
//! - What is [own], streams of the program's and connections of HTTP/2, never sees Hold.
//! - A connection in the [set of parked ones](parked_set) has no task. It is a deposit in every mode.

mod handle;
mod own;
mod parked_set;
mod polls;
mod room;
mod tunnels;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use self::handle::{Handle, Registration};
pub(crate) use self::parked_set::Woken;
use self::parked_set::{ParkedSet, Watch};
pub(crate) use self::polls::{PollInProgress, Stuck};
use self::room::LongestIdle;
pub(crate) use self::room::{EVICTABLE_AFTER, Room};
use crate::connections::metrics::ServerMetrics;
use crate::connections::parked::Idle;
use crate::connections::poll_counter::Polled;
#[cfg(feature = "http2")]
use crate::connections::poll_counter::PolledTogether;
use crate::connections::tunnel::Tunnel;
use crate::sockets::listener::Listener;
use crate::sockets::tcp::{TcpCell, TcpOptions};

/// What everything in a server's registry is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Accept and serve.
    Serve,
    /// Finish the request in flight, then deposit what is left and wait.
    Hold,
    /// No process takes over: answer once more, with `Connection: close`.
    Linger,
    /// As Linger, but an idle connection ends at once.
    Close,
}

/// What a registered task leaves with the registry.
#[derive(Debug)]
pub(crate) enum Deposit {
    Connection(Idle),
    Listener(Listener),
    /// Boxed: it is larger than a connection, of which there are many.
    #[cfg_attr(
        not(any(feature = "proxy", test)),
        expect(dead_code, reason = "only a proxy has tunnels")
    )]
    Tunnel(Box<Tunnel>),
}

/// The state of one server.
#[derive(Debug)]
pub(crate) struct Registry {
    server: String,
    mode: AtomicU8,
    /// The mode of what is own, while that of everything else is Serve or Hold.
    own_mode: AtomicU8,
    pub(crate) metrics: ServerMetrics,
    /// How many connections there may be; at the limit idle ones are evicted, or accepting pauses.
    limit: AtomicUsize,
    /// The options of TCP connections.
    tcp: TcpCell,
    /// How long a stop waits for this server's requests; not set: as long as for the others.
    drain_timeout: OnceLock<Duration>,
    /// When connections began to linger.
    lingers_since: OnceLock<Instant>,
    /// Room is wanted and no connection was idle: one that becomes idle offers itself.
    wants_idle: AtomicBool,
    /// The log tells of a client of HTTP/2 already.
    #[cfg(not(feature = "http2"))]
    has_met_http2: AtomicBool,
    /// What the times in [`Signal::idle`] count from.
    began: Instant,
    /// The last round of their loop that the acceptors were asked for.
    turns: AtomicU32,
    state: Mutex<State>,
    /// Where parked connections are watched, once there is somebody who attends to them.
    watch: OnceLock<Watch>,
    /// Notified whenever a wait of the drain may have come to its end.
    progress: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: Slab<Entry>,
    /// Acceptors of all kinds.
    acceptors: usize,
    own_acceptors: usize,
    /// Connections that are own, but for upgraded ones.
    own: BTreeSet<usize>,
    deposited: usize,
    stragglers: usize,
    /// When all were last asked to hold.
    held_at: Option<Instant>,
    /// The longest time that a straggler has taken from then on.
    straggled: Duration,
    upgraded: usize,
    tunnels: usize,
    handed_over: usize,
    /// Connections that are to end to make room, and have not ended yet.
    evicted: usize,
    /// The next to be evicted.
    longest_idle: LongestIdle,
    parked: ParkedSet,
}

#[derive(Debug)]
struct Entry {
    signal: Arc<Signal>,
    kind: Kind,
    /// A connection's socket, to tell its peer; -1 of an acceptor, and of an own stream.
    fd: RawFd,
    /// Boxed: there are many entries, and most of the time none has a deposit.
    deposit: Option<Box<Deposit>>,
    /// The deposit has been sent to the next process.
    is_sent: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Acceptor,
    /// Of an own listener: it has nothing to deposit.
    OwnAcceptor,
    Connection,
    /// A connection in the set of parked ones: a deposit that no task waits with.
    Parked,
    /// Speaks another protocol now; it can be neither held nor handed over.
    Upgraded,
    Tunnel,
    /// Belongs to the next process, whatever the mode: its deposit is never given back.
    HandedOver,
}

/// What the registry and a registered task share.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    waker: AtomicWaker,
    /// Relaxed: the registry's lock orders what depends on it.
    is_own: AtomicBool,
    straggler: AtomicBool,
    /// Since when a connection has been idle, as [`room`] writes it.
    idle: AtomicU32,
    /// The last round that an acceptor has begun.
    turn: AtomicU32,
    polled: Polled,
    /// The tasks of a connection's streams.
    #[cfg(feature = "http2")]
    streams_polled: PolledTogether,
}

// === impl Mode ===

impl Mode {
    fn of(cell: &AtomicU8) -> Self {
        match cell.load(Ordering::SeqCst) {
            0 => Self::Serve,
            1 => Self::Hold,
            2 => Self::Linger,
            _ => Self::Close,
        }
    }
}

// === impl Registry ===

impl Registry {
    pub(crate) fn new(server: String) -> Self {
        Self {
            server,
            mode: AtomicU8::new(Mode::Serve as u8),
            own_mode: AtomicU8::new(Mode::Serve as u8),
            metrics: ServerMetrics::new(),
            limit: AtomicUsize::new(usize::MAX),
            tcp: TcpCell::default(),
            drain_timeout: OnceLock::new(),
            lingers_since: OnceLock::new(),
            wants_idle: AtomicBool::new(false),
            #[cfg(not(feature = "http2"))]
            has_met_http2: AtomicBool::new(false),
            began: Instant::now(),
            turns: AtomicU32::new(0),
            state: Mutex::default(),
            watch: OnceLock::new(),
            progress: Notify::new(),
        }
    }

    /// The server's name.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) fn join_acceptor(self: &Arc<Self>) -> Registration {
        self.join(Kind::Acceptor, false, -1)
    }

    pub(crate) fn join_own_acceptor(self: &Arc<Self>) -> Registration {
        self.join(Kind::OwnAcceptor, false, -1)
    }

    /// Without a socket it is an own stream.
    pub(crate) fn join_connection(
        self: &Arc<Self>,
        socket: Option<BorrowedFd<'_>>,
    ) -> Registration {
        let fd = socket.map_or(-1, |socket| socket.as_raw_fd());
        self.join(Kind::Connection, socket.is_none(), fd)
    }

    /// How many connections are open, upgraded ones included.
    pub(crate) fn connections(&self) -> usize {
        self.lock().connections()
    }

    /// Sets how many connections there may be.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::SeqCst);
        self.lock().wake_acceptors();
    }

    /// Changes the options of TCP connections.
    pub(crate) fn set_tcp(&self, options: TcpOptions) {
        self.tcp.set(options);
        // The acceptors set the options on their listeners, whose connections inherit them.
        self.lock().wake_acceptors();
    }

    /// Sets a drain time-out of its own, once.
    pub(crate) fn set_drain_timeout(&self, timeout: Duration) {
        // Never set before: a server is built once.
        let _ = self.drain_timeout.set(timeout);
    }

    /// The drain time-out, where that of the daemon is `common`.
    pub(crate) fn drain_timeout(&self, common: Duration) -> Duration {
        self.drain_timeout.get().copied().unwrap_or(common)
    }

    /// The options of TCP connections.
    pub(crate) fn tcp(&self) -> TcpOptions {
        self.tcp.get()
    }

    /// How many connections there may be.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::SeqCst)
    }

    /// Tells whether there are as many connections as there may be.
    pub(crate) fn is_full(&self) -> bool {
        self.connections() >= self.limit()
    }

    /// Tells, of a client of HTTP/2, whether it is the server's first.
    #[cfg(not(feature = "http2"))]
    pub(crate) fn is_first_of_http2(&self) -> bool {
        !self.has_met_http2.swap(true, Ordering::Relaxed)
    }

    /// Tells whether a request is in flight or a connection speaks another protocol.
    pub(crate) fn is_active(&self) -> bool {
        let has_other_protocols = |state: &State| state.upgraded + state.tunnels > 0;
        self.metrics.in_flight() > 0 || has_other_protocols(&self.lock())
    }

    /// Waits until every acceptor has been round its loop; while it is held, one of an own listener also until it has
    /// accepted who waits there.
    pub(crate) async fn turned(&self) {
        let turn = self.turns.fetch_add(1, Ordering::SeqCst) + 1;
        self.lock().wake_acceptors();
        self.wait(|state| {
            state.entries.iter().all(|(_, entry)| {
                !entry.kind.is_acceptor() || entry.signal.turn.load(Ordering::SeqCst) >= turn
            })
        })
        .await;
    }

    /// Asks every acceptor and connection to deposit.
    pub(crate) fn hold(&self) {
        self.lock().held_at = Some(Instant::now());
        self.set_mode(Mode::Hold);
    }

    /// Waits until all have deposited, but for upgraded connections.
    pub(crate) async fn held(&self) {
        self.wait(State::is_held).await;
    }

    /// Waits until all have deposited, but for upgraded connections and those with a request in flight.
    pub(crate) async fn held_but_busy(&self) {
        self.wait(|state| state.awaited() as u64 <= self.metrics.in_flight()).await;
    }

    /// Gives every deposit back; answers how many had not deposited: the stragglers.
    pub(crate) fn release(&self) -> usize {
        let mut state = self.lock();
        let mut stragglers = 0;
        for (_, entry) in &mut state.entries {
            let is_one = entry.deposit.is_none()
                && entry.kind == Kind::Connection
                && !(entry.signal.is_own() && entry.is_idle());
            entry.signal.straggler.store(is_one, Ordering::Relaxed);
            entry.is_sent = false;
            stragglers += usize::from(is_one);
        }
        state.stragglers = stragglers;
        drop(state);
        self.set_mode(Mode::Serve);
        stragglers
    }

    /// Waits until the stragglers of the last release have finished their requests.
    pub(crate) async fn stragglers_finished(&self) {
        self.wait(|state| state.stragglers == 0).await;
    }

    /// Begins a drain: how long stragglers took at an earlier one does not count.
    pub(crate) fn forget_stragglers(&self) {
        self.lock().straggled = Duration::ZERO;
    }

    /// The longest time that a straggler has taken since it was asked to hold, of those that have finished.
    pub(crate) fn straggled(&self) -> Duration {
        self.lock().straggled
    }

    /// Stops accepting, and ends every connection after one more answer: no process takes over.
    pub(crate) fn linger(&self) {
        // Nothing follows but the end, so it is set once.
        self.lingers_since.get_or_init(Instant::now);
        self.set_mode(Mode::Linger);
    }

    /// Since when connections linger as no process takes them over; what is own may do so before a hand-over, too.
    pub(crate) fn lingers_since(&self) -> Option<Instant> {
        self.lingers_since.get().copied()
    }

    /// Ends idle connections at once.
    pub(crate) fn close(&self) {
        self.set_mode(Mode::Close);
    }

    /// Waits until every registration has ended but those that were handed over, and tunnels, which do not end by
    /// themselves.
    pub(crate) async fn ended(&self) {
        self.wait(|state| state.entries.len() == state.tunnels + state.handed_over).await;
    }

    /// How many connections have not deposited; upgraded ones, which cannot, are not counted.
    pub(crate) fn unheld(&self) -> usize {
        let state = self.lock();
        let is_held_back = |kind| matches!(kind, Kind::Connection | Kind::Tunnel);
        let busy = |entry: &Entry| is_held_back(entry.kind) && entry.deposit.is_none();
        state.entries.iter().filter(|(_, entry)| busy(entry)).count()
    }

    /// Waits until every registration has ended but those that were handed over, and upgraded connections.
    pub(crate) async fn quiet(&self) {
        self.wait(|state| state.entries.len() == state.upgraded + state.handed_over).await;
    }

    /// Waits until the upgraded connections have ended.
    pub(crate) async fn upgraded_ended(&self) {
        self.wait(|state| state.upgraded == 0).await;
    }

    /// Shows every deposit to `visit`, in no particular order.
    pub(crate) fn with_deposits<R>(
        &self,
        visit: impl FnOnce(&mut dyn Iterator<Item = &Deposit>) -> R,
    ) -> R {
        let state = self.lock();
        visit(&mut state.entries.iter().filter_map(|(_, entry)| entry.deposit.as_deref()))
    }

    /// Shows every deposit but tunnels that has not been sent yet to `visit`, with the flag to set when it has: listeners
    /// first, and last the connection that has been idle longest, which is left out if there are too many.
    pub(crate) fn with_unsent_deposits<R>(
        &self,
        visit: impl FnOnce(&mut dyn Iterator<Item = (&Deposit, &mut bool)>) -> R,
    ) -> R {
        let now = self.now();
        let mut state = self.lock();
        let is_unsent = |(_, entry): &(usize, &mut Entry)| {
            entry.deposit.is_some() && !entry.is_sent && entry.kind != Kind::Tunnel
        };
        let mut entries: Vec<_> = state.entries.iter_mut().filter(is_unsent).collect();
        entries.sort_by_cached_key(|(key, entry)| {
            (entry.kind != Kind::Acceptor, entry.order(now), Reverse(*key))
        });
        visit(&mut entries.into_iter().filter_map(|(_, entry)| {
            let Entry { deposit, is_sent, .. } = entry;
            deposit.as_deref().map(|deposit| (deposit, is_sent))
        }))
    }

    /// Notes that what was sent, and every listener, belongs to the next process: later modes do not concern it.
    /// The other connections are left for [`Registry::linger`].
    pub(crate) fn set_handed_over(&self) {
        let mut state = self.lock();
        let State { entries, acceptors, tunnels, handed_over, parked, .. } = &mut *state;
        for (_, entry) in entries {
            if entry.deposit.is_none() || !(entry.is_sent || entry.kind == Kind::Acceptor) {
                continue;
            }
            *acceptors -= usize::from(entry.kind == Kind::Acceptor);
            *tunnels -= usize::from(entry.kind == Kind::Tunnel);
            parked.count -= usize::from(entry.kind == Kind::Parked);
            *handed_over += 1;
            entry.kind = Kind::HandedOver;
        }
    }

    fn join(self: &Arc<Self>, kind: Kind, is_own: bool, fd: RawFd) -> Registration {
        let signal = Arc::new(Signal { is_own: AtomicBool::new(is_own), ..Signal::default() });
        let mut state = self.lock();
        state.acceptors += usize::from(kind.is_acceptor());
        state.own_acceptors += usize::from(kind == Kind::OwnAcceptor);
        let entry = Entry { signal: Arc::clone(&signal), kind, fd, deposit: None, is_sent: false };
        let key = state.entries.insert(entry);
        if is_own {
            state.own.insert(key);
        }
        drop(state);
        Registration {
            handle: Handle { registry: Arc::clone(self), key, signal },
            is_parked: false,
        }
    }

    fn set_mode(&self, mode: Mode) {
        let state = self.lock();
        self.mode.store(mode as u8, Ordering::SeqCst);
        for (_, entry) in &state.entries {
            entry.signal.waker.wake();
        }
        drop(state);
        self.wake_attendant();
        self.progress.notify_waiters();
    }

    async fn wait(&self, done: impl Fn(&State) -> bool) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            // Enabled before the look, so that a change after it is not missed.
            progress.as_mut().enable();
            if done(&self.lock()) {
                return;
            }
            progress.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_held(&self) -> bool {
        self.awaited() == 0
    }

    /// How many have not deposited and are waited for.
    fn awaited(&self) -> usize {
        let has_nothing = self.deposited + self.upgraded + self.own_acceptors + self.own_idle();
        self.entries.len() - has_nothing
    }

    fn connections(&self) -> usize {
        self.entries.len() - self.acceptors - self.handed_over
    }

    /// Notes that the request which was in flight at the last release, if one was, is finished. Under the lock: a release
    /// counts the stragglers anew, and none that has gone may be among them.
    fn finish(&mut self, signal: &Signal) {
        if signal.straggler.swap(false, Ordering::Relaxed) {
            self.stragglers -= 1;
            let taken = self.held_at.map_or(Duration::ZERO, |at| at.elapsed());
            self.straggled = self.straggled.max(taken);
        }
    }

    fn wake_acceptors(&self) {
        for (_, entry) in &self.entries {
            if entry.kind.is_acceptor() {
                entry.signal.waker.wake();
            }
        }
    }
}

impl Signal {
    fn is_own(&self) -> bool {
        self.is_own.load(Ordering::Relaxed)
    }
}

impl Kind {
    fn is_acceptor(self) -> bool {
        matches!(self, Self::Acceptor | Self::OwnAcceptor)
    }
}
