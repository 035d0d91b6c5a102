//! The builder.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::service::Service;

use crate::BoxError;
#[cfg(feature = "admin")]
use crate::admin::declared::DeclaredAdmin;
use crate::connections::limits::Limits;
#[cfg(feature = "admin")]
use crate::daemon::declared::DeclaredListen;
use crate::daemon::declared::{self, DeclaredTask, TaskFuture};
use crate::daemon::error::Error;
use crate::daemon::monitor::Monitor;
use crate::daemon::reload::{Hook, Reload};
use crate::daemon::server::Server;
use crate::daemon::watchdog::{Check, CheckFuture};
use crate::http::access::{AccessFile, AccessLog};
use crate::http::body::Body;
use crate::lifecycle::phase::Latch;
use crate::lifecycle::shutdown::Shutdown;
#[cfg(feature = "log")]
use crate::log::LogSettings;
use crate::sockets::inherit::Inherited;
use crate::sockets::listen::Listen;
#[cfg(all(feature = "admin", feature = "tls"))]
use crate::sockets::secured_listen::SecuredListen;
#[cfg(all(feature = "admin", feature = "tls"))]
use crate::tls::settings::Tls;

/// An HTTP daemon under construction.
///
/// Its servers and tasks start together, and when one of them ends, for whatever reason, all end.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// use axum::Router;
/// use lockstepd::{Daemon, Exit};
///
/// fn main() -> std::process::ExitCode {
///     let daemon = Daemon::new("shop")
///         .server("public", "0.0.0.0:8080", Router::new())
///         .lame_duck(Duration::from_secs(10))
///         .drain_timeout(2 * Daemon::DRAIN_TIMEOUT)
///         .linger(Daemon::LINGER / 2)
///         .hand_over(true)
///         .idle_exit(Some(Duration::from_secs(600)))
///         .watchdog_check("stock", async || Ok(()))
///         .warning("`stock` is not in the configuration: there is nothing to sell");
///     if daemon.is_dry_run() {
///         // Another process serves and has the stock.
///         return Exit::Clean.into();
///     }
///     if std::env::args().nth(1).is_some_and(|argument| argument == "check") {
///         return daemon.check();
///     }
///     daemon.run()
/// }
/// ```
#[derive(Debug)]
#[must_use = "a daemon does nothing until it runs"]
pub struct Daemon {
    #[cfg_attr(
        not(any(feature = "admin", feature = "log")),
        expect(dead_code, reason = "for log and admin server")
    )]
    pub(crate) name: String,
    pub(crate) servers: Vec<Server>,
    #[cfg(feature = "admin")]
    pub(crate) admin: DeclaredAdmin,
    pub(crate) tasks: Vec<DeclaredTask>,
    pub(crate) shutdown: Shutdown,
    pub(crate) monitor: Monitor,
    pub(crate) inherited: Option<Inherited>,
    pub(crate) checks: Vec<Check>,
    pub(crate) lame_duck: Duration,
    pub(crate) drain_timeout: Duration,
    /// None: not said.
    pub(crate) linger: Option<Duration>,
    pub(crate) hand_over: bool,
    pub(crate) idle_exit: Option<Duration>,
    pub(crate) reload: Option<Arc<Hook>>,
    /// None: not said.
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) access_file: Option<AccessFile>,
    pub(crate) limits: Limits,
    pub(crate) warnings: Vec<String>,
    #[cfg(feature = "log")]
    pub(crate) log: Option<LogSettings>,
}

// === impl Daemon ===

impl Daemon {
    /// The default of [`Daemon::drain_timeout`]: the time that requests in flight have to finish at a stop.
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

    /// The default of [`Daemon::linger`]: the time that idle connections linger where no other process takes them
    /// over.
    pub const LINGER: Duration = Duration::from_secs(1);

    /// The name of the admin server.
    #[cfg(feature = "admin")]
    pub const ADMIN: &str = "admin";

    /// Begins a daemon; `name` is its identifier in the log.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            servers: Vec::new(),
            #[cfg(feature = "admin")]
            admin: DeclaredAdmin::default(),
            tasks: Vec::new(),
            shutdown: Shutdown::default(),
            monitor: Monitor::new(),
            inherited: None,
            checks: Vec::new(),
            lame_duck: Duration::ZERO,
            drain_timeout: Self::DRAIN_TIMEOUT,
            linger: None,
            hand_over: true,
            idle_exit: None,
            reload: None,
            access_log: None,
            access_file: None,
            limits: Limits::default(),
            warnings: Vec::new(),
            #[cfg(feature = "log")]
            log: Some(LogSettings::default()),
        }
    }

    /// Adds a server for a tower service, such as an axum `Router`.
    ///
    /// It serves the sockets that the service manager passes under `name`
    /// (`FileDescriptorName=`), or else binds `listen`: a text such as `"0.0.0.0:8080"` or
    /// `"unix:/run/shop.sock"`, a socket address, an IP address with a port, a path, or a [`Listen`]. Each request carries its [`Peer`](crate::Peer) as
    /// an extension.
    pub fn server<L, S, B>(self, name: impl Into<String>, listen: L, service: S) -> Self
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
        self.add_server(Server::new(name, listen, service))
    }

    /// Adds a server for a hyper service: the shortest way from the socket to your code.
    ///
    /// Sockets are as with [`Daemon::server`]. Requests carry no extension; for those that do, see
    /// [`Server::tell_peer`].
    ///
    /// # Examples
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use hyper::{Request, Response, service::service_fn};
    /// use lockstepd::{Body, Daemon};
    ///
    /// let greet = service_fn(async |_: Request<Body>| {
    ///     Ok::<_, Infallible>(Response::new("Hello".to_owned()))
    /// });
    /// let daemon = Daemon::new("shop").hyper_server("public", "0.0.0.0:8080", greet);
    /// # let _ = daemon;
    /// ```
    pub fn hyper_server<L, S, B>(self, name: impl Into<String>, listen: L, service: S) -> Self
    where
        L: TryInto<Listen, Error: ToString>,
        S: Service<Request<Body>, Response = Response<B>> + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        self.add_server(Server::hyper(name, listen, service))
    }

    /// Adds a server that has something particular, see [`Server`].
    pub fn add_server(mut self, server: Server) -> Self {
        self.servers.push(server);
        self
    }

    /// Adds the admin server, called [`Daemon::ADMIN`]: status page, `/listener`, `/live`, `/ready`,
    /// `/status`, `/reload`, and with the feature `metrics` also `/metrics`.
    ///
    /// Every client that can reach it can stop the daemon: keep it on a loopback address or a Unix socket.
    #[cfg(feature = "admin")]
    pub fn admin<L>(mut self, listen: L) -> Self
    where
        L: TryInto<Listen, Error: ToString>,
    {
        self.admin.listen = Some(listen.try_into().map_err(|error| error.to_string()));
        self
    }

    /// Has the admin server speak TLS on `listen` as well, or alone, with these certificates.
    ///
    /// Who reaches it can stop the daemon: see to it that [`Tls::require_client_certificates`] says who that is.
    ///
    /// # Examples
    /// ```
    /// use lockstepd::{Daemon, Tls};
    ///
    /// let tls = Tls::new()
    ///     .certificate("/etc/shop/admin.pem", "/etc/shop/admin.key")
    ///     .require_client_certificates("/etc/shop/operators.pem");
    /// let daemon = Daemon::new("shop").admin_tls("0.0.0.0:8444", tls).admin_hosts(["shop.example"]);
    /// # let _ = daemon;
    /// ```
    #[cfg(all(feature = "admin", feature = "tls"))]
    pub fn admin_tls<L>(mut self, listen: L, tls: Tls) -> Self
    where
        L: TryInto<Listen, Error: ToString>,
    {
        self.admin.tls = Some(SecuredListen::new(Self::ADMIN, listen, tls));
        self.admin.listen.get_or_insert_with(|| Ok(Listen::none()));
        self
    }

    /// Allows more host names in requests to the admin server. Without any, a request has to name
    /// `localhost`, a loopback address, or an address that the server is bound to; so no web page can reach it
    /// under a name of the page's own.
    ///
    /// Pages of these hosts may send requests, too, also through a TLS proxy: from `https://NAME`, and
    /// from another port if that is in the request's `Host`.
    ///
    /// # Examples
    /// ```
    /// use lockstepd::Daemon;
    ///
    /// let daemon = Daemon::new("shop")
    ///     .admin("unix:/run/shop-admin.sock")
    ///     .admin_hosts(["status.example.com"])
    ///     .admin_users([1000]);
    /// assert_eq!(Daemon::ADMIN, "admin");
    /// # let _ = daemon;
    /// ```
    #[cfg(feature = "admin")]
    pub fn admin_hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        let normal = |host: H| host.into().trim_end_matches('.').to_ascii_lowercase();
        self.admin.guard.hosts = hosts.into_iter().map(normal).collect();
        self
    }

    /// Allows only these users, by number, and root on the admin server's Unix sockets. Default:
    /// every user that can open the socket's file.
    ///
    /// A number that a user namespace (`PrivateUsers=yes`) does not have is refused at the start: that user
    /// could not be told from others.
    #[cfg(feature = "admin")]
    pub fn admin_users(mut self, users: impl IntoIterator<Item = u32>) -> Self {
        self.admin.guard.users = users.into_iter().collect();
        self
    }

    /// Adds routes of your own to the admin server. Its guard protects them, too; where a path is one of the admin
    /// server's own, yours is not asked.
    #[cfg(feature = "admin")]
    pub fn admin_routes(mut self, routes: axum::Router) -> Self {
        self.admin.routes = Some(routes);
        self
    }

    /// Shows metrics of your own in `/metrics`, after those of the daemon, whose names begin with
    /// `lockstepd_` and `process_`.
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, registry: prometheus_client::registry::Registry) -> Self {
        self.admin.metrics_registry = Some(registry);
        self
    }

    /// Adds a member of your own, that lives and ends with the servers.
    ///
    /// `start` is called once the runtime runs. The future should end soon after
    /// [`Shutdown::triggered`], or, where handlers still need it, after
    /// [`Shutdown::at_rest`]; at the drain time-out it is dropped. If it ends before, with or
    /// without an error, everything ends.
    ///
    /// `?` makes a [`BoxError`] of any error, and a closure may end with `Ok(())`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let daemon = lockstepd::Daemon::new("shop");
    /// let daemon = daemon.task("heartbeat", |shutdown| async move {
    ///     tokio::select! {
    ///         () = shutdown.triggered() => {}
    ///         () = tokio::time::sleep(Duration::from_secs(60)) => std::fs::write("/run/shop/alive", "")?,
    ///     }
    ///     Ok(())
    /// });
    /// # let _ = daemon;
    /// ```
    pub fn task<F, T>(mut self, name: impl Into<String>, start: F) -> Self
    where
        F: FnOnce(Shutdown) -> T + Send + 'static,
        T: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let start = Box::new(move |shutdown| -> TaskFuture { Box::pin(start(shutdown)) });
        self.tasks.push(DeclaredTask { name: name.into(), start });
        self
    }

    /// Adds a warning, which is logged first at the start: for what a program finds in its configuration
    /// before the log is set up. [`Daemon::check`] writes it to standard error.
    pub fn warning(mut self, text: impl Into<String>) -> Self {
        self.warnings.push(text.into());
        self
    }

    /// Sets for how long clients are served as before, at a stop, while `/ready` says 503 already. Default: not at all.
    ///
    /// It is for load balancers that look at `/ready` and go on sending requests until they have seen that it fails,
    /// see [behind a load balancer](crate::guide::behind_a_load_balancer): longer than that takes. New connections
    /// are accepted, and no answer says `Connection: close`. Then the drain begins.
    ///
    /// A signal and a [request](crate::Cause::Request) are followed by it, once the daemon has been ready. A failure is not, and
    /// ends it; nor is an idle exit, or an upgrade in place. It always lasts its whole time, unless a second signal
    /// ends it. A unit's `TimeoutStopSec=` does not.
    ///
    /// Where systemd restarts the service and holds its sockets, no client notices a restart, and this only makes it
    /// longer: nobody can know at a stop that it is half a restart.
    pub fn lame_duck(mut self, time: Duration) -> Self {
        self.lame_duck = time;
        self
    }

    /// Sets how long requests in flight may take to finish at a stop. Default 20 s; keep it below
    /// the unit's `TimeoutStopSec=` by some seconds.
    ///
    /// If a handler or member that blocks its thread has not ended 3 s later, [`Daemon::run`] ends the process: the
    /// log names it, and the exit code is 3. [`Daemon::run_until`] does not end the process.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Sets how long idle connections may wait for a last request where no other process takes
    /// them over. Default 1 s. With no connection open the stop is immediate.
    ///
    /// It is the most that they wait. A client on the same machine, over TCP or a Unix socket, is waited for until it has
    /// sent nothing for 250 ms since its last answer, and for 20 ms at least. After Ctrl-C at a terminal nobody is
    /// waited for longer than those 20 ms.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(linger);
        self
    }

    /// Sets whether idle connections are given to the next process at a restart, through the
    /// service manager's file descriptor store. Default true.
    pub fn hand_over(mut self, hand_over: bool) -> Self {
        self.hand_over = hand_over;
        self
    }

    /// Sets after how long without a request the daemon stops, to be started again by the next
    /// client. Default: never.
    ///
    /// It takes effect only where the service manager opened every socket. Upgraded connections,
    /// and tasks as long as they run, count as activity.
    pub fn idle_exit(mut self, time: Option<Duration>) -> Self {
        self.idle_exit = time;
        self
    }

    /// Sets what a reload (`SIGHUP`, `systemctl reload`) does: read and validate the configuration
    /// whole, and return what changes. An error changes nothing, and is shown in log and STATUS.
    ///
    /// It runs on a thread where it may block, for 10 s at most.
    pub fn on_reload<F>(mut self, reload: F) -> Self
    where
        F: Fn() -> Result<Reload, BoxError> + Send + Sync + 'static,
    {
        self.reload = Some(Arc::new(Hook(Box::new(reload))));
        self
    }

    /// Sets which requests are logged. Default [`AccessLog::Errors`]; with an [access file](Daemon::access_file)
    /// [`AccessLog::All`].
    pub fn access_log(mut self, access_log: AccessLog) -> Self {
        self.access_log = Some(access_log);
        self
    }

    /// Sets a file that the requests which are logged are written to, and not to the log. None is lost while the file
    /// takes them; up to 16 MiB wait for it. Default: none.
    ///
    /// A file that cannot be opened ends the start with exit code 78.
    pub fn access_file(mut self, file: impl Into<Option<AccessFile>>) -> Self {
        self.access_file = file.into();
        self
    }

    /// Sets how much time and memory a client may take. The default limits are safe for a server on the
    /// internet.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how [`Daemon::run`] sets up the log; `None` leaves that to the program. A log that the
    /// program has set up before is left alone in any case. Default: `info`, to the journal if
    /// standard error is connected to it.
    #[cfg(feature = "log")]
    pub fn log(mut self, log: impl Into<Option<LogSettings>>) -> Self {
        self.log = log.into();
        self
    }

    /// Adds a check for the service manager's watchdog (`WatchdogSec=`): while it fails, or takes longer than a
    /// quarter of that time, the watchdog is not fed, and the log tells why. The manager then restarts the
    /// service.
    ///
    /// Check only what a restart can mend: not, for example, whether a database can be reached.
    pub fn watchdog_check<F, T>(mut self, name: impl Into<String>, check: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let check = Box::new(move || -> CheckFuture { Box::pin(check()) });
        self.checks.push(Check { name: name.into(), check });
        self
    }

    /// Gives the daemon the sockets that [`Inherited::take`] took. Default: they are taken when the daemon runs.
    pub fn inherited(mut self, inherited: Inherited) -> Self {
        self.inherited = Some(inherited);
        self
    }

    /// Holds back readiness until the latch is released; `/ready` shows `name` until then.
    pub fn latch(&self, name: impl Into<String>) -> Latch {
        self.monitor.latches.latch(name)
    }

    /// A view of the daemon for the rest of the program.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// The daemon's shutdown, for handlers that wait for it or trigger it.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// The servers with their addresses, the admin server last.
    ///
    /// # Errors
    /// When a name or an address cannot be used.
    pub(crate) fn listens(&self) -> Result<Vec<(&str, &Listen)>, Error> {
        self.limits.check()?;
        for server in &self.servers {
            server.check()?;
        }
        #[cfg(feature = "admin")]
        if let Some(host) = self.admin.guard.impossible_host() {
            return Err(Error::Configuration(format!(
                "\"{host}\" is no host name under which the admin server could be asked \
                 (write a name or an IP address, without scheme, port or *)",
            )));
        }
        #[cfg(feature = "admin")]
        if let Some(user) = self.admin.guard.unknown_user() {
            return Err(Error::Configuration(format!(
                "user {user} cannot be told from others by the admin server, as this user namespace does not \
                 have it (set PrivateUsers=no in the unit, or leave `users` empty and say with SocketUser=, \
                 SocketGroup= and SocketMode= in the socket unit who may connect)",
            )));
        }
        let servers = self.servers.iter().flat_map(Server::declared_listens);
        #[cfg(feature = "admin")]
        let servers = servers.chain(self.admin.listen.iter().map(|listen| {
            let name = Self::ADMIN;
            #[cfg(feature = "tls")]
            let has_own = self.admin.tls.is_some();
            #[cfg(not(feature = "tls"))]
            let has_own = false;
            DeclaredListen { name, listen, has_own }
        }));
        #[cfg(all(feature = "admin", feature = "tls"))]
        let servers = servers.chain(self.admin.tls.as_ref().map(DeclaredListen::from));
        declared::check(servers, &self.tasks)
    }
}
