//! What is *own*: listeners and streams of the program's own, which cannot leave the process.
//!
//! It has a mode of its own, and never sees Hold: before a hand-over it ends in order, while everything else is served.

use std::sync::atomic::Ordering;

use super::{Mode, Registry};

// === impl Registry ===

impl Registry {
    /// Sets the mode of what is own: Linger and Close end it before a hand-over, Serve lets it go on after one that
    /// did not come about.
    pub(crate) fn end_own(&self, mode: Mode) {
        let state = self.lock();
        self.own_mode.store(mode as u8, Ordering::SeqCst);
        for (_, entry) in &state.entries {
            if entry.signal.is_own {
                entry.signal.waker.wake();
            }
        }
    }

    /// Waits until no own connection is left, but for upgraded ones.
    pub(crate) async fn own_ended(&self) {
        self.wait(|state| state.own_connections == 0).await;
    }

    /// Tells whether there is anything own.
    pub(crate) fn has_own(&self) -> bool {
        let state = self.lock();
        state.own_acceptors + state.own_connections > 0
    }
}

#[cfg(test)]
mod tests {
    use std::io::stdin;
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;

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
    async fn an_own_acceptor_deposits_nothing_and_is_not_waited_for() {
        let registry = Arc::new(Registry::new("test".to_owned()));
        let _acceptor = registry.join_own_acceptor();
        registry.hold();
        assert!(comes(registry.held()).await);
        let own = registry.join_connection(None);
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
