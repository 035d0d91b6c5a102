//! A server as the program declares it.

#[cfg(feature = "proxy")]
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, Request, Response};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::BoxError;
use crate::connections::limits::Limits;
use crate::daemon::declared::DeclaredListen;
use crate::daemon::error::Error;
use crate::http::access::AccessLog;
use crate::http::body::Body;
use crate::http::connection::{HttpSettings, Shared};
use crate::http::on_connect::OnConnect;
use crate::http::probe;
use crate::http::server::{Serve, ServerOf};
use crate::http::service::HttpService;
#[cfg(all(feature = "admin", feature = "proxy"))]
use crate::proxy::overview::ProxyOverview;
#[cfg(feature = "proxy")]
use crate::proxy::service::Proxy;
use crate::sockets::listen::Listen;
use crate::sockets::own_listener::{Accept, OwnListener};
use crate::sockets::peer::Connection;
#[cfg(feature = "tls")]
use crate::sockets::secured_listen::SecuredListen;
#[cfg(feature = "tls")]
use crate::tls::acceptor::Acceptor;
#[cfg(feature = "tls")]
use crate::tls::settings::Tls;

/// A server of a daemon: a service, its addresses, and what is particular to it.
///
/// [`Daemon::add_server`](crate::Daemon::add_server) takes it; [`Daemon::server`](crate::Daemon::server) is the
/// short way for a server with nothing particular.
///
/// # Examples
/// ```
/// use axum::{Router, routing::get};
/// use lockstepd::{Daemon, Server};
///
/// let router = Router::new().route("/", get(|| async { "Hello" }));
/// let daemon = Daemon::new("shop").add_server(Server::new("public", "0.0.0.0:8080", router));
/// # let _ = daemon;
/// ```
#[must_use = "a server does nothing until a daemon has it"]
pub struct Server {
    pub(crate) name: String,
    pub(crate) listen: Result<Listen, String>,
    pub(crate) own_listeners: Vec<OwnListener>,
    /// The service is this.
    #[cfg(feature = "proxy")]
    pub(crate) proxy: Option<Proxy>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<SecuredListen>,
    particulars: Particulars,
    build: Box<dyn FnOnce(Particulars, Arc<HttpSettings>) -> Arc<dyn Serve> + Send>,
}

/// What is particular to a server.
#[derive(Debug)]
struct Particulars {
    /// Each request carries its peer as an extension.
    tell_peer: bool,
    recalls: bool,
    on_connect: Option<OnConnect>,
    title_case: bool,
    /// What the watchdog asks the service for.
    probe: Option<String>,
    /// None: the daemon's.
    limits: Option<Limits>,
    access_log: Option<AccessLog>,
    drain_timeout: Option<Duration>,
    /// What handshakes are made with.
    #[cfg(feature = "tls")]
    acceptor: Option<Arc<Acceptor>>,
}

/// Which settings a server does not share with the daemon.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Own {
    pub(crate) limits: bool,
    pub(crate) access_log: bool,
}

// === impl Server ===

impl Server {
    /// A server for a tower service, such as an axum `Router`.
    ///
    /// It serves the sockets that the service manager passes under `name`
    /// (`FileDescriptorName=`), or else binds `listen`: a text such as `"0.0.0.0:8080"` or
    /// `"unix:/run/shop.sock"`, a socket address, an IP address with a port, a path, or a [`Listen`]. Each request
    /// carries its [`Peer`](crate::Peer) as an extension; with the feature `axum` one of a TCP client also carries
    /// axum's `ConnectInfo<SocketAddr>`.
    pub fn new<L, S, B>(name: impl Into<String>, listen: L, service: S) -> Self
    where
        L: TryInto<Listen, Error: ToString>,
        S: tower_service::Service<Request<Body>, Response = Response<B>>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        Self::declare(name.into(), listen, TowerToHyperService::new(service)).tell_peer(true)
    }

    /// A server for a hyper service: the shortest way from the socket to your code.
    ///
    /// Sockets are as with [`Server::new`]. Requests carry no extension unless
    /// [`Server::tell_peer`] asks for it; a `Proxy` knows its clients without. The watchdog does not ask one,
    /// since a restart mends no application.
    pub fn hyper<L, S, B>(name: impl Into<String>, listen: L, service: S) -> Self
    where
        L: TryInto<Listen, Error: ToString>,
        S: Service<Request<Body>, Response = Response<B>> + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        #[cfg(feature = "proxy")]
        let proxy = (&service as &dyn Any).downcast_ref::<Proxy>().cloned();
        let server = Self::declare(name.into(), listen, service);
        #[cfg(feature = "proxy")]
        if let Some(proxy) = proxy {
            let mut server = server.watchdog_path(None);
            server.particulars.recalls = true;
            server.proxy = Some(proxy);
            return server;
        }
        server
    }

    fn declare<L, S>(name: String, listen: L, service: S) -> Self
    where
        L: TryInto<Listen, Error: ToString>,
        S: HttpService,
    {
        let server = name.clone();
        let build = Box::new(move |particulars: Particulars, http_settings| -> Arc<dyn Serve> {
            Arc::new(ServerOf::new(
                server,
                Shared {
                    service,
                    tell_peer: particulars.tell_peer,
                    recalls: particulars.recalls,
                    on_connect: particulars.on_connect,
                    title_case: particulars.title_case,
                    probe: particulars.probe,
                    idle_timeout_max: Duration::MAX,
                    #[cfg(feature = "tls")]
                    tls: particulars.acceptor,
                    http_settings,
                },
            ))
        });
        Self {
            name,
            listen: listen.try_into().map_err(|error| error.to_string()),
            own_listeners: Vec::new(),
            #[cfg(feature = "proxy")]
            proxy: None,
            #[cfg(feature = "tls")]
            tls: None,
            particulars: Particulars::default(),
            build,
        }
    }

    /// Sets whether each request carries its [`Peer`](crate::Peer) as an extension, which costs an
    /// allocation. Default: true for a tower service, false for a hyper service.
    pub fn tell_peer(mut self, tell: bool) -> Self {
        self.particulars.tell_peer = tell;
        self
    }

    /// Sets what each request of a connection carries as extensions.
    ///
    /// `made` is called once for a connection, before its first request is read: also for a client that then hangs
    /// up without one, and again in the next process for a connection that is handed over. Each request gets a
    /// clone of what it returns, so that what requests are to share is in an [`Arc`]; an extension of a type that a
    /// request has anyway, such as [`Peer`](crate::Peer), replaces that. If it panics the connection is closed
    /// without an answer, and no other is. It runs in the server's threads: it must not block.
    ///
    /// # Examples
    /// ```
    /// use std::sync::{Arc, atomic::AtomicU64};
    ///
    /// use axum::{Extension, Router, routing::get};
    /// use http::Extensions;
    /// use lockstepd::{Address, Server};
    ///
    /// /// Where the client has connected to, and how many requests it has sent there.
    /// #[derive(Clone)]
    /// struct Client(Option<Address>, Arc<AtomicU64>);
    ///
    /// async fn greet(Extension(Client(address, requests)): Extension<Client>) -> String {
    ///     let requests = requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
    ///     format!("{requests} to {address:?}")
    /// }
    ///
    /// let server = Server::new("public", "0.0.0.0:8080", Router::new().route("/", get(greet)))
    ///     .on_connect(|connection| {
    ///         let mut extensions = Extensions::new();
    ///         extensions.insert(Client(connection.local_address(), Arc::default()));
    ///         extensions
    ///     });
    /// # let _ = server;
    /// ```
    pub fn on_connect<F>(mut self, made: F) -> Self
    where
        F: Fn(Connection<'_>) -> Extensions + Send + Sync + 'static,
    {
        self.particulars.on_connect = Some(OnConnect(Box::new(made)));
        self
    }

    /// Sets how much time and memory a client of this server may take, instead of
    /// [`Daemon::limits`](crate::Daemon::limits). A reload changes them only by
    /// [`Reload::server_limits`](crate::Reload::server_limits).
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// use lockstepd::{Limits, Server};
    ///
    /// let mut uploads = Limits::default();
    /// uploads.body_timeout = Duration::from_secs(120);
    /// let server = Server::new("uploads", "127.0.0.1:8081", axum::Router::new()).limits(uploads);
    /// # let _ = server;
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.particulars.limits = Some(limits);
        self
    }

    /// Sets which requests to this server are logged, instead of
    /// [`Daemon::access_log`](crate::Daemon::access_log). A reload does not change it.
    pub fn access_log(mut self, access_log: AccessLog) -> Self {
        self.particulars.access_log = Some(access_log);
        self
    }

    /// Sets how long a stop waits for requests to this server, instead of
    /// [`Daemon::drain_timeout`](crate::Daemon::drain_timeout). The stop may take as long as the longest of these;
    /// keep it below the unit's `TimeoutStopSec=` by some seconds. A request whose server's time is over is not waited
    /// for any more: it is cut off when all other servers are done.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.particulars.drain_timeout = Some(timeout);
        self
    }

    /// Sets whether the names of fields in answers are written as `Content-Length`, for clients that do not
    /// know that case does not matter. Default false: `content-length`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// use lockstepd::{AccessLog, Server};
    ///
    /// let old = Server::new("old", "127.0.0.1:8082", axum::Router::new())
    ///     .access_log(AccessLog::All)
    ///     .drain_timeout(Duration::from_secs(60))
    ///     .title_case_headers(true);
    /// # let _ = old;
    /// ```
    pub fn title_case_headers(mut self, title: bool) -> Self {
        self.particulars.title_case = title;
        self
    }

    /// Accepts clients from `listener` as well: over vsock, through a tunnel, in memory. A server without any address
    /// besides has [`Listen::none`].
    ///
    /// See [`Accept`] for an example, and for what a restart costs such clients. A daemon with such a server is not stopped by [`Daemon::idle_exit`]: no client of
    /// the listener could start it again.
    ///
    /// [`Daemon::idle_exit`]: crate::Daemon::idle_exit
    pub fn accept_from(mut self, listener: impl Accept) -> Self {
        self.own_listeners.push(OwnListener::new(listener));
        self
    }

    /// Serves TLS on `listen` as well, with these certificates. A server for TLS alone has [`Listen::none`] besides.
    ///
    /// The sockets that the service manager passes for it are named `NAME-tls`, where the server is `NAME`; they take the
    /// place of `listen`. Connections with TLS outlive the process as all others do: at a restart and at an upgrade in
    /// place each goes on where it was. A handshake that is under way is waited for, for 1 s.
    ///
    /// # Examples
    /// ```
    /// use axum::Router;
    /// use lockstepd::{Daemon, Listen, Server, Tls};
    ///
    /// let tls = Tls::new().certificate("/etc/shop/cert.pem", "/etc/shop/key.pem");
    /// let server = Server::new("public", Listen::none(), Router::new()).tls("0.0.0.0:8443", tls);
    /// let daemon = Daemon::new("shop").add_server(server);
    /// # let _ = daemon;
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls<L>(mut self, listen: L, tls: Tls) -> Self
    where
        L: TryInto<Listen, Error: ToString>,
    {
        self.tls = Some(SecuredListen::new(&self.name, listen, tls));
        self
    }

    /// Sets what handshakes are made with.
    #[cfg(feature = "tls")]
    pub(crate) fn set_acceptor(&mut self, acceptor: Option<Arc<Acceptor>>) {
        self.particulars.acceptor = acceptor;
    }

    /// The proxy that it is, with the server's name.
    #[cfg(feature = "proxy")]
    pub(crate) fn named_proxy(&self) -> Option<(String, Proxy)> {
        Some((self.name.clone(), self.proxy.clone()?))
    }

    /// The application that requests are passed on to, for the admin server.
    #[cfg(all(feature = "admin", feature = "proxy"))]
    pub(crate) fn application(&self) -> Option<ProxyOverview> {
        self.named_proxy().map(|(server, proxy)| ProxyOverview { server, proxy })
    }

    /// Where it listens, and behind that where it listens for TLS.
    pub(crate) fn declared_listens(&self) -> impl Iterator<Item = DeclaredListen<'_>> {
        let has_own = !self.own_listeners.is_empty();
        #[cfg(feature = "tls")]
        let has_own = has_own || self.tls.is_some();
        let listens =
            [DeclaredListen { name: &self.name, listen: &self.listen, has_own }].into_iter();
        #[cfg(feature = "tls")]
        let listens = listens.chain(self.tls.as_ref().map(DeclaredListen::from));
        listens
    }

    /// Sets the path that the watchdog asks the service for; with `None` it does not ask. Default `/`.
    ///
    /// An answer of any status will do, if it comes within a quarter of `WatchdogSec=`. If none comes, the service manager
    /// restarts the daemon: so the path has to be one whose answer waits for nothing that a restart cannot mend, such as
    /// a database or the server behind a proxy. Without a path the watchdog still notices blocked threads.
    ///
    /// # Examples
    /// ```
    /// use axum::{Router, routing::get};
    /// use lockstepd::Server;
    ///
    /// let shop = Router::new().route("/live", get(|| async { "alive" }));
    /// let shop = Server::new("public", "0.0.0.0:8080", shop).watchdog_path(Some("/live"));
    /// let proxy = Server::new("proxy", "0.0.0.0:8081", Router::new()).watchdog_path(None);
    /// # let _ = (shop, proxy);
    /// ```
    pub fn watchdog_path(mut self, path: Option<&str>) -> Self {
        self.particulars.probe = path.map(str::to_owned);
        self
    }

    /// Checks what could not be checked when it was declared.
    ///
    /// # Errors
    /// When the limits or the watchdog's path cannot be.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(limits) = &self.particulars.limits {
            limits.check()?;
        }
        let probe = self.particulars.probe.as_deref().unwrap_or(probe::DEFAULT_PATH);
        if !probe::is_path(probe) {
            return Err(Error::Configuration(format!(
                "the watchdog cannot ask \"{}\" for \"{}\": a path begins with / and has no spaces",
                self.name,
                probe.escape_debug(),
            )));
        }
        #[cfg(feature = "proxy")]
        if let Some(error) = self.proxy.as_ref().and_then(Proxy::problem) {
            let name = &self.name;
            return Err(Error::Configuration(format!(
                "cannot pass on what \"{name}\" gets: {error}"
            )));
        }
        Ok(())
    }

    /// The limits of its own.
    pub(crate) fn own_limits(&self) -> Option<&Limits> {
        self.particulars.limits.as_ref()
    }

    /// Builds the server that serves, with settings of its own where it has any; answers what a reload may change of
    /// them.
    pub(crate) fn build(self, common: &Arc<HttpSettings>) -> (Arc<dyn Serve>, Own) {
        let Particulars { limits, access_log, .. } = &self.particulars;
        let own = Own { limits: limits.is_some(), access_log: access_log.is_some() };
        let settings = if own == Own::default() {
            Arc::clone(common)
        } else {
            let limits = limits.clone().unwrap_or_else(|| (*common.limits()).clone());
            let access_log = access_log.unwrap_or_else(|| common.access.mode());
            let settings = HttpSettings::new(access_log, limits);
            settings.access.follow(&common.access);
            Arc::new(settings)
        };
        let drain_timeout = self.particulars.drain_timeout;
        let server = (self.build)(self.particulars, settings);
        if let Some(timeout) = drain_timeout {
            server.registry().set_drain_timeout(timeout);
        }
        (server, own)
    }
}

impl Default for Particulars {
    fn default() -> Self {
        Self {
            tell_peer: false,
            recalls: false,
            on_connect: None,
            title_case: false,
            probe: Some(probe::DEFAULT_PATH.to_owned()),
            limits: None,
            access_log: None,
            drain_timeout: None,
            #[cfg(feature = "tls")]
            acceptor: None,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("listen", &self.listen)
            .field("own_listeners", &self.own_listeners)
            .field("particulars", &self.particulars)
            .finish_non_exhaustive()
    }
}
