//! The settings of one source, and how their values are written.

use std::str::FromStr;
use std::time::Duration;

use lockstepd::{AccessLog, Address, Format, Level, Target};

use super::proxy::ProxySettings;
use super::tls::TlsSettings;

/// The settings of one source; `None` where it does not mention one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) public: Option<Vec<Address>>,
    pub(crate) public_socket_mode: Option<Mode>,
    pub(crate) admin: Option<Vec<Address>>,
    pub(crate) admin_socket_mode: Option<Mode>,
    pub(crate) admin_hosts: Option<Vec<String>>,
    pub(crate) admin_users: Option<Vec<u32>>,
    pub(crate) lame_duck: Option<Duration>,
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
    pub(crate) max_streams: Option<u32>,
    pub(crate) max_admin_body_size: Option<usize>,
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) head_timeout: Option<Duration>,
    pub(crate) body_timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    /// Zero: never.
    pub(crate) tcp_keepalive: Option<Duration>,
    pub(crate) proxy: ProxySettings,
    pub(crate) tls: TlsSettings,
}

/// Permissions in octal, such as `0660`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode(u32);

/// A hint for an error: how the value of a key, or of its variable, is written.
pub(super) fn hint(key: &str) -> &'static str {
    match key {
        "listen" | "hosts" | "users" | "trusted_proxies" | "certificates" | "keys" | "alpn"
        | "redirect" | "admin" => " (write a list, in brackets)",
        "LOCKSTEPD_ADMIN_USERS" => " (write numbers, separated by commas)",
        _ => {
            let key = key.to_ascii_lowercase();
            let times = ["timeout", "linger", "idle_exit", "keepalive", "lame_duck", "wait"];
            if times.iter().any(|end| key.ends_with(end)) {
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

// === impl Settings ===

impl Settings {
    /// Takes each setting that is absent here from `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            public: self.public.or(other.public),
            public_socket_mode: self.public_socket_mode.or(other.public_socket_mode),
            admin: self.admin.or(other.admin),
            admin_socket_mode: self.admin_socket_mode.or(other.admin_socket_mode),
            admin_hosts: self.admin_hosts.or(other.admin_hosts),
            admin_users: self.admin_users.or(other.admin_users),
            lame_duck: self.lame_duck.or(other.lame_duck),
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
            max_streams: self.max_streams.or(other.max_streams),
            max_admin_body_size: self.max_admin_body_size.or(other.max_admin_body_size),
            first_byte_timeout: self.first_byte_timeout.or(other.first_byte_timeout),
            head_timeout: self.head_timeout.or(other.head_timeout),
            body_timeout: self.body_timeout.or(other.body_timeout),
            idle_timeout: self.idle_timeout.or(other.idle_timeout),
            write_timeout: self.write_timeout.or(other.write_timeout),
            tcp_keepalive: self.tcp_keepalive.or(other.tcp_keepalive),
            proxy: self.proxy.or(other.proxy),
            tls: self.tls.or(other.tls),
        }
    }
}

// === impl Mode ===

impl Mode {
    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err("permissions are octal, and 0777 at most".to_owned()),
        }
    }
}
