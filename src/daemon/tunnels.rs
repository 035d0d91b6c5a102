//! Tunnels that were taken over: each goes on in the server of its name.

use crate::connections::tunnel::Tunnel;
use crate::daemon::running::Running;
#[cfg(feature = "proxy")]
use crate::proxy::tunnel::resume;

/// Tunnels by the name of their server.
pub(crate) type Tunnels = Vec<(String, Box<Tunnel>)>;

impl Running {
    /// Gives tunnels that were taken over to the servers of their names. Where there is no such server, or no feature
    /// `proxy`, they end.
    pub(crate) fn open_tunnels(&self, tunnels: Tunnels) {
        let count = tunnels.len();
        let open = tunnels.into_iter().filter_map(|(server, tunnel)| self.open(&server, tunnel));
        let orphans = count - open.count();
        if orphans > 0 {
            tracing::warn!(
                connections = orphans,
                "closed tunnels, as this program has no server that could go on with them",
            );
        }
    }

    #[cfg(feature = "proxy")]
    fn open(&self, name: &str, tunnel: Box<Tunnel>) -> Option<()> {
        let server = self.servers.iter().find(|server| server.registry().server() == name)?;
        let registry = server.registry();
        registry.metrics.taken_over.add(1);
        tunnel.client.renew_options(registry.tcp());
        let proxy = self.proxies.iter().find(|(server, _)| server == name);
        resume(tunnel, registry, proxy.map(|(_, proxy)| proxy));
        Some(())
    }

    #[cfg(not(feature = "proxy"))]
    #[expect(clippy::unused_self, reason = "with the feature it looks for a server")]
    fn open(&self, _: &str, _: Box<Tunnel>) -> Option<()> {
        None
    }
}
