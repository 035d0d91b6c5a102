//! A registration, as the registered task uses it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::{Deposit, Kind, Mode, Registry, Signal};

/// What keeps a task registered; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(super) handle: Handle,
    /// It has ended without the connection: that is in the set of parked ones.
    pub(super) is_parked: bool,
}

/// A registration's view of the registry, which does not keep it registered.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(super) registry: Arc<Registry>,
    pub(super) key: usize,
    pub(super) signal: Arc<Signal>,
}

/// A round of an acceptor's loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn(u32);

// === impl Registration ===

impl Registration {
    /// What counts the polls of this registration's task.
    pub(crate) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.handle.signal)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// As [`Handle::poll_mode`], and notes that the task has begun the round that was asked for.
    pub(crate) fn poll_turn(&self, cx: &Context<'_>) -> Mode {
        let (mode, turn) = self.poll_begin(cx);
        self.end_turn(turn);
        mode
    }

    /// As [`Handle::poll_mode`], with the round that the task begins.
    pub(crate) fn poll_begin(&self, cx: &Context<'_>) -> (Mode, Turn) {
        let Handle { registry, signal, .. } = &self.handle;
        signal.waker.register(cx.waker());
        // Before the mode: whoever sees the round is to see the mode that it was asked for after.
        let turn = registry.turns.load(Ordering::SeqCst);
        (self.handle.mode(), Turn(turn))
    }

    /// Notes that the task has done what that round is about.
    pub(crate) fn end_turn(&self, Turn(turn): Turn) {
        let Handle { registry, signal, .. } = &self.handle;
        if signal.turn.swap(turn, Ordering::SeqCst) != turn {
            registry.progress.notify_waiters();
        }
    }

    /// Leaves `deposit` with the registry, until [`Registration::poll_released`] gives it back.
    pub(crate) fn deposit(&self, deposit: Deposit) {
        let Handle { registry, key, signal } = &self.handle;
        let mut state = registry.lock();
        state.finish(signal);
        state.entries[*key].deposit = Some(Box::new(deposit));
        state.deposited += 1;
        drop(state);
        registry.progress.notify_waiters();
    }

    /// Takes the deposit back once the mode is another than Hold.
    pub(crate) fn poll_released(&self, cx: &Context<'_>) -> Poll<Deposit> {
        if self.poll_turn(cx) == Mode::Hold {
            return Poll::Pending;
        }
        let Handle { registry, key, .. } = &self.handle;
        let mut state = registry.lock();
        if state.entries[*key].kind == Kind::HandedOver {
            return Poll::Pending;
        }
        state.deposited -= 1;
        let deposit = state.entries[*key].deposit.take();
        drop(state);
        Poll::Ready(*deposit.expect("only the registration itself takes its deposit back"))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.is_parked {
            return;
        }
        let Handle { registry, key, signal } = &self.handle;
        let mut state = registry.lock();
        state.finish(signal);
        let entry = state.entries.remove(*key);
        match entry.kind {
            Kind::Acceptor => state.acceptors -= 1,
            Kind::OwnAcceptor => {
                state.acceptors -= 1;
                state.own_acceptors -= 1;
            }
            Kind::Upgraded => state.upgraded -= 1,
            Kind::Tunnel => state.tunnels -= 1,
            Kind::HandedOver => state.handed_over -= 1,
            Kind::Connection => {
                state.own.remove(key);
            }
            Kind::Parked => unreachable!("what is parked has no registration"),
        }
        state.deposited -= usize::from(entry.deposit.is_some());
        state.count_out(entry.signal.idle.load(Ordering::SeqCst));
        if state.connections() + 1 == registry.limit() {
            state.wake_acceptors();
        }
        drop(state);
        // Outside the lock: it closes a socket.
        drop(entry);
        registry.progress.notify_waiters();
    }
}

// === impl Handle ===

impl Handle {
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(crate) fn mode(&self) -> Mode {
        match Mode::of(&self.registry.mode) {
            Mode::Serve | Mode::Hold if self.signal.is_own() => Mode::of(&self.registry.own_mode),
            mode => mode,
        }
    }

    /// The mode now; the task is woken when it changes.
    pub(crate) fn poll_mode(&self, cx: &Context<'_>) -> Mode {
        // Registered before the look, so that a change after it is not missed.
        self.signal.waker.register(cx.waker());
        self.mode()
    }

    /// Says that the request which was in flight at the last release, if one was, is finished.
    pub(crate) fn finished(&self) {
        if self.signal.straggler.load(Ordering::Relaxed) {
            self.registry.lock().finish(&self.signal);
            self.registry.progress.notify_waiters();
        }
    }

    /// Says that this connection cannot be handed over, as what its client and this process know of each other cannot.
    #[cfg(feature = "http2")]
    pub(crate) fn becomes_own(&self) {
        let mut state = self.registry.lock();
        self.signal.is_own.store(true, Ordering::Relaxed);
        state.own.insert(self.key);
        drop(state);
        // It may be another mode that it obeys from here on.
        self.signal.waker.wake();
    }

    /// Says that this connection speaks another protocol from here on.
    pub(crate) fn upgraded(&self) {
        let mut state = self.registry.lock();
        state.finish(&self.signal);
        match state.entries.get_mut(self.key) {
            // The service may have dropped the upgraded stream, and with it the registration: then the key
            // may be that of another connection.
            Some(entry)
                if Arc::ptr_eq(&entry.signal, &self.signal) && entry.kind == Kind::Connection =>
            {
                entry.kind = Kind::Upgraded;
            }
            _ => return,
        }
        state.own.remove(&self.key);
        state.upgraded += 1;
        drop(state);
        self.registry.progress.notify_waiters();
    }
}
