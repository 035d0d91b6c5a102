//! Settings in the configuration file.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use std::{fs, io};

use lockstepd::{AccessLog, Address, Error, Format, Level, Target};
use serde::de::{Deserialize, Deserializer};

use super::proxy::ProxySettings;
use super::settings::{Mode, Settings, hint};
use super::tls::TlsSettings;

/// The configuration file, unless another is named.
const DEFAULT_FILE: &str = "/etc/lockstepd/lockstepd.toml";

/// The configuration file's own shape.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    #[serde(deserialize_with = "duration")]
    lame_duck: Option<Duration>,
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
    proxy: ProxySettings,
    tls: TlsSettings,
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
    max_streams: Option<u32>,
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
    #[serde(deserialize_with = "duration")]
    tcp_keepalive: Option<Duration>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ServerTable {
    #[serde(deserialize_with = "texts")]
    listen: Option<Vec<Address>>,
    #[serde(deserialize_with = "text")]
    socket_mode: Option<Mode>,
    #[serde(deserialize_with = "text")]
    proxy: Option<Address>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AdminTable {
    #[serde(deserialize_with = "texts")]
    listen: Option<Vec<Address>>,
    #[serde(deserialize_with = "text")]
    socket_mode: Option<Mode>,
    hosts: Option<Vec<String>>,
    users: Option<Vec<u32>>,
}

/// Reads the file that was named, or the default one if it exists; answers which.
pub(super) fn read(named: Option<PathBuf>) -> Result<(Option<PathBuf>, Settings), Error> {
    let is_named = named.is_some();
    let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    match fs::read_to_string(&path) {
        Ok(text) => {
            let settings = parse(&path, &text)?;
            Ok((Some(path), settings))
        }
        Err(error) if !is_named && error.kind() == io::ErrorKind::NotFound => {
            Ok((None, Settings::default()))
        }
        Err(error) => {
            let path = path.display();
            Err(Error::Configuration(format!("cannot read {path}: {error}")))
        }
    }
}

/// Parses the text of a file; errors name `path`.
fn parse(path: &Path, text: &str) -> Result<Settings, Error> {
    let file: File = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = 1 + text[..start].matches('\n').count();
        let key = key_before(text, start);
        let message = error.message().replace('\n', " ");
        let hint = key.filter(|key| wants_hint(key, text, &message)).map(hint).unwrap_or_default();
        let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
        let section = section_of(text, start, &message);
        let path = path.display();
        Error::Configuration(format!("{path}:{line}: {key}{message}{hint}{section}"))
    })?;
    Ok(Settings {
        public: file.public.listen,
        public_socket_mode: file.public.socket_mode,
        admin: file.admin.listen,
        admin_socket_mode: file.admin.socket_mode,
        admin_hosts: file.admin.hosts,
        admin_users: file.admin.users,
        lame_duck: file.lame_duck,
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
        max_streams: file.limits.max_streams,
        max_admin_body_size: file.limits.max_admin_body_size,
        first_byte_timeout: file.limits.first_byte_timeout,
        head_timeout: file.limits.head_timeout,
        body_timeout: file.limits.body_timeout,
        idle_timeout: file.limits.idle_timeout,
        write_timeout: file.limits.write_timeout,
        tcp_keepalive: file.limits.tcp_keepalive,
        proxy: ProxySettings { to: file.public.proxy, ..file.proxy },
        tls: file.tls,
    })
}

/// The key whose value stands at `at`.
fn key_before(text: &str, at: usize) -> Option<&str> {
    let line = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
    line.split_once('=').map(|(key, _)| key.trim())
}

/// What helps of the section in which `at` is, in brackets.
fn section_of(text: &str, at: usize, message: &str) -> String {
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let begun = text[line..].lines().next().filter(|line| line.starts_with('['));
    match begun {
        Some(name) if message == "duplicate key" => {
            format!(" ({name} begins further up, and has all of its keys there)")
        }
        Some(_) => String::new(),
        // A line at the end of the file belongs to the last section, which its author may not have meant.
        None => {
            let section = text[..line].lines().rev().find(|line| line.starts_with('['));
            section.map(|name| format!(" (in {name})")).unwrap_or_default()
        }
    }
}

/// Tells whether it helps to say how the value of `key` is written.
fn wants_hint(key: &str, text: &str, message: &str) -> bool {
    match key {
        // Without quotation marks an octal number is no TOML.
        "socket_mode" => true,
        "listen" | "hosts" | "users" | "trusted_proxies" | "certificates" | "keys" | "alpn"
        | "redirect" | "admin" => message.contains("expected a sequence"),
        // If the text is no TOML, the value may be right.
        _ => text.parse::<toml::Table>().is_ok(),
    }
}

// === Values of the file ===

pub(super) fn text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

pub(super) fn texts<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let values: Result<_, _> = texts.iter().map(|text| text.parse()).collect();
    values.map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every key that takes no number, with its table.
    const KEYS: [(&str, &str); 15] = [
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
        ("[public]", "proxy"),
        ("[proxy]", "wait"),
        ("[proxy]", "trusted_proxies"),
    ];

    fn parse(text: &str) -> Result<Settings, String> {
        super::parse(Path::new("x.toml"), text).map_err(|error| error.to_string())
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

    #[test]
    fn a_section_that_is_there_twice_is_told_so() {
        let error = parse("[tls]\n[admin]\n[tls]\nport = 1\n").unwrap_err();
        let told =
            "x.toml:3: duplicate key ([tls] begins further up, and has all of its keys there)";
        assert!(error.contains(told), "{error}");
        let error = parse("[log]\n[tls]\nport = 1\nport = 2\n").unwrap_err();
        assert!(error.ends_with("(in [tls])"), "{error}");
        let error = parse("[log]\n[toast]\n").unwrap_err();
        assert!(!error.contains("(in "), "{error}");
    }
}
