//! A participant, as its own task sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::{Deposit, Kind, Mode, Participants, Signal};

/// Membership in the registry; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Participant {
    pub(super) seat: Seat,
}

/// A participant's view of the registry, without the membership.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(super) participants: Arc<Participants>,
    pub(super) key: usize,
    pub(super) signal: Arc<Signal>,
}

// === impl Participant ===

impl Participant {
    /// What counts the polls of this participant's task.
    pub(crate) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.seat.signal)
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// As [`Seat::poll_mode`], and shows that the task turns.
    pub(crate) fn poll_turn(&self, cx: &Context<'_>) -> Mode {
        let mode = self.seat.poll_mode(cx);
        let Seat { participants, signal, .. } = &self.seat;
        let turn = participants.turns.load(Ordering::SeqCst);
        if signal.turn.swap(turn, Ordering::SeqCst) != turn {
            participants.progress.notify_waiters();
        }
        mode
    }

    /// Leaves `deposit` with the registry, until [`Participant::poll_released`] gives it back.
    pub(crate) fn deposit(&self, deposit: Deposit) {
        let Seat { participants, key, .. } = &self.seat;
        self.seat.finished();
        let mut registry = participants.lock();
        registry.entries[*key].deposit = Some(Box::new(deposit));
        registry.deposited += 1;
        drop(registry);
        participants.progress.notify_waiters();
    }

    /// Takes the deposit back once the mode is another than Hold.
    pub(crate) fn poll_released(&self, cx: &Context<'_>) -> Poll<Deposit> {
        if self.poll_turn(cx) == Mode::Hold {
            return Poll::Pending;
        }
        let Seat { participants, key, .. } = &self.seat;
        let mut registry = participants.lock();
        if registry.entries[*key].kind == Kind::Given {
            return Poll::Pending;
        }
        registry.deposited -= 1;
        let deposit = registry.entries[*key].deposit.take();
        drop(registry);
        Poll::Ready(*deposit.expect("only the participant itself takes its deposit back"))
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        let Seat { participants, key, .. } = &self.seat;
        self.seat.finished();
        let mut registry = participants.lock();
        let entry = registry.entries.remove(*key);
        match entry.kind {
            Kind::Acceptor => registry.acceptors -= 1,
            Kind::Upgraded => registry.upgraded -= 1,
            Kind::Given => registry.given -= 1,
            Kind::Connection => {}
        }
        registry.deposited -= usize::from(entry.deposit.is_some());
        registry.settle(entry.signal.idle.load(Ordering::SeqCst));
        if registry.connections() + 1 == participants.limit() {
            registry.wake_acceptors();
        }
        drop(registry);
        // Outside the lock: it closes a socket.
        drop(entry);
        participants.progress.notify_waiters();
    }
}

// === impl Seat ===

impl Seat {
    pub(crate) fn participants(&self) -> &Arc<Participants> {
        &self.participants
    }

    pub(crate) fn mode(&self) -> Mode {
        match self.participants.mode.load(Ordering::SeqCst) {
            0 => Mode::Serve,
            1 => Mode::Hold,
            2 => Mode::Linger,
            _ => Mode::Close,
        }
    }

    /// The mode now; the task is woken when it changes.
    pub(crate) fn poll_mode(&self, cx: &Context<'_>) -> Mode {
        // Registered before the look, so that a change after it is not missed.
        self.signal.waker.register(cx.waker());
        self.mode()
    }

    /// Says that what this participant was at, at the last release, is finished.
    pub(crate) fn finished(&self) {
        if self.signal.straggler.load(Ordering::Relaxed) {
            let mut registry = self.participants.lock();
            // Under the lock, so that nobody counts anew in between.
            if self.signal.straggler.swap(false, Ordering::Relaxed) {
                registry.stragglers -= 1;
            }
            drop(registry);
            self.participants.progress.notify_waiters();
        }
    }

    /// Says that this connection speaks another protocol from here on.
    pub(crate) fn upgraded(&self) {
        self.finished();
        let mut registry = self.participants.lock();
        match registry.entries.get_mut(self.key) {
            // Whoever has the upgraded stream may have dropped it, and the key be another's.
            Some(entry) if Arc::ptr_eq(&entry.signal, &self.signal) => entry.kind = Kind::Upgraded,
            _ => return,
        }
        registry.upgraded += 1;
        drop(registry);
        self.participants.progress.notify_waiters();
    }
}
