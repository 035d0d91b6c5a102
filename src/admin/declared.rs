//! The admin server as the application declares it, and how it is built from that.

use std::sync::Arc;

use axum::Router;
use hyper_util::service::TowerToHyperService;
#[cfg(feature = "metrics")]
use prometheus_client::registry::Registry as MetricsRegistry;

use super::guard::Guard;
use super::routes::{Admin, router};
use crate::connections::limits::ADMIN_IDLE;
use crate::connections::registry::Registry;
use crate::http::connection::Shared;
use crate::http::probe;
use crate::http::server::{Serve, ServerOf};
use crate::sockets::listen::Listen;
use crate::sockets::listener::Listener;
#[cfg(feature = "tls")]
use crate::sockets::secured_listen::SecuredListen;
#[cfg(feature = "tls")]
use crate::tls::acceptor::Acceptor;

/// What the builder collects for the admin server.
#[derive(Debug, Default)]
pub(crate) struct DeclaredAdmin {
    /// Absent: there is none.
    pub(crate) listen: Option<Result<Listen, String>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<SecuredListen>,
    /// What its handshakes are made with.
    #[cfg(feature = "tls")]
    pub(crate) acceptor: Option<Arc<Acceptor>>,
    pub(crate) guard: Guard,
    /// The application's own routes.
    pub(crate) routes: Option<Router>,
    /// The application's own metrics.
    #[cfg(feature = "metrics")]
    pub(crate) metrics_registry: Option<MetricsRegistry>,
}

// === impl DeclaredAdmin ===

impl DeclaredAdmin {
    /// Builds the server, with a registry that exists already.
    pub(crate) fn build(
        mut self,
        admin: Admin,
        registry: Arc<Registry>,
        listeners: &[Listener],
    ) -> Arc<dyn Serve> {
        self.guard.bound = listeners.iter().map(|listener| listener.address.clone()).collect();
        let http_settings = Arc::clone(&admin.http_settings);
        let router = router(admin, self.routes, self.guard);
        let service = TowerToHyperService::new(router);
        let shared = Shared {
            service,
            tell_peer: true,
            recalls: false,
            on_connect: None,
            title_case: false,
            probe: Some(probe::DEFAULT_PATH.to_owned()),
            idle_timeout_max: ADMIN_IDLE,
            #[cfg(feature = "tls")]
            tls: self.acceptor,
            http_settings,
        };
        Arc::new(ServerOf::with(registry, shared))
    }
}
