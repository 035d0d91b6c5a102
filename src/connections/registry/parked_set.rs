//! The set of parked connections: those that wait for a byte without a task of their own.
//!
//! A connection between two requests of which nothing but its socket is left goes out of its task, and into the
//! registry as a deposit. An epoll instance watches all of them, and one task of the server, the [`Attendant`], waits
//! for that instance. It gives a connection a task again when there is something to do: a byte has come, the client has
//! hung up, a time-out is over, it is evicted, or the server comes to its end.
//!
//! Invariants:
//! - A parked connection is a deposit. Holding has nothing to wait for, and releasing leaves it where it is.
//! - Nothing of a parked connection has been read, or waits to be written: only the kernel has something to tell of it.
//! - None is forgotten: each is watched, or among those that are due. What is due while the mode is Hold stays so until
//!   that is over.
//! - A socket is watched, and taken out of the set, under the lock: its number is that connection's. The kernel may tell of
//!   one that has left; that wakes another at worst, which finds nothing to do and is parked again.
//! - In Linger and Close none is in the set for long, and none comes into it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use rustix::event::{Timespec, epoll};
use rustix::io::{Errno, retry_on_intr};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Deposit, Entry, Handle, Kind, Mode, Registration, Registry, Signal, State};
use crate::connections::parked::Idle;
use crate::sockets::stream::Stream;

/// How many are woken at a time at most.
const BATCH: usize = 256;

/// Beside that many time-outs that concern nobody any more may wait as many as there are connections.
const STALE_MIN: usize = 64;

/// Those in the set.
#[derive(Debug, Default)]
pub(super) struct ParkedSet {
    pub(super) count: usize,
    /// For which there is something to do.
    due: Vec<usize>,
    deadlines: BinaryHeap<Reverse<Deadline>>,
}

/// When there is something to do for a connection, unless it has been woken before.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Deadline {
    /// Milliseconds since the registry began.
    end: u64,
    key: usize,
    /// What the connection's signal says while it is idle for the same time.
    idle: u32,
}

/// Watches the sockets of those in the set.
#[derive(Debug)]
pub(super) struct Watch {
    epoll: Arc<OwnedFd>,
    attendant: AtomicWaker,
}

/// A connection that needs a task.
#[derive(Debug)]
pub(crate) struct Woken {
    pub(crate) idle: Idle,
    pub(crate) registration: Registration,
    pub(crate) since: Instant,
}

/// Attends to the parked connections of one server.
#[derive(Debug)]
pub(crate) struct Attendant {
    registry: Arc<Registry>,
    epoll: AsyncFd<Arc<OwnedFd>>,
    /// The keys of connections of which the kernel has something to tell.
    told: Vec<usize>,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires, as a [`Deadline`] has it.
    timer_end: u64,
}

// === impl Registration ===

impl Registration {
    /// Parks a connection that has been idle `since` then. Its task ends, and it is given another at `end` at the
    /// latest. Gives both back where it cannot be in the set: there is more of it than its socket, nobody attends to it,
    /// the server comes to its end, the connection is to end, or the kernel cannot watch its socket.
    pub(crate) fn park(
        mut self,
        mut idle: Idle,
        since: Instant,
        end: Instant,
    ) -> Option<(Idle, Self)> {
        let Handle { registry, key, signal } = &self.handle;
        let Some(watch) = registry.watch.get() else { return Some((idle, self)) };
        // What has been read already wakes nobody.
        if !idle.is_between_requests() || !idle.stream.unregister() {
            return Some((idle, self));
        }
        self.handle.idle(since);
        let mut state = registry.lock();
        state.finish(signal);
        let is_ending = matches!(self.handle.mode(), Mode::Linger | Mode::Close);
        if is_ending || self.handle.is_evicted() || watch.arm(&mut idle.stream, *key).is_err() {
            drop(state);
            return Some((idle, self));
        }
        let entry = &mut state.entries[*key];
        (entry.kind, entry.deposit) = (Kind::Parked, Some(Box::new(Deposit::Connection(idle))));
        state.deposited += 1;
        let stamp = signal.idle.load(Ordering::SeqCst);
        let deadline = Deadline { end: registry.millis(end), key: *key, idle: stamp };
        let is_first = state.add_parked(deadline);
        drop(state);
        // The task has ended: what would wake it must not keep its memory.
        drop(signal.waker.take());
        if is_first {
            watch.attendant.wake();
        }
        registry.progress.notify_waiters();
        self.is_parked = true;
        None
    }
}

// === impl Registry ===

impl Registry {
    /// Begins to attend to parked connections; none if somebody does already.
    ///
    /// # Errors
    /// When the kernel or the runtime cannot watch them: then each stays in its task.
    pub(crate) fn attend(self: &Arc<Self>) -> io::Result<Option<Attendant>> {
        if self.watch.get().is_some() {
            return Ok(None);
        }
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        #[expect(unsafe_code, reason = "the runtime's promise about descriptors")]
        // SAFETY: the descriptor is open for as long as somebody has the Arc, and nothing replaces it.
        let registered =
            unsafe { AsyncFd::register_with_interest(Arc::clone(&epoll), Interest::READABLE) };
        let attendant = Attendant {
            registry: Arc::clone(self),
            epoll: registered?,
            told: Vec::with_capacity(BATCH),
            timer: Box::pin(sleep_until(self.began)),
            timer_end: 0,
        };
        let watch = Watch { epoll, attendant: AtomicWaker::new() };
        Ok(self.watch.set(watch).is_ok().then_some(attendant))
    }

    /// Has a connection woken, if it is parked.
    pub(super) fn wake_parked(&self, state: &mut State, key: usize) {
        if state.entries[key].kind == Kind::Parked {
            state.parked.due.push(key);
            self.wake_attendant();
        }
    }

    pub(super) fn wake_attendant(&self) {
        if let Some(watch) = self.watch.get() {
            watch.attendant.wake();
        }
    }

    /// A time, rounded up.
    fn millis(&self, time: Instant) -> u64 {
        let nanos = time.saturating_duration_since(self.began).as_nanos();
        u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// Takes a connection out of the set, if it is there.
    fn unpark(self: &Arc<Self>, state: &mut State, key: usize, now: Instant) -> Option<Woken> {
        let entry = state.entries.get_mut(key).filter(|entry| entry.kind == Kind::Parked)?;
        let Some(Deposit::Connection(idle)) = entry.deposit.take().map(|deposit| *deposit) else {
            unreachable!("what is parked is a connection");
        };
        entry.kind = Kind::Connection;
        // Each task counts its own polls: that of before may still be in its last.
        let stamp = entry.signal.idle.load(Ordering::SeqCst);
        entry.signal = Arc::new(Signal { idle: AtomicU32::new(stamp), ..Signal::default() });
        let waited = entry.order(self.stamp(now)).unwrap_or_default();
        let signal = Arc::clone(&entry.signal);
        state.deposited -= 1;
        state.parked.count -= 1;
        let handle = Handle { registry: Arc::clone(self), key, signal };
        let registration = Registration { handle, is_parked: false };
        Some(Woken { idle, registration, since: now.checked_sub(waited).unwrap_or(now) })
    }
}

// === impl State ===

impl State {
    /// Counts one that has come into the set; answers whether its time-out is the next.
    fn add_parked(&mut self, deadline: Deadline) -> bool {
        let Self { parked, entries, .. } = self;
        parked.count += 1;
        if parked.deadlines.len() > 2 * parked.count + STALE_MIN {
            let is_current = |Reverse(it): &Reverse<Deadline>| {
                entries.get(it.key).is_some_and(|entry| {
                    entry.kind == Kind::Parked
                        && entry.signal.idle.load(Ordering::SeqCst) == it.idle
                })
            };
            parked.deadlines.retain(is_current);
        }
        parked.deadlines.push(Reverse(deadline));
        parked.deadlines.peek() == Some(&Reverse(deadline))
    }

    fn all_parked(&self) -> Vec<usize> {
        let is_parked = |(_, entry): &(usize, &Entry)| entry.kind == Kind::Parked;
        self.entries.iter().filter(is_parked).map(|(key, _)| key).collect()
    }

    /// Adds those whose time-out is over to those that are due; answers when the next one is.
    fn find_due(&mut self, now: u64) -> Option<u64> {
        let Self { parked, entries, .. } = self;
        while let Some(Reverse(next)) = parked.deadlines.peek().copied() {
            let entry = entries.get(next.key).filter(|entry| entry.kind == Kind::Parked);
            let is_current =
                entry.is_some_and(|entry| entry.signal.idle.load(Ordering::SeqCst) == next.idle);
            if is_current && next.end > now {
                return Some(next.end);
            }
            parked.deadlines.pop();
            if is_current {
                parked.due.push(next.key);
            }
        }
        None
    }
}

// === impl Watch ===

impl Watch {
    /// Watches a socket until it has something to tell, once.
    fn arm(&self, stream: &mut Stream, key: usize) -> rustix::io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ONESHOT;
        let data = epoll::EventData::new_u64(key as u64);
        let socket = stream.socket().ok_or(Errno::BADF)?;
        if stream.has_been_parked {
            epoll::modify(&self.epoll, socket, data, flags)?;
        } else {
            epoll::add(&self.epoll, socket, data, flags)?;
        }
        stream.has_been_parked = true;
        Ok(())
    }
}

// === impl Attendant ===

impl Attendant {
    /// Waits for connections that need a task; none when the server has come to its end.
    pub(crate) async fn woken(&mut self) -> Option<Vec<Woken>> {
        poll_fn(|cx| self.poll_woken(cx)).await
    }

    fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<Woken>>> {
        let Self { registry, .. } = self;
        // Registered before the look, so that a change after it is not missed.
        if let Some(watch) = registry.watch.get() {
            watch.attendant.register(cx.waker());
        }
        let registry = Arc::clone(registry);
        loop {
            // What the kernel tells, it tells once. Who may do nothing about it does not ask.
            let told = match Mode::of(&registry.mode) {
                Mode::Serve => self.poll_told(cx),
                Mode::Hold | Mode::Linger | Mode::Close => Poll::Pending,
            };
            let now = Instant::now();
            let mut state = registry.lock();
            if told.is_ready() {
                state.parked.due.append(&mut self.told);
            }
            // In whole milliseconds that are over: who is woken early is parked again.
            let past = now.saturating_duration_since(registry.began).as_millis();
            let next = state.find_due(u64::try_from(past).unwrap_or(u64::MAX));
            // Only here, under the lock, does the mode stay what it is.
            let mode = Mode::of(&registry.mode);
            let keys = match mode {
                Mode::Serve => std::mem::take(&mut state.parked.due),
                #[cfg(test)]
                Mode::Hold if FORGETS.get() => {
                    state.parked.due.clear();
                    return Poll::Pending;
                }
                Mode::Hold => return Poll::Pending,
                Mode::Linger | Mode::Close => state.all_parked(),
            };
            let unpark = |key| registry.unpark(&mut state, key, now);
            let woken: Vec<_> = keys.into_iter().filter_map(unpark).collect();
            drop(state);
            if !woken.is_empty() {
                return Poll::Ready(Some(woken));
            }
            if mode != Mode::Serve {
                return Poll::Ready(None);
            }
            if told.is_pending() && self.poll_timer(next, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Asks the kernel which sockets it has something to tell of.
    fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { epoll, told, .. } = self;
        // An error of the runtime is its end.
        let Ok(mut guard) = ready!(epoll.poll_read_ready(cx)) else { return Poll::Pending };
        let mut events = [const { MaybeUninit::uninit() }; BATCH];
        let at_once = Some(&Timespec::default());
        let waited = retry_on_intr(|| {
            epoll::wait(epoll.get_ref(), &mut events, at_once).map(|(it, _)| {
                told.extend(it.iter().map(key_of));
            })
        });
        // It cannot fail otherwise: the descriptor is that of an epoll instance.
        if waited.is_err() || told.len() < BATCH {
            guard.clear_ready();
        }
        Poll::Ready(())
    }

    fn poll_timer(&mut self, next: Option<u64>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(next) = next else { return Poll::Pending };
        if self.timer_end != next {
            let Some(end) = self.registry.began.checked_add(Duration::from_millis(next)) else {
                return Poll::Pending;
            };
            self.timer.as_mut().reset(end);
            self.timer_end = next;
        }
        self.timer.as_mut().poll(cx)
    }
}

fn key_of(event: &epoll::Event) -> usize {
    let key = event.data.u64();
    usize::try_from(key).expect("it is what the socket was watched with")
}

#[cfg(test)]
thread_local! {
    /// Plants a fault: what becomes due while the mode is Hold is forgotten.
    static FORGETS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(test)]
mod tests;
