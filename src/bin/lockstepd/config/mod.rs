//! The daemon's configuration: flag before environment before file before default.

mod environment;
mod file;
mod lifecycle;
mod limits;
mod mistakes;
mod nearest;
mod proxy;
mod servers;
pub(crate) mod setting;
mod settings;
mod tls;
mod unknown;
pub(crate) mod value;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstepd::{
    AccessFile, AccessLog, Address, Daemon, Error, Format, Level, Limits, Listen, LogSettings,
    Proxy, Reload, Target,
};

use self::mistakes::Mistakes;
use self::setting::Setting;
use self::value::Mode;

pub(crate) use self::environment::{Environment, FILE as FILE_VARIABLE};
pub(crate) use self::file::DEFAULT_FILE;
pub(crate) use self::proxy::ProxySettings;
pub(crate) use self::settings::{Origin, Settings};
#[cfg(feature = "tls")]
pub(crate) use self::tls::ClientCertificates;
pub(crate) use self::tls::TlsSettings;

/// The flags that were given, with their texts.
pub(crate) type Flags = Vec<(&'static Setting, String)>;

/// Where the public server listens unless told otherwise.
const PUBLIC: &str = "0.0.0.0:9090";

/// Where the admin server listens unless told otherwise.
const ADMIN: &str = "127.0.0.1:9091";

/// Where the public server speaks TLS, unless told otherwise.
const TLS: &str = "0.0.0.0:9443";

/// The whole configuration, every setting decided.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) public: Listen,
    /// The application behind the public server, if there is one.
    pub(crate) application: Option<Address>,
    pub(crate) proxy: ProxySettings,
    pub(crate) tls: TlsSettings,
    /// Where the public server speaks TLS, if it does.
    #[cfg_attr(not(any(feature = "tls", test)), expect(dead_code, reason = "for TLS"))]
    pub(crate) tls_listen: Listen,
    /// The port that clients reach that by.
    #[cfg_attr(not(any(feature = "tls", test)), expect(dead_code, reason = "for TLS"))]
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
    /// None: lines go to the log.
    pub(crate) access_file: Option<AccessFile>,
    pub(crate) limits: Limits,
    pub(crate) admin_hosts: Vec<String>,
    pub(crate) admin_users: Vec<u32>,
    /// The files that were read.
    pub(crate) files: Vec<PathBuf>,
    /// What was chosen, and by whom.
    pub(crate) settings: Settings,
    /// Of variables that are no setting.
    pub(crate) warnings: Vec<String>,
}

// === impl Config ===

impl Config {
    /// Decides every setting; `flags` come first.
    ///
    /// # Errors
    /// When a variable or a file cannot be understood, or a file that was named is not there. Tells all mistakes.
    pub(crate) fn load(
        environment: &Environment,
        file: Option<&Path>,
        flags: &Flags,
    ) -> Result<Self, Error> {
        let mut settings = Settings::default();
        let mut mistakes = Mistakes::default();
        environment.read_rust_log(&mut settings);
        let file = file.map(PathBuf::from).or_else(|| environment.file());
        let files = file::read(file, &mut settings, &mut mistakes);
        environment.read(&mut settings, &mut mistakes);
        for (setting, text) in flags {
            let flag = format!("--{}", setting.flag());
            if let Err(why) = settings.set_text(setting, text, Origin::Flag(flag.clone())) {
                mistakes.add(format!("{flag}: {why}"));
            }
        }
        let limits = settings.limits.limits();
        if let Err(error) = limits.check() {
            mistakes.add(error.to_string());
        }
        settings.tls.check(&mut mistakes);
        mistakes.none()?;
        let decided = Self::decided(settings, limits, files);
        let warnings = environment.warnings().into_iter().chain(decided.open_admin()).collect();
        Ok(Self { warnings, ..decided })
    }

    /// Gives every setting that no source mentions its default.
    fn decided(settings: Settings, limits: Limits, files: Vec<PathBuf>) -> Self {
        let chosen = settings.clone();
        let Settings { lifecycle, log, public, proxy, tls, admin, .. } = chosen;
        let access_file = log.access_file.filter(|path| !path.as_os_str().is_empty());
        let access_log = if access_file.is_some() { AccessLog::All } else { AccessLog::default() };
        let tls_address = first(tls.listen.as_deref(), TLS);
        Self {
            limits,
            application: public.proxy,
            proxy,
            tls_port: tls.port.unwrap_or_else(|| port(&tls_address)),
            tls_listen: listen(tls.listen.clone(), None, TLS),
            tls,
            admin_hosts: admin.hosts.unwrap_or_default(),
            admin_users: admin.users.unwrap_or_default(),
            admin_address: first(admin.listen.as_deref(), ADMIN),
            public: listen(public.listen, public.socket_mode, PUBLIC),
            admin: listen(admin.listen, admin.socket_mode, ADMIN),
            lame_duck: lifecycle.lame_duck.unwrap_or_default(),
            drain_timeout: lifecycle.drain_timeout.unwrap_or(Daemon::DRAIN_TIMEOUT),
            linger: lifecycle.linger.unwrap_or(Daemon::LINGER),
            hand_over: lifecycle.hand_over.unwrap_or(true),
            idle_exit: lifecycle.idle_exit.filter(|time| !time.is_zero()),
            log_level: log.level.unwrap_or(LogSettings::default().level),
            log_target: log.target.unwrap_or_default(),
            log_format: log.format.unwrap_or_default(),
            access_log: log.access.unwrap_or(access_log),
            access_file: access_file
                .map(|path| AccessFile::new(path).format(log.access_format.unwrap_or_default())),
            files,
            settings,
            warnings: Vec::new(),
        }
    }

    /// A warning if other machines may reach the admin server, in clear text and as nobody in particular.
    fn open_admin(&self) -> Option<String> {
        let listen = self.settings.admin.listen.as_deref().unwrap_or_default();
        let is_open = |address: &&Address| match address {
            Address::Tcp(tcp) => !tcp.ip().to_canonical().is_loopback(),
            Address::Zoned { .. } => true,
            _ => false,
        };
        let open = listen.iter().find(is_open)?;
        Some(format!(
            "admin.listen has {open}: whoever reaches the admin server can stop the daemon (keep it on 127.0.0.1 or a \
             Unix socket, or use tls.admin)"
        ))
    }

    /// The proxy to the application, if there is one.
    pub(crate) fn proxy(&self) -> Option<Proxy> {
        self.proxy.proxy(self.application.as_ref())
    }

    /// Every server, by the name that its sockets have, with the addresses that it binds without them.
    pub(crate) fn servers(&self) -> Vec<(&'static str, Vec<Address>)> {
        let Settings { public, admin, tls, .. } = &self.settings;
        let or = |addresses: &Option<Vec<Address>>, default: &str| {
            let default = || vec![default.parse().expect("the default is an address")];
            addresses.clone().unwrap_or_else(default)
        };
        let mut servers =
            vec![("public", or(&public.listen, PUBLIC)), ("admin", or(&admin.listen, ADMIN))];
        if tls.is_on() {
            servers.push(("public-tls", or(&tls.listen, TLS)));
        }
        servers.extend(tls.admin.clone().map(|addresses| ("admin-tls", addresses)));
        servers.extend(tls.redirect.clone().map(|addresses| ("redirect", addresses)));
        servers
    }

    /// The reload that makes this configuration `new`.
    pub(crate) fn reload(&self, new: Self, proxy: Option<&Proxy>) -> Reload {
        let fixed = [
            ("public.listen or public.socket_mode", self.public != new.public),
            (
                "public.proxy, from none or to none,",
                self.application.is_some() != new.application.is_some(),
            ),
            ("admin.listen or admin.socket_mode", self.admin != new.admin),
            ("admin.hosts", self.admin_hosts != new.admin_hosts),
            ("admin.users", self.admin_users != new.admin_users),
            ("tls, but for the content of its files,", self.tls != new.tls),
            ("hand_over", self.hand_over != new.hand_over),
            ("log.target", self.log_target != new.log_target),
            ("log.format", self.log_format != new.log_format),
        ];
        let new_proxy = new.proxy();
        let reload = Reload::new()
            .level(new.log_level)
            .access_log(new.access_log)
            .access_file(new.access_file)
            .limits(new.limits)
            .lame_duck(new.lame_duck)
            .drain_timeout(new.drain_timeout)
            .linger(new.linger)
            .idle_exit(new.idle_exit);
        let reload = match (proxy, new_proxy) {
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

#[cfg(test)]
mod tests {
    use super::setting::Default;
    use super::*;

    /// A configuration in which settings have these values.
    fn config<'a>(values: impl IntoIterator<Item = (&'static Setting, &'a str)>) -> Config {
        let mut settings = Settings::default();
        for (setting, value) in values {
            let set = settings.set_text(setting, value, Origin::Flag(setting.flag()));
            set.unwrap_or_else(|error| panic!("{} = {value}: {error}", setting.key));
        }
        let limits = settings.limits.limits();
        Config::decided(settings, limits, Vec::new())
    }

    fn setting(key: &str) -> &'static Setting {
        Settings::table().find(|setting| setting.key == key).expect("there is such a setting")
    }

    /// A value that is not the default.
    fn other(setting: &Setting) -> &'static str {
        let values = [
            "7s",
            "7",
            "false",
            "true",
            "0600",
            "unix:/other",
            "127.0.0.1:1",
            "debug",
            "journal",
            "json",
            "all",
            "10.0.0.0/8",
            "/other",
            "accept",
            "other",
        ];
        let values = values.into_iter().filter(|value| setting.default_in_words() != *value);
        let mut values = values.filter(|value| setting.check(value::Given::Text(value)).is_ok());
        values.next().expect("one of them fits")
    }

    #[test]
    fn the_defaults_are_those_of_the_descriptions() {
        let of = |setting: &'static Setting| match setting.default {
            Default::To(value) => Some((setting, value)),
            Default::None(..) => None,
        };
        let application = (setting("public.proxy"), "unix:/application");
        let told = config(Settings::table().filter_map(of).chain([application]));
        let counts = config([application]);
        let decided = |config: &Config| {
            let Config { public, tls_listen, tls_port, admin, admin_address, limits, .. } = config;
            let Config { lame_duck, drain_timeout, linger, hand_over, idle_exit, .. } = config;
            let Config { log_level, log_target, log_format, access_log, access_file, .. } = config;
            let Config { admin_hosts, admin_users, .. } = config;
            let told = format!(
                "{public:?} {tls_listen:?} {tls_port} {admin:?} {admin_address:?} {limits:?} {lame_duck:?} \
                 {drain_timeout:?} {linger:?} {hand_over} {idle_exit:?} {log_level:?} {log_target:?} {log_format:?} \
                 {access_log:?} {access_file:?} {admin_hosts:?} {admin_users:?} {:?}",
                config.proxy()
            );
            // Whether an address was chosen counts for sockets without names, and is no default.
            told.replace("explicit: true", "explicit: false")
        };
        assert_eq!(decided(&told), decided(&counts));
    }

    #[test]
    fn what_needs_a_restart_is_told_at_a_reload_and_nothing_else() {
        for changed in Settings::table() {
            // Whether there is an application at all is another matter than which.
            let application = (setting("public.proxy"), "unix:/application");
            let [old, new] =
                [config([application]), config([application, (changed, other(changed))])];
            let reload = format!("{:?}", old.reload(new, None));
            let (_, told) = reload.rsplit_once("restart_for: ").expect("it is the last");
            let name = if changed.section() == "tls" { "tls" } else { changed.key };
            assert_eq!(told.contains(name), !changed.reload, "{}: {told}", changed.key);
            assert_eq!(told.starts_with("[]"), changed.reload, "{}: {told}", changed.key);
        }
    }
}
