//! The start of the admin server, which shows the others.

use std::sync::Arc;
use std::time::SystemTime;

use crate::admin::declared::DeclaredAdmin;
#[cfg(feature = "metrics")]
use crate::admin::metrics::Metrics;
use crate::admin::routes::Admin;
use crate::connections::overview::{HandOver, ServerOverview};
use crate::connections::registry::Registry;
use crate::daemon::builder::Daemon;
use crate::daemon::error::Error;
use crate::daemon::running::Running;
use crate::daemon::start::register;
#[cfg(feature = "tls")]
use crate::daemon::tls::with_secured;
use crate::http::server::{self, Failure, Serve};
#[cfg(feature = "proxy")]
use crate::proxy::overview::ProxyOverview;
use crate::sockets::listener::Bound;

/// What it shows, besides the daemon that runs.
pub(crate) struct Shown {
    pub(crate) name: String,
    /// The program's servers.
    pub(crate) views: Vec<ServerOverview>,
    pub(crate) hand_over: Option<HandOver>,
    #[cfg(feature = "proxy")]
    pub(crate) applications: Vec<ProxyOverview>,
}

impl Running {
    /// Starts it on the next of `sockets`; answers all servers, of which it is the last.
    pub(crate) fn start_admin(
        &mut self,
        #[cfg_attr(not(feature = "metrics"), expect(unused_mut, reason = "its metrics are taken"))]
        mut declared: DeclaredAdmin,
        shown: Shown,
        sockets: &mut impl Iterator<Item = Vec<Bound>>,
    ) -> Result<Vec<ServerOverview>, Error> {
        let registry = Arc::new(Registry::new(Daemon::ADMIN.to_owned()));
        registry.set_tcp(self.http_settings.limits().tcp_options());
        let listeners = register(sockets.next())?;
        #[cfg(feature = "tls")]
        let listeners = with_secured(listeners, declared.tls.is_some(), sockets)?;
        let mut views = shown.views;
        views.push(ServerOverview::new(&registry, &listeners, 0));
        let (failure, failures) = Failure::channel();
        #[cfg(feature = "metrics")]
        let metrics = self.metrics(&views, declared.metrics_registry.take());
        #[cfg(all(feature = "metrics", feature = "proxy"))]
        let metrics = metrics.with_applications(shown.applications.clone());
        #[cfg(all(feature = "metrics", feature = "tls"))]
        let metrics = metrics.with_tls(self.acceptors.clone());
        let settings = |server: &Arc<dyn Serve>| Arc::clone(server.http_settings());
        let admin = Admin {
            name: shown.name,
            started: self.process.started,
            started_at: SystemTime::now() - self.process.started.elapsed(),
            phases: self.phases.clone(),
            latches: self.latches.clone(),
            shutdown: self.shutdown.clone(),
            failure,
            #[cfg(feature = "metrics")]
            metrics: Arc::new(metrics),
            servers: views.clone(),
            hand_over: shown.hand_over,
            http_settings: Arc::clone(&self.http_settings),
            own_settings: self.servers.iter().map(settings).collect(),
            settings: self.settings.clone(),
            #[cfg(feature = "proxy")]
            applications: shown.applications,
            reload: Arc::clone(&self.reload_request),
            #[cfg(feature = "tls")]
            acceptors: self.acceptors.clone(),
        };
        let server = declared.build(admin, registry, &listeners);
        let run = server::run(Arc::clone(&server), listeners, Vec::new(), failures);
        self.group.spawn(Daemon::ADMIN, run);
        self.admin = Some(server);
        Ok(views)
    }

    /// What is counted of the daemon, for `/metrics`.
    #[cfg(feature = "metrics")]
    fn metrics(
        &self,
        views: &[ServerOverview],
        own: Option<prometheus_client::registry::Registry>,
    ) -> Metrics {
        let registries = views.iter().map(|view| Arc::clone(&view.registry)).collect();
        let (reloads, history) = (Arc::clone(&self.reloads), Arc::clone(&self.history));
        Metrics::new(registries, self.phases.clone(), reloads, history, own)
    }
}
