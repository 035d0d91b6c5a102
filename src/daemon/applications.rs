//! The applications behind the servers, and what of theirs goes on in the next process: tunnels, and what requests wait for.

use crate::connections::tunnel::Tunnel;
use crate::daemon::running::Running;
#[cfg(feature = "proxy")]
use crate::daemon::server::Server;
use crate::handover::shut_door::ShutDoor;
#[cfg(feature = "proxy")]
use crate::proxy::service::Proxy;
#[cfg(feature = "proxy")]
use crate::proxy::tunnel::resume;

/// Tunnels by the name of their server.
pub(crate) type Tunnels = Vec<(String, Box<Tunnel>)>;

/// The applications behind these servers; those behind shut doors are waited for from the first request on.
#[cfg(feature = "proxy")]
pub(crate) fn proxies(servers: &[Server], doors: Vec<ShutDoor>) -> Vec<(String, Proxy)> {
    let proxies: Vec<_> = servers.iter().filter_map(Server::named_proxy).collect();
    for door in doors {
        if let Some((_, proxy)) = proxies.iter().find(|(server, _)| *server == door.server) {
            proxy.shut(door);
        }
    }
    proxies
}

impl Running {
    /// The applications that requests wait for.
    #[cfg(feature = "proxy")]
    pub(crate) fn doors(&self) -> Vec<ShutDoor> {
        self.proxies.iter().filter_map(|(server, proxy)| proxy.shut_door(server)).collect()
    }

    #[cfg(not(feature = "proxy"))]
    #[expect(clippy::unused_self, reason = "with the feature it has applications")]
    pub(crate) fn doors(&self) -> Vec<ShutDoor> {
        Vec::new()
    }

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
