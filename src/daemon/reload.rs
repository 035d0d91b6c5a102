//! What can change while the daemon runs, and the hook that brings the changes.

use std::fmt;
use std::time::Duration;

use crate::BoxError;
use crate::connections::limits::{Limits, LimitsError};
use crate::http::access::{AccessFile, AccessLog};
use crate::lifecycle::settings::LiveSettings;
#[cfg(feature = "log")]
use crate::log::Level;
#[cfg(feature = "proxy")]
use crate::proxy::service::Proxy;

/// The settings that a reload brings; what is not mentioned stays.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use lockstepd::{AccessLog, Daemon, Limits, Reload};
///
/// let daemon = Daemon::new("shop").on_reload(|| {
///     // Read and validate the whole configuration here; an error changes nothing.
///     let mut uploads = Limits::default();
///     uploads.body_timeout = Duration::from_secs(120);
///     Ok(Reload::new()
///         .access_log(AccessLog::All)
///         .limits(Limits::default())
///         .server_limits("uploads", uploads)
///         .lame_duck(Duration::from_secs(5))
///         .linger(Duration::from_secs(2))
///         .idle_exit(None)
///         .needs_restart("public.listen"))
/// });
/// # let _ = daemon;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "changes take effect when the reload hook returns them"]
#[expect(clippy::option_option, reason = "not mentioned is not the same as never")]
pub struct Reload {
    #[cfg(feature = "log")]
    pub(crate) level: Option<Level>,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) access_file: Option<Option<AccessFile>>,
    pub(crate) limits: Option<Limits>,
    pub(crate) server_limits: Vec<(String, Limits)>,
    pub(crate) lame_duck: Option<Duration>,
    pub(crate) drain_timeout: Option<Duration>,
    pub(crate) linger: Option<Duration>,
    pub(crate) idle_exit: Option<Option<Duration>>,
    /// Each with what it becomes.
    #[cfg(feature = "proxy")]
    pub(crate) proxies: Vec<(Proxy, Proxy)>,
    pub(crate) restart_for: Vec<String>,
}

/// The program's function that reads the configuration anew.
pub(crate) struct Hook(pub(crate) Box<dyn Fn() -> Result<Reload, BoxError> + Send + Sync>);

// === impl Reload ===

impl Reload {
    /// A reload that changes nothing, until settings are added.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes what is logged, if the daemon has set up the log.
    ///
    /// # Examples
    /// ```
    /// use lockstepd::Reload;
    ///
    /// let reload = Reload::new().level("info,shop=debug".parse()?);
    /// # let _ = reload;
    /// # Ok::<(), lockstepd::InvalidSetting>(())
    /// ```
    #[cfg(feature = "log")]
    pub fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// Changes which requests are logged. Servers with an access log of their own keep that.
    pub fn access_log(mut self, access_log: AccessLog) -> Self {
        self.access_log = Some(access_log);
        self
    }

    /// Changes the file that requests are written to; `None` for the log. One that is not mentioned is opened anew. If
    /// it cannot be opened the reload fails, and the file before goes on.
    ///
    /// # Examples
    /// ```
    /// use lockstepd::{AccessFile, Daemon, Reload};
    ///
    /// let daemon = Daemon::new("shop").access_file(AccessFile::new("/var/log/shop/access.log"));
    /// let daemon = daemon.on_reload(|| {
    ///     let path = std::fs::read_to_string("/etc/shop/access-log")?;
    ///     Ok(Reload::new().access_file(AccessFile::new(path.trim())))
    /// });
    /// # let _ = daemon;
    /// ```
    pub fn access_file(mut self, file: impl Into<Option<AccessFile>>) -> Self {
        self.access_file = Some(file.into());
        self
    }

    /// Changes how much time and memory a client may take. Open connections keep the time-outs that they began
    /// with. Servers with limits of their own keep those.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Changes the limits of a server that has its own, see [`Server::limits`](crate::Server::limits).
    pub fn server_limits(mut self, server: impl Into<String>, limits: Limits) -> Self {
        self.server_limits.push((server.into(), limits));
        self
    }

    /// Changes for how long clients are served on, at a stop, before the drain.
    pub fn lame_duck(mut self, time: Duration) -> Self {
        self.lame_duck = Some(time);
        self
    }

    /// Changes the drain time-out.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = Some(timeout);
        self
    }

    /// Changes how long idle connections linger.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(linger);
        self
    }

    /// Changes after how long without a request the daemon stops; `None` for never.
    pub fn idle_exit(mut self, time: Option<Duration>) -> Self {
        self.idle_exit = Some(time);
        self
    }

    /// Makes `proxy` what `new` is: its address, and its settings. What is in flight at the old address ends there. If
    /// `new` has a [health path](Proxy::health), the application at a new address has to answer it first; otherwise
    /// the reload fails, and requests go where they went before.
    ///
    /// # Examples
    /// ```
    /// use lockstepd::{Daemon, Proxy, Reload};
    ///
    /// let proxy = Proxy::to("unix:/run/shop/blue.sock").health("/up");
    /// let daemon = Daemon::new("shop").hyper_server("public", "0.0.0.0:8080", proxy.clone());
    /// let daemon = daemon.on_reload(move || {
    ///     let address = std::fs::read_to_string("/etc/shop/address")?;
    ///     Ok(Reload::new().proxy(&proxy, Proxy::to(address.trim()).health("/up")))
    /// });
    /// # let _ = daemon;
    /// ```
    #[cfg(feature = "proxy")]
    pub fn proxy(mut self, proxy: &Proxy, new: Proxy) -> Self {
        self.proxies.push((proxy.clone(), new));
        self
    }

    /// Names a setting that was changed but takes effect at the next restart only; the log warns.
    pub fn needs_restart(mut self, setting: impl Into<String>) -> Self {
        self.restart_for.push(setting.into());
        self
    }

    /// Finds out whether servers could serve anybody within the limits.
    pub(crate) fn check(&self) -> Result<(), LimitsError> {
        let named = self.server_limits.iter().map(|(_, limits)| limits);
        self.limits.iter().chain(named).try_for_each(Limits::check)
    }

    /// Finds out whether requests can be passed on where they are to go.
    ///
    /// # Errors
    /// When an application is not well.
    #[cfg(feature = "proxy")]
    pub(crate) async fn check_proxies(&self) -> Result<(), BoxError> {
        for (proxy, new) in &self.proxies {
            proxy.check_change(new).await?;
        }
        Ok(())
    }

    /// Changes the settings that this reload mentions.
    pub(crate) fn apply(&self, settings: &LiveSettings) {
        settings.update(|settings| {
            settings.lame_duck = self.lame_duck.unwrap_or(settings.lame_duck);
            settings.drain_timeout = self.drain_timeout.unwrap_or(settings.drain_timeout);
            settings.linger = self.linger.unwrap_or(settings.linger);
            settings.idle_exit = self.idle_exit.unwrap_or(settings.idle_exit);
        });
        #[cfg(feature = "proxy")]
        for (proxy, new) in &self.proxies {
            proxy.change_to(new);
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
