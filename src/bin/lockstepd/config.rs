//! The daemon's configuration: flag before environment before file before default.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use std::{env, fs, io};

use lockstepd::{
    AccessLog, Address, Daemon, Error, Format, Level, Limits, Listen, LogSettings, Reload, Target,
};
use serde::de::{Deserialize, Deserializer};

/// The configuration file, unless another is named.
const DEFAULT_FILE: &str = "/etc/lockstepd/lockstepd.toml";

/// The whole configuration, every setting decided.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) public: Listen,
    pub(crate) admin: Listen,
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
    /// Variables with our prefix that are none of ours.
    pub(crate) unknown: Vec<String>,
}

/// The settings of one source; what it does not mention is absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) public: Option<Vec<Address>>,
    pub(crate) public_socket_mode: Option<Mode>,
    pub(crate) admin: Option<Vec<Address>>,
    pub(crate) admin_socket_mode: Option<Mode>,
    pub(crate) admin_hosts: Option<Vec<String>>,
    pub(crate) admin_users: Option<Vec<u32>>,
    pub(crate) drain_timeout: Option<Duration>,
    pub(crate) linger: Option<Duration>,
    pub(crate) hand_over: Option<bool>,
    /// Zero: never.
    pub(crate) idle_exit: Option<Duration>,
    pub(crate) log_level: Option<Level>,
    pub(crate) log_target: Option<Target>,
    pub(crate) log_format: Option<Format>,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_head_size: Option<usize>,
    pub(crate) max_headers: Option<usize>,
    pub(crate) max_admin_body_size: Option<usize>,
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) head_timeout: Option<Duration>,
    pub(crate) body_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
}

/// Permissions in octal, such as `0660`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode(u32);

/// The configuration file's own shape.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    #[serde(deserialize_with = "duration")]
    drain_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    linger: Option<Duration>,
    hand_over: Option<bool>,
    #[serde(deserialize_with = "duration")]
    idle_exit: Option<Duration>,
    log: LogTable,
    limits: LimitsTable,
    public: ServerTable,
    admin: AdminTable,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LogTable {
    #[serde(deserialize_with = "text")]
    level: Option<Level>,
    #[serde(deserialize_with = "text")]
    target: Option<Target>,
    #[serde(deserialize_with = "text")]
    format: Option<Format>,
    #[serde(deserialize_with = "text")]
    access: Option<AccessLog>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsTable {
    max_connections: Option<usize>,
    max_head_size: Option<usize>,
    max_headers: Option<usize>,
    max_admin_body_size: Option<usize>,
    #[serde(deserialize_with = "duration")]
    first_byte_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    head_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    body_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    idle_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    write_timeout: Option<Duration>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ServerTable {
    #[serde(deserialize_with = "addresses")]
    listen: Option<Vec<Address>>,
    #[serde(deserialize_with = "text")]
    socket_mode: Option<Mode>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AdminTable {
    #[serde(deserialize_with = "addresses")]
    listen: Option<Vec<Address>>,
    #[serde(deserialize_with = "text")]
    socket_mode: Option<Mode>,
    hosts: Option<Vec<String>>,
    users: Option<Vec<u32>>,
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
        let (file, from_file) = Settings::from_file(file)?;
        let settings = flags.clone().or(from_env).or(from_file);
        let defaults = LogSettings::default();
        let limits = limits(&settings);
        limits.check()?;
        Ok(Self {
            limits,
            admin_hosts: settings.admin_hosts.unwrap_or_default(),
            admin_users: settings.admin_users.unwrap_or_default(),
            public: listen(settings.public, settings.public_socket_mode, "0.0.0.0:9090"),
            admin: listen(settings.admin, settings.admin_socket_mode, "127.0.0.1:9091"),
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
    limits.admin_body_size = settings.max_admin_body_size.unwrap_or(limits.admin_body_size);
    limits.first_byte_timeout = settings.first_byte_timeout.unwrap_or(limits.first_byte_timeout);
    limits.head_timeout = settings.head_timeout.unwrap_or(limits.head_timeout);
    limits.body_timeout = settings.body_timeout.unwrap_or(limits.body_timeout);
    limits.idle_timeout = settings.idle_timeout.unwrap_or(limits.idle_timeout);
    limits.write_timeout = settings.write_timeout.unwrap_or(limits.write_timeout);
    limits
}

impl Config {
    /// What changes while the daemon runs when `new` takes the place of this configuration.
    pub(crate) fn reload(&self, new: Self) -> Reload {
        let fixed = [
            ("public.listen or public.socket_mode", self.public != new.public),
            ("admin.listen or admin.socket_mode", self.admin != new.admin),
            ("admin.hosts", self.admin_hosts != new.admin_hosts),
            ("admin.users", self.admin_users != new.admin_users),
            ("hand_over", self.hand_over != new.hand_over),
            ("log.target", self.log_target != new.log_target),
            ("log.format", self.log_format != new.log_format),
        ];
        let reload = Reload::new()
            .level(new.log_level)
            .access_log(new.access_log)
            .limits(new.limits)
            .drain_timeout(new.drain_timeout)
            .linger(new.linger)
            .idle_exit(new.idle_exit);
        let changed = fixed.into_iter().filter(|(_, changed)| *changed);
        changed.fold(reload, |reload, (setting, _)| reload.needs_restart(setting))
    }
}

fn listen(chosen: Option<Vec<Address>>, mode: Option<Mode>, default: &str) -> Listen {
    let listen = match chosen {
        Some(addresses) => Listen::on(addresses),
        None => default.try_into().expect("the default is an address"),
    };
    listen.mode(mode.map_or(Listen::DEFAULT_MODE, |mode| mode.0))
}

// === impl Settings ===

impl Settings {
    fn from_env(variables: &mut Variables) -> Result<Self, Error> {
        Ok(Self {
            public: variables.list("LOCKSTEPD_PUBLIC")?,
            public_socket_mode: variables.one("LOCKSTEPD_PUBLIC_SOCKET_MODE", Mode::from_str)?,
            admin: variables.list("LOCKSTEPD_ADMIN")?,
            admin_socket_mode: variables.one("LOCKSTEPD_ADMIN_SOCKET_MODE", Mode::from_str)?,
            admin_hosts: variables.list("LOCKSTEPD_ADMIN_HOSTS")?,
            admin_users: variables.list("LOCKSTEPD_ADMIN_USERS")?,
            drain_timeout: variables.one("LOCKSTEPD_DRAIN_TIMEOUT", humantime::parse_duration)?,
            linger: variables.one("LOCKSTEPD_LINGER", humantime::parse_duration)?,
            hand_over: variables.one("LOCKSTEPD_HAND_OVER", bool::from_str)?,
            idle_exit: variables.one("LOCKSTEPD_IDLE_EXIT", humantime::parse_duration)?,
            log_level: variables.one("LOCKSTEPD_LOG_LEVEL", Level::from_str)?,
            log_target: variables.one("LOCKSTEPD_LOG_TARGET", Target::from_str)?,
            log_format: variables.one("LOCKSTEPD_LOG_FORMAT", Format::from_str)?,
            access_log: variables.one("LOCKSTEPD_ACCESS_LOG", AccessLog::from_str)?,
            max_connections: variables.one("LOCKSTEPD_MAX_CONNECTIONS", usize::from_str)?,
            max_head_size: variables.one("LOCKSTEPD_MAX_HEAD_SIZE", usize::from_str)?,
            max_headers: variables.one("LOCKSTEPD_MAX_HEADERS", usize::from_str)?,
            max_admin_body_size: variables.one("LOCKSTEPD_MAX_ADMIN_BODY_SIZE", usize::from_str)?,
            first_byte_timeout: variables
                .one("LOCKSTEPD_FIRST_BYTE_TIMEOUT", humantime::parse_duration)?,
            head_timeout: variables.one("LOCKSTEPD_HEAD_TIMEOUT", humantime::parse_duration)?,
            body_timeout: variables.one("LOCKSTEPD_BODY_TIMEOUT", humantime::parse_duration)?,
            idle_timeout: variables.one("LOCKSTEPD_IDLE_TIMEOUT", humantime::parse_duration)?,
            write_timeout: variables.one("LOCKSTEPD_WRITE_TIMEOUT", humantime::parse_duration)?,
        })
    }

    /// Reads the file that was named, or the default one if it exists; answers which.
    fn from_file(named: Option<PathBuf>) -> Result<(Option<PathBuf>, Self), Error> {
        let is_named = named.is_some();
        let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        match fs::read_to_string(&path) {
            Ok(text) => {
                let settings = Self::parse(&path, &text)?;
                Ok((Some(path), settings))
            }
            Err(error) if !is_named && error.kind() == io::ErrorKind::NotFound => {
                Ok((None, Self::default()))
            }
            Err(error) => {
                let path = path.display();
                Err(Error::Configuration(format!("cannot read {path}: {error}")))
            }
        }
    }

    /// Reads the text of a file; `path` is where it is said to be wrong.
    fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = 1 + text[..start].matches('\n').count();
            let key = key_before(text, start);
            let message = error.message().replace('\n', " ");
            // Some values bring a hint of their own; of what is no TOML the value may be right.
            let is_toml = text.parse::<toml::Table>().is_ok();
            let has_hint = !message.contains("(write ") && (is_toml || key == Some("socket_mode"));
            let hint = key.filter(|_| has_hint).map(hint).unwrap_or_default();
            let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
            let hint = match hint {
                LIST if !message.contains("expected a sequence") => "",
                hint => hint,
            };
            // A line at the end of the file belongs to whatever section is the last.
            let section = text[..start].lines().rev().find(|line| line.starts_with('['));
            let section = section.map(|name| format!(" (in {name})")).unwrap_or_default();
            let path = path.display();
            Error::Configuration(format!("{path}:{line}: {key}{message}{hint}{section}"))
        })?;
        Ok(Self {
            public: file.public.listen,
            public_socket_mode: file.public.socket_mode,
            admin: file.admin.listen,
            admin_socket_mode: file.admin.socket_mode,
            admin_hosts: file.admin.hosts,
            admin_users: file.admin.users,
            drain_timeout: file.drain_timeout,
            linger: file.linger,
            hand_over: file.hand_over,
            idle_exit: file.idle_exit,
            log_level: file.log.level,
            log_target: file.log.target,
            log_format: file.log.format,
            access_log: file.log.access,
            max_connections: file.limits.max_connections,
            max_head_size: file.limits.max_head_size,
            max_headers: file.limits.max_headers,
            max_admin_body_size: file.limits.max_admin_body_size,
            first_byte_timeout: file.limits.first_byte_timeout,
            head_timeout: file.limits.head_timeout,
            body_timeout: file.limits.body_timeout,
            idle_timeout: file.limits.idle_timeout,
            write_timeout: file.limits.write_timeout,
        })
    }

    /// Takes from `other` what is absent here.
    fn or(self, other: Self) -> Self {
        Self {
            public: self.public.or(other.public),
            public_socket_mode: self.public_socket_mode.or(other.public_socket_mode),
            admin: self.admin.or(other.admin),
            admin_socket_mode: self.admin_socket_mode.or(other.admin_socket_mode),
            admin_hosts: self.admin_hosts.or(other.admin_hosts),
            admin_users: self.admin_users.or(other.admin_users),
            drain_timeout: self.drain_timeout.or(other.drain_timeout),
            linger: self.linger.or(other.linger),
            hand_over: self.hand_over.or(other.hand_over),
            idle_exit: self.idle_exit.or(other.idle_exit),
            log_level: self.log_level.or(other.log_level),
            log_target: self.log_target.or(other.log_target),
            log_format: self.log_format.or(other.log_format),
            access_log: self.access_log.or(other.access_log),
            max_connections: self.max_connections.or(other.max_connections),
            max_head_size: self.max_head_size.or(other.max_head_size),
            max_headers: self.max_headers.or(other.max_headers),
            max_admin_body_size: self.max_admin_body_size.or(other.max_admin_body_size),
            first_byte_timeout: self.first_byte_timeout.or(other.first_byte_timeout),
            head_timeout: self.head_timeout.or(other.head_timeout),
            body_timeout: self.body_timeout.or(other.body_timeout),
            idle_timeout: self.idle_timeout.or(other.idle_timeout),
            write_timeout: self.write_timeout.or(other.write_timeout),
        }
    }
}

/// The key whose value stands at `at`.
fn key_before(text: &str, at: usize) -> Option<&str> {
    let line = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
    line.split_once('=').map(|(key, _)| key.trim())
}

const LIST: &str = " (write a list, in brackets)";

/// How the value of a key, or of the variable that goes by its name, is written.
fn hint(key: &str) -> &'static str {
    match key {
        "listen" | "hosts" | "users" => LIST,
        "LOCKSTEPD_ADMIN_USERS" => " (write numbers, separated by commas)",
        _ => {
            let key = key.to_ascii_lowercase();
            if ["timeout", "linger", "idle_exit"].iter().any(|end| key.ends_with(end)) {
                " (write a time such as \"20s\" or \"1m 30s\")"
            } else if key.ends_with("socket_mode") {
                " (write \"0660\", with the quotation marks in the file)"
            } else if key.contains("max_") {
                " (write a whole number)"
            } else {
                ""
            }
        }
    }
}

// === impl Variables ===

/// The environment, and what of it has been asked for.
#[derive(Debug, Default)]
struct Variables {
    known: Vec<&'static str>,
}

impl Variables {
    /// What the library has for itself.
    const OF_THE_LIBRARY: [&str; 2] = ["LOCKSTEPD_CHECK", "LOCKSTEPD_UPGRADE_FD"];

    /// The name of the configuration file; empty is as good as none.
    fn file(&mut self) -> Option<PathBuf> {
        const NAME: &str = "LOCKSTEPD_CONFIG";
        self.known.push(NAME);
        env::var_os(NAME).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// The value of a variable, if it is set.
    fn one<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Error> {
        self.known.push(name);
        let Some(value) = env::var_os(name) else { return Ok(None) };
        let refused = |why: String| Error::Configuration(format!("{name}: {why}{}", hint(name)));
        let text = value.to_str().ok_or_else(|| refused("not valid UTF-8".to_owned()))?;
        parse(text).map(Some).map_err(|error| refused(error.to_string()))
    }

    /// The values of a variable that separates them with commas.
    fn list<T: FromStr<Err: Display>>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Vec<T>>, Error> {
        // An empty variable is an empty list.
        self.one(name, |text| {
            let values = text.split(',').map(str::trim).filter(|_| !text.is_empty());
            values.map(str::parse).collect()
        })
    }

    /// Those with our prefix for which nobody has asked.
    fn unknown(&self) -> Vec<String> {
        let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let is_unknown = |name: &String| {
            name.starts_with("LOCKSTEPD_")
                && !self.known.contains(&name.as_str())
                && !Self::OF_THE_LIBRARY.contains(&name.as_str())
        };
        names.filter(is_unknown).collect()
    }
}

// === impl Mode ===

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err("permissions are octal, and 0777 at most".to_owned()),
        }
    }
}

// === Values of the file ===

fn text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Address>>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let addresses: Result<_, _> = texts.iter().map(|text| text.parse()).collect();
    addresses.map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every key that takes no number, with its table.
    const KEYS: [(&str, &str); 12] = [
        ("", "drain_timeout"),
        ("", "hand_over"),
        ("", "idle_exit"),
        ("[log]", "level"),
        ("[log]", "format"),
        ("[limits]", "head_timeout"),
        ("[limits]", "write_timeout"),
        ("[public]", "listen"),
        ("[public]", "socket_mode"),
        ("[admin]", "listen"),
        ("[admin]", "hosts"),
        ("[admin]", "users"),
    ];

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("x.toml"), text).map_err(|error| error.to_string())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_the_file_holds_an_error_names_the_line(
            text in "(\\PC|\\n|\\[log\\]|linger|level|users|=|\"|\\[|\\{|1|'){0,40}",
        ) {
            if let Err(error) = parse(&text) {
                let rest = error.split_once("x.toml:").map(|(_, rest)| rest);
                let line = rest.and_then(|rest| rest.split_once(':')?.0.parse::<usize>().ok());
                let lines = text.matches('\n').count() + 1;
                prop_assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{}", error);
                prop_assert!(!error.contains('\n'), "{}", error);
            }
        }

        #[test]
        fn a_value_of_the_wrong_kind_is_told_with_its_line_and_key(
            empty in 0..9_usize,
            (table, key) in prop::sample::select(&KEYS[..]),
            value in "-?[1-9][0-9]{0,3}|1979-05-27|\\{\\}",
        ) {
            let text = format!("{}{table}\n{key} = {value}\n", "\n".repeat(empty));
            let error = parse(&text).expect_err(&text);
            prop_assert!(error.contains(&format!("x.toml:{}: {key}: ", empty + 2)), "{}", error);
        }

        #[test]
        fn a_key_that_is_not_known_is_told_with_its_line(
            empty in 0..9_usize,
            (table, _) in prop::sample::select(&KEYS[..]),
            key in "x[a-z_]{0,9}",
        ) {
            let text = format!("{}{table}\n{key} = 1\n", "\n".repeat(empty));
            let error = parse(&text).expect_err(&text);
            let expected = format!("x.toml:{}: ", empty + 2);
            prop_assert!(error.contains(&expected) && error.contains(&key), "{}", error);
        }
    }
}
