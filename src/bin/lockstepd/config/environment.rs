//! Settings in environment variables.

use std::env;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use lockstepd::{AccessLog, Error, Format, Level, Target};

use super::proxy::ProxySettings;
use super::settings::{Mode, Settings, hint};
use super::tls::TlsSettings;

/// The environment, and the names of the settings in it.
#[derive(Debug, Default)]
pub(super) struct Variables {
    known: Vec<&'static str>,
}

// === impl Variables ===

impl Variables {
    /// The variables that the library uses itself.
    const OF_THE_LIBRARY: [&str; 2] = ["LOCKSTEPD_CHECK", "LOCKSTEPD_UPGRADE_FD"];

    /// The name of the configuration file; empty is as good as none.
    pub(super) fn file(&mut self) -> Option<PathBuf> {
        const NAME: &str = "LOCKSTEPD_CONFIG";
        self.known.push(NAME);
        env::var_os(NAME).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// The value of a variable, if it is set.
    pub(super) fn one<T, E: Display>(
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
    pub(super) fn list<T: FromStr<Err: Display>>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Vec<T>>, Error> {
        // An empty variable is an empty list.
        self.one(name, |text| {
            let values = text.split(',').map(str::trim).filter(|_| !text.is_empty());
            values.map(str::parse).collect()
        })
    }

    /// The variables with the prefix `LOCKSTEPD_` that are no setting.
    pub(super) fn unknown(&self) -> Vec<String> {
        let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let is_unknown = |name: &String| {
            name.starts_with("LOCKSTEPD_")
                && !self.known.contains(&name.as_str())
                && !Self::OF_THE_LIBRARY.contains(&name.as_str())
        };
        names.filter(is_unknown).collect()
    }
}

// === impl Settings ===

impl Settings {
    pub(super) fn from_env(variables: &mut Variables) -> Result<Self, Error> {
        Ok(Self {
            public: variables.list("LOCKSTEPD_PUBLIC")?,
            public_socket_mode: variables.one("LOCKSTEPD_PUBLIC_SOCKET_MODE", Mode::from_str)?,
            admin: variables.list("LOCKSTEPD_ADMIN")?,
            admin_socket_mode: variables.one("LOCKSTEPD_ADMIN_SOCKET_MODE", Mode::from_str)?,
            admin_hosts: variables.list("LOCKSTEPD_ADMIN_HOSTS")?,
            admin_users: variables.list("LOCKSTEPD_ADMIN_USERS")?,
            lame_duck: variables.one("LOCKSTEPD_LAME_DUCK", humantime::parse_duration)?,
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
            max_streams: variables.one("LOCKSTEPD_MAX_STREAMS", u32::from_str)?,
            max_admin_body_size: variables.one("LOCKSTEPD_MAX_ADMIN_BODY_SIZE", usize::from_str)?,
            first_byte_timeout: variables
                .one("LOCKSTEPD_FIRST_BYTE_TIMEOUT", humantime::parse_duration)?,
            head_timeout: variables.one("LOCKSTEPD_HEAD_TIMEOUT", humantime::parse_duration)?,
            body_timeout: variables.one("LOCKSTEPD_BODY_TIMEOUT", humantime::parse_duration)?,
            idle_timeout: variables.one("LOCKSTEPD_IDLE_TIMEOUT", humantime::parse_duration)?,
            write_timeout: variables.one("LOCKSTEPD_WRITE_TIMEOUT", humantime::parse_duration)?,
            tcp_keepalive: variables.one("LOCKSTEPD_TCP_KEEPALIVE", humantime::parse_duration)?,
            proxy: ProxySettings::from_env(variables)?,
            tls: TlsSettings::from_env(variables)?,
        })
    }
}
