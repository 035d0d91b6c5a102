//! The acceptors and connections of one server, and the mode that all of them obey.
//!
//! Everything that could take a byte from a client is registered. That makes the one question
//! on which a hand-over hangs exact: *does any of them still hold something that is not in the
//! kernel or in our hands?* No, as soon as everything registered has [deposited](Registration::deposit)
//! what it holds.
//!
//! ```text
//!           hold ──► each deposits its idle connection or listener
//!  Serve ◄──────────── release: each takes it back; what did not deposit is a straggler
//!    │                commit: the deposits are borrowed and sent to the successor
//!    ├──► Linger ──► Close    nobody takes over: idle ones wait a moment, then end
//! ```
//!
//! Invariants:
//! - A deposit never gets lost: it leaves the registry through its registration or at the end.
//! - While the mode is Hold a registration that has deposited does nothing.

mod handle;
mod polls;
mod room;

use std::cmp::Reverse;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atomic_waker::AtomicWaker;
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use self::handle::{Handle, Registration};
pub(crate) use self::polls::PollInProgress;
use self::room::LongestIdle;
pub(crate) use self::room::{EVICTABLE_AFTER, Room};
use crate::connections::metrics::ServerMetrics;
use crate::connections::parked::Idle;
use crate::connections::poll_counter::Polled;
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
    /// Nobody takes over: answer once more, with `Connection: close`.
    Linger,
    /// As Linger, but an idle connection ends at once.
    Close,
}

/// What the task of a registration leaves with the registry.
#[derive(Debug)]
pub(crate) enum Deposit {
    Connection(Idle),
    Listener(Listener),
}

/// The state of one server.
#[derive(Debug)]
pub(crate) struct Registry {
    server: String,
    mode: AtomicU8,
    pub(crate) metrics: ServerMetrics,
    /// How many connections there may be; at that idle ones end for others, or accepting pauses.
    limit: AtomicUsize,
    /// What is set on TCP connections.
    tcp: TcpCell,
    /// Room is wanted and nobody was idle: whoever becomes so says so.
    wants_idle: AtomicBool,
    /// The beginning of the time in which idleness is told.
    began: Instant,
    /// How often the acceptors were asked to turn.
    turns: AtomicU32,
    state: Mutex<State>,
    /// Notified whenever a wait of the drain may have come to its end.
    progress: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: Slab<Entry>,
    acceptors: usize,
    deposited: usize,
    stragglers: usize,
    upgraded: usize,
    handed_over: usize,
    /// Those that are to end for others and have not ended yet.
    evicted: usize,
    /// Who may have to end next.
    longest_idle: LongestIdle,
}

#[derive(Debug)]
struct Entry {
    signal: Arc<Signal>,
    kind: Kind,
    /// Of a connection, to say whose it is.
    fd: RawFd,
    /// Boxed: there are many entries, and most of the time none has one.
    deposit: Option<Box<Deposit>>,
    /// The deposit has been sent to the next process.
    is_sent: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Acceptor,
    Connection,
    /// Speaks another protocol now; it can be neither held nor handed over.
    Upgraded,
    /// Is the next process's, whatever the mode: its deposit is never given back.
    HandedOver,
}

/// What the registry and a registration's task share.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    waker: AtomicWaker,
    straggler: AtomicBool,
    /// Since when a connection has been idle, as [`room`] writes it.
    idle: AtomicU32,
    /// The last turn that an acceptor has made.
    turn: AtomicU32,
    polled: Polled,
}

// === impl Registry ===

impl Registry {
    pub(crate) fn new(server: String) -> Self {
        Self {
            server,
            mode: AtomicU8::new(Mode::Serve as u8),
            metrics: ServerMetrics::new(),
            limit: AtomicUsize::new(usize::MAX),
            tcp: TcpCell::default(),
            wants_idle: AtomicBool::new(false),
            began: Instant::now(),
            turns: AtomicU32::new(0),
            state: Mutex::default(),
            progress: Notify::new(),
        }
    }

    /// The server's name.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) fn join_acceptor(self: &Arc<Self>) -> Registration {
        self.join(Kind::Acceptor, -1)
    }

    pub(crate) fn join_connection(self: &Arc<Self>, socket: BorrowedFd<'_>) -> Registration {
        self.join(Kind::Connection, socket.as_raw_fd())
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

    /// Sets what is set on TCP connections from here on.
    pub(crate) fn set_tcp(&self, options: TcpOptions) {
        self.tcp.set(options);
        // Their listeners pass it on.
        self.lock().wake_acceptors();
    }

    /// What is set on TCP connections.
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

    /// Tells whether a request is in flight or a connection speaks another protocol.
    pub(crate) fn is_active(&self) -> bool {
        self.metrics.in_flight() > 0 || self.lock().upgraded > 0
    }

    /// Waits until every acceptor has been round its loop.
    pub(crate) async fn turned(&self) {
        let turn = self.turns.fetch_add(1, Ordering::SeqCst) + 1;
        self.lock().wake_acceptors();
        self.wait(|state| {
            state.entries.iter().all(|(_, entry)| {
                entry.kind != Kind::Acceptor || entry.signal.turn.load(Ordering::SeqCst) >= turn
            })
        })
        .await;
    }

    /// Asks everybody to deposit.
    pub(crate) fn hold(&self) {
        self.set_mode(Mode::Hold);
    }

    /// Waits until everybody has deposited. Upgraded connections are not waited for.
    pub(crate) async fn held(&self) {
        self.wait(State::is_held).await;
    }

    /// Waits until everybody has deposited who has no request in flight.
    pub(crate) async fn held_but_busy(&self) {
        self.wait(|state| state.awaited() as u64 <= self.metrics.in_flight()).await;
    }

    /// Gives every deposit back; answers how many had not deposited: the stragglers.
    pub(crate) fn release(&self) -> usize {
        let mut state = self.lock();
        let mut stragglers = 0;
        for (_, entry) in &mut state.entries {
            let is_one = entry.deposit.is_none() && entry.kind == Kind::Connection;
            entry.signal.straggler.store(is_one, Ordering::Relaxed);
            entry.is_sent = false;
            stragglers += usize::from(is_one);
        }
        state.stragglers = stragglers;
        drop(state);
        self.set_mode(Mode::Serve);
        stragglers
    }

    /// Waits until the stragglers of the last release have finished what they were at.
    pub(crate) async fn stragglers_finished(&self) {
        self.wait(|state| state.stragglers == 0).await;
    }

    /// Tells everybody that nobody takes over.
    pub(crate) fn linger(&self) {
        self.set_mode(Mode::Linger);
    }

    /// Ends idle connections at once.
    pub(crate) fn close(&self) {
        self.set_mode(Mode::Close);
    }

    /// Waits until every registration has ended but those that were given away.
    pub(crate) async fn ended(&self) {
        self.wait(|state| state.entries.len() == state.handed_over).await;
    }

    /// How many connections have not deposited, though somebody should wait for them.
    pub(crate) fn unheld(&self) -> usize {
        let state = self.lock();
        let busy = |entry: &Entry| entry.kind == Kind::Connection && entry.deposit.is_none();
        state.entries.iter().filter(|(_, entry)| busy(entry)).count()
    }

    /// Waits until nothing but upgraded connections is left.
    pub(crate) async fn quiet(&self) {
        self.wait(|state| state.entries.len() == state.upgraded + state.handed_over).await;
    }

    /// Waits until the upgraded connections have ended.
    pub(crate) async fn upgraded_ended(&self) {
        self.wait(|state| state.upgraded == 0).await;
    }

    /// Shows every deposit to `visit`, which may borrow but not keep them: listeners first, and last the
    /// connection that has been idle longest.
    pub(crate) fn with_deposits<R>(
        &self,
        visit: impl FnOnce(&mut dyn Iterator<Item = &Deposit>) -> R,
    ) -> R {
        let state = self.lock();
        visit(&mut state.entries.iter().filter_map(|(_, entry)| entry.deposit.as_deref()))
    }

    /// Shows every deposit that was not sent yet to `visit`, with the place to note that it was: listeners first,
    /// and who has been idle longest last, where it stays behind if there are too many.
    pub(crate) fn with_unsent_deposits<R>(
        &self,
        visit: impl FnOnce(&mut dyn Iterator<Item = (&Deposit, &mut bool)>) -> R,
    ) -> R {
        let now = self.now();
        let mut state = self.lock();
        let is_unsent =
            |(_, entry): &(usize, &mut Entry)| entry.deposit.is_some() && !entry.is_sent;
        let mut entries: Vec<_> = state.entries.iter_mut().filter(is_unsent).collect();
        entries.sort_by_cached_key(|(key, entry)| {
            (entry.kind != Kind::Acceptor, entry.order(now), Reverse(*key))
        });
        visit(&mut entries.into_iter().filter_map(|(_, entry)| {
            let Entry { deposit, is_sent, .. } = entry;
            deposit.as_deref().map(|deposit| (deposit, is_sent))
        }))
    }

    /// Keeps what was sent, and the listeners, out of all that follows: they are the next process's.
    /// Everybody else is there for [`Registry::linger`].
    pub(crate) fn set_handed_over(&self) {
        let mut state = self.lock();
        let State { entries, acceptors, handed_over, .. } = &mut *state;
        for (_, entry) in entries {
            if entry.deposit.is_none() || !(entry.is_sent || entry.kind == Kind::Acceptor) {
                continue;
            }
            *acceptors -= usize::from(entry.kind == Kind::Acceptor);
            *handed_over += 1;
            entry.kind = Kind::HandedOver;
        }
    }

    fn join(self: &Arc<Self>, kind: Kind, fd: RawFd) -> Registration {
        let signal = Arc::<Signal>::default();
        let mut state = self.lock();
        state.acceptors += usize::from(kind == Kind::Acceptor);
        let entry = Entry { signal: Arc::clone(&signal), kind, fd, deposit: None, is_sent: false };
        let key = state.entries.insert(entry);
        drop(state);
        Registration { handle: Handle { registry: Arc::clone(self), key, signal } }
    }

    fn set_mode(&self, mode: Mode) {
        let state = self.lock();
        self.mode.store(mode as u8, Ordering::SeqCst);
        for (_, entry) in &state.entries {
            entry.signal.waker.wake();
        }
        drop(state);
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
        self.entries.len() - self.deposited - self.upgraded
    }

    fn connections(&self) -> usize {
        self.entries.len() - self.acceptors - self.handed_over
    }

    fn wake_acceptors(&self) {
        for (_, entry) in &self.entries {
            if entry.kind == Kind::Acceptor {
                entry.signal.waker.wake();
            }
        }
    }
}
