//! The daemon's configuration: flag before environment before file before default.

mod environment;
mod file;
mod proxy;
mod settings;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstepd::{
    AccessLog, Address, Daemon, Error, Format, Level, Limits, Listen, LogSettings, Proxy, Reload,
    Target,
};

use self::environment::Variables;
pub(crate) use self::proxy::ProxySettings;
pub(crate) use self::settings::{Mode, Settings};
#[cfg(feature = "tls")]
pub(crate) use self::tls::ClientCertificates;
pub(crate) use self::tls::TlsSettings;

/// Where the admin server listens unless told otherwise.
const ADMIN: &str = "127.0.0.1:9091";

/// Where the public server speaks TLS, unless told otherwise.
const TLS: &str = "0.0.0.0:9443";

/// The whole configuration, every setting decided.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) public: Listen,
    /// The application behind the public server, if there is one.
    pub(crate) proxy: ProxySettings,
    pub(crate) tls: TlsSettings,
    /// Where the public server speaks TLS, if it does.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "for TLS"))]
    pub(crate) tls_listen: Listen,
    /// The port that clients reach that by.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "for TLS"))]
    pub(crate) tls_port: u16,
    pub(crate) admin: Listen,
    /// The first of its addresses, for who asks it.
    pub(crate) admin_address: Address,
    pub(crate) lame_duck: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) linger: Duration,
    pub(crate) hand_over: bool,
    /// None: never.
    pub(crate) idle_exit: Option<Duration>,
    pub(crate) log_level: Level,
    pub(crate) log_target: Target,
    pub(crate) log_format: Format,
    pub(crate) access_log: AccessLog,
    pub(crate) limits: Limits,
    pub(crate) admin_hosts: Vec<String>,
    pub(crate) admin_users: Vec<u32>,
    /// The file that was read, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// Variables with the prefix `LOCKSTEPD_` that are no setting.
    pub(crate) unknown: Vec<String>,
}

// === impl Config ===

impl Config {
    /// Decides every setting; `flags` come first.
    ///
    /// # Errors
    /// When a variable or the file cannot be understood, or a file that was named is not there.
    pub(crate) fn load(file: Option<&Path>, flags: &Settings) -> Result<Self, Error> {
        let mut variables = Variables::default();
        let from_env = Settings::from_env(&mut variables)?;
        let named = variables.file();
        let file = file.map(PathBuf::from).or(named);
        let (file, from_file) = file::read(file)?;
        let settings = flags.clone().or(from_env).or(from_file);
        let defaults = LogSettings::default();
        let limits = limits(&settings);
        limits.check()?;
        settings.tls.check()?;
        let tls_address = first(settings.tls.listen.as_deref(), TLS);
        Ok(Self {
            limits,
            proxy: settings.proxy,
            tls_port: settings.tls.port.unwrap_or_else(|| port(&tls_address)),
            tls_listen: listen(settings.tls.listen.clone(), None, TLS),
            tls: settings.tls,
            admin_hosts: settings.admin_hosts.unwrap_or_default(),
            admin_users: settings.admin_users.unwrap_or_default(),
            admin_address: first(settings.admin.as_deref(), ADMIN),
            public: listen(settings.public, settings.public_socket_mode, "0.0.0.0:9090"),
            admin: listen(settings.admin, settings.admin_socket_mode, ADMIN),
            lame_duck: settings.lame_duck.unwrap_or_default(),
            drain_timeout: settings.drain_timeout.unwrap_or(Daemon::DRAIN_TIMEOUT),
            linger: settings.linger.unwrap_or(Daemon::LINGER),
            hand_over: settings.hand_over.unwrap_or(true),
            idle_exit: settings.idle_exit.filter(|time| !time.is_zero()),
            log_level: settings.log_level.unwrap_or(defaults.level),
            log_target: settings.log_target.unwrap_or_default(),
            log_format: settings.log_format.unwrap_or_default(),
            access_log: settings.access_log.unwrap_or_default(),
            file,
            unknown: variables.unknown(),
        })
    }
}

fn limits(settings: &Settings) -> Limits {
    let mut limits = Limits::default();
    limits.connections = settings.max_connections.or(limits.connections);
    limits.head_size = settings.max_head_size.unwrap_or(limits.head_size);
    limits.headers = settings.max_headers.unwrap_or(limits.headers);
    limits.streams = settings.max_streams.unwrap_or(limits.streams);
    limits.admin_body_size = settings.max_admin_body_size.unwrap_or(limits.admin_body_size);
    limits.first_byte_timeout = settings.first_byte_timeout.unwrap_or(limits.first_byte_timeout);
    limits.head_timeout = settings.head_timeout.unwrap_or(limits.head_timeout);
    limits.body_timeout = settings.body_timeout.unwrap_or(limits.body_timeout);
    limits.idle_timeout = settings.idle_timeout.unwrap_or(limits.idle_timeout);
    limits.write_timeout = settings.write_timeout.unwrap_or(limits.write_timeout);
    limits.tcp_keepalive = settings.tcp_keepalive.unwrap_or(limits.tcp_keepalive);
    limits
}

impl Config {
    /// The reload that makes this configuration `new`.
    pub(crate) fn reload(&self, new: Self, proxy: Option<&Proxy>) -> Reload {
        let fixed = [
            ("public.listen or public.socket_mode", self.public != new.public),
            (
                "public.proxy, from none or to none,",
                self.proxy.to.is_some() != new.proxy.to.is_some(),
            ),
            ("admin.listen or admin.socket_mode", self.admin != new.admin),
            ("admin.hosts", self.admin_hosts != new.admin_hosts),
            ("admin.users", self.admin_users != new.admin_users),
            ("tls, but for the content of its files,", self.tls != new.tls),
            ("hand_over", self.hand_over != new.hand_over),
            ("log.target", self.log_target != new.log_target),
            ("log.format", self.log_format != new.log_format),
        ];
        let reload = Reload::new()
            .level(new.log_level)
            .access_log(new.access_log)
            .limits(new.limits)
            .lame_duck(new.lame_duck)
            .drain_timeout(new.drain_timeout)
            .linger(new.linger)
            .idle_exit(new.idle_exit);
        let reload = match (proxy, new.proxy.proxy()) {
            (Some(proxy), Some(new)) => reload.proxy(proxy, new),
            _ => reload,
        };
        let changed = fixed.into_iter().filter(|(_, changed)| *changed);
        changed.fold(reload, |reload, (setting, _)| reload.needs_restart(setting))
    }
}

/// The first of the chosen addresses, or the default.
fn first(chosen: Option<&[Address]>, default: &str) -> Address {
    let first = chosen.and_then(|addresses| addresses.first().cloned());
    first.unwrap_or_else(|| default.parse().expect("the default is an address"))
}

/// The port of an address, or that of HTTPS where it has none.
fn port(address: &Address) -> u16 {
    match address {
        Address::Tcp(tcp) => tcp.port(),
        _ => 443,
    }
}

fn listen(chosen: Option<Vec<Address>>, mode: Option<Mode>, default: &str) -> Listen {
    let listen = match chosen {
        Some(addresses) => Listen::on(addresses),
        None => default.try_into().expect("the default is an address"),
    };
    listen.mode(mode.map_or(Listen::DEFAULT_MODE, Mode::bits))
}
