//! What is *own*: connections that cannot leave the process. These are streams of the program's own, and connections of
//! HTTP/2 from the moment when that is known.
//!
//! They have a mode of their own, and never see Hold: before a hand-over they end in order, while everything else is
//! served. Idle ones are not waited for until then; in Linger they may be used once more.
//! A listener of the program's own is held as any other, but has nothing to deposit. The hold does not wait for it: how
//! long it takes is the program's affair.

use std::sync::atomic::Ordering;

use super::{Mode, Registry, State};

// === impl Registry ===

impl Registry {
    /// Sets the mode of own streams: Linger and Close end them before a hand-over, Serve lets them go on after one that
    /// did not come about.
    pub(crate) fn end_own(&self, mode: Mode) {
        let state = self.lock();
        self.own_mode.store(mode as u8, Ordering::SeqCst);
        // Upgraded ones, too: one may be the client's end of a tunnel.
        for (_, entry) in state.entries.iter().filter(|(_, entry)| entry.signal.is_own()) {
            entry.signal.waker.wake();
        }
    }

    /// Waits until no own stream is left, but for upgraded ones.
    pub(crate) async fn own_ended(&self) {
        self.wait(|state| state.own.is_empty()).await;
    }

    /// Tells whether there is anything of the program's own.
    pub(crate) fn has_own(&self) -> bool {
        let state = self.lock();
        state.own_acceptors > 0 || !state.own.is_empty()
    }
}

// === impl State ===

impl State {
    /// How many own streams wait for a request.
    pub(super) fn own_idle(&self) -> usize {
        self.own.iter().filter(|key| self.entries[**key].is_idle()).count()
    }
}

#[cfg(test)]
mod tests {
    use std::io::stdin;
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::*;

    async fn comes(wait: impl Future<Output = ()>) -> bool {
        timeout(Duration::from_secs(1), wait).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_own_is_counted_until_it_ends_or_is_upgraded() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        assert!(!registry.has_own());
        let _socket = registry.join_connection(Some(stdin().as_fd()));
        assert!(!registry.has_own());
        let (ends, upgraded) = (registry.join_connection(None), registry.join_connection(None));
        assert!(registry.has_own() && !comes(registry.own_ended()).await);
        drop(ends);
        assert!(!comes(registry.own_ended()).await);
        upgraded.handle().upgraded();
        assert!(comes(registry.own_ended()).await && !registry.has_own());
        drop(upgraded);
        assert!(comes(registry.own_ended()).await && !registry.has_own());

        let acceptor = registry.join_own_acceptor();
        assert!(registry.has_own() && comes(registry.own_ended()).await);
        assert_eq!(registry.connections(), 1);
        drop(acceptor);
        assert!(!registry.has_own());
        assert_eq!(registry.connections(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn own_acceptors_and_idle_own_streams_deposit_nothing_and_are_not_waited_for() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        let _acceptor = registry.join_own_acceptor();
        registry.hold();
        assert!(comes(registry.held()).await);
        let own = registry.join_connection(None);
        assert!(!comes(registry.held()).await, "it may have a request");
        let (handle, waiting) = (own.handle().clone(), Arc::clone(&registry));
        let held = tokio::spawn(async move { comes(waiting.held()).await });
        tokio::task::yield_now().await;
        handle.idle(Instant::now());
        assert!(held.await.unwrap());
        handle.busy();
        assert!(!comes(registry.held()).await);
        drop(own);
        assert!(comes(registry.held()).await);
    }

    #[test]
    fn what_is_own_has_a_mode_of_its_own_until_the_server_ends() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        let (own, other) =
            (registry.join_connection(None), registry.join_connection(Some(stdin().as_fd())));
        let modes = || (own.handle().mode(), other.handle().mode());
        registry.hold();
        assert_eq!(modes(), (Mode::Serve, Mode::Hold));
        registry.end_own(Mode::Close);
        assert_eq!(modes(), (Mode::Close, Mode::Hold));
        registry.release();
        assert_eq!(modes(), (Mode::Close, Mode::Serve));
        registry.end_own(Mode::Serve);
        assert_eq!(modes(), (Mode::Serve, Mode::Serve));
        registry.linger();
        assert_eq!(modes(), (Mode::Linger, Mode::Linger));
    }
}
