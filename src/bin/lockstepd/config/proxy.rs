//! Settings of the application behind the public server.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use lockstepd::{Address, Error, Proxy, TrustedProxy};

use super::environment::Variables;
use super::file::{duration, text, texts};

/// The settings of one source; `None` where it does not mention one. The flags and the file's section have the same.
#[expect(clippy::doc_markdown, reason = "clap shows these comments to operators as they are")]
#[derive(Args, Clone, Debug, Default, Eq, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProxySettings {
    /// The application that the public server passes requests on to: unix:/PATH or IP:PORT
    /// [env: LOCKSTEPD_PUBLIC_PROXY] [default: none, a greeting is answered]
    #[arg(id = "public-proxy", long, global = true, value_name = "ADDRESS")]
    #[serde(skip)]
    pub(crate) to: Option<Address>,

    /// How long a request waits for an application that is away; then 503 [env: LOCKSTEPD_PROXY_WAIT] [default: 30s]
    #[arg(id = "proxy-wait", long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) wait: Option<Duration>,

    /// Requests that may wait at the same time; one more gets 503 at once [env: LOCKSTEPD_PROXY_MAX_WAITING] [default: 1000]
    #[arg(id = "proxy-max-waiting", long, global = true, value_name = "NUMBER")]
    pub(crate) max_waiting: Option<usize>,

    /// Time for a connection to the application; then it is tried again [env: LOCKSTEPD_PROXY_CONNECT_TIMEOUT] [default: 5s]
    #[arg(id = "proxy-connect-timeout", long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) connect_timeout: Option<Duration>,

    /// Time for the application to begin its answer, from the request's last byte; then 504 [env: LOCKSTEPD_PROXY_RESPONSE_TIMEOUT] [default: 60s]
    #[arg(id = "proxy-response-timeout", long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) response_timeout: Option<Duration>,

    /// Time without a byte of an answer that has begun; then it is cut off [env: LOCKSTEPD_PROXY_IDLE_TIMEOUT] [default: 5m]
    #[arg(id = "proxy-idle-timeout", long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) idle_timeout: Option<Duration>,

    /// Whether 503 says that the application is starting and has executed nothing, so that the request waits and is
    /// sent again: true or false [env: LOCKSTEPD_PROXY_WAIT_ON_503] [default: false]
    #[arg(id = "proxy-wait-on-503", long, global = true, value_name = "BOOL")]
    pub(crate) wait_on_503: Option<bool>,

    /// Whether the application speaks HTTP/2, with prior knowledge (h2c), as one of gRPC does: true or false
    /// [env: LOCKSTEPD_PROXY_HTTP2] [default: false, HTTP/1.1]
    #[arg(id = "proxy-http2", long, global = true, value_name = "BOOL")]
    pub(crate) http2: Option<bool>,

    /// Whether Via is added to requests and answers: true or false [env: LOCKSTEPD_PROXY_VIA] [default: false]
    #[arg(id = "proxy-via", long, global = true, value_name = "BOOL")]
    pub(crate) via: Option<bool>,

    /// Proxies in front whose Forwarded and X-Forwarded-* are believed: addresses, networks (10.0.0.0/8), or unix;
    /// several separated by commas [env: LOCKSTEPD_PROXY_TRUSTED_PROXIES] [default: none, everybody's are replaced]
    #[arg(
        id = "proxy-trusted-proxies",
        long,
        global = true,
        value_name = "NETWORK",
        value_delimiter = ','
    )]
    #[serde(deserialize_with = "texts")]
    pub(crate) trusted_proxies: Option<Vec<TrustedProxy>>,

    /// Path that an application at a new address has to answer with success before a reload sends requests there
    /// [env: LOCKSTEPD_PROXY_HEALTH] [default: none, it is not asked]
    #[arg(id = "proxy-health", long, global = true, value_name = "PATH")]
    #[serde(deserialize_with = "text")]
    pub(crate) health: Option<HealthPath>,
}

/// A path to ask for. It counts at a reload alone, but is wrong at once, also where there is no application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HealthPath(String);

// === impl ProxySettings ===

impl ProxySettings {
    pub(super) fn from_env(variables: &mut Variables) -> Result<Self, Error> {
        let time = humantime::parse_duration;
        Ok(Self {
            to: variables.one("LOCKSTEPD_PUBLIC_PROXY", Address::from_str)?,
            wait: variables.one("LOCKSTEPD_PROXY_WAIT", time)?,
            max_waiting: variables.one("LOCKSTEPD_PROXY_MAX_WAITING", usize::from_str)?,
            connect_timeout: variables.one("LOCKSTEPD_PROXY_CONNECT_TIMEOUT", time)?,
            response_timeout: variables.one("LOCKSTEPD_PROXY_RESPONSE_TIMEOUT", time)?,
            idle_timeout: variables.one("LOCKSTEPD_PROXY_IDLE_TIMEOUT", time)?,
            wait_on_503: variables.one("LOCKSTEPD_PROXY_WAIT_ON_503", bool::from_str)?,
            http2: variables.one("LOCKSTEPD_PROXY_HTTP2", bool::from_str)?,
            via: variables.one("LOCKSTEPD_PROXY_VIA", bool::from_str)?,
            trusted_proxies: variables.list("LOCKSTEPD_PROXY_TRUSTED_PROXIES")?,
            health: variables.one("LOCKSTEPD_PROXY_HEALTH", HealthPath::from_str)?,
        })
    }

    /// Takes each setting that is absent here from `other`.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            to: self.to.or(other.to),
            wait: self.wait.or(other.wait),
            max_waiting: self.max_waiting.or(other.max_waiting),
            connect_timeout: self.connect_timeout.or(other.connect_timeout),
            response_timeout: self.response_timeout.or(other.response_timeout),
            idle_timeout: self.idle_timeout.or(other.idle_timeout),
            wait_on_503: self.wait_on_503.or(other.wait_on_503),
            http2: self.http2.or(other.http2),
            via: self.via.or(other.via),
            trusted_proxies: self.trusted_proxies.or(other.trusted_proxies),
            health: self.health.or(other.health),
        }
    }

    /// The proxy, if there is an application.
    pub(crate) fn proxy(&self) -> Option<Proxy> {
        let mut proxy = Proxy::to(self.to.clone()?);
        if let Some(time) = self.wait {
            proxy = proxy.wait(time);
        }
        if let Some(requests) = self.max_waiting {
            proxy = proxy.max_waiting(requests);
        }
        if let Some(time) = self.connect_timeout {
            proxy = proxy.connect_timeout(time);
        }
        if let Some(time) = self.response_timeout {
            proxy = proxy.response_timeout(time);
        }
        if let Some(time) = self.idle_timeout {
            proxy = proxy.idle_timeout(time);
        }
        if let Some(HealthPath(path)) = &self.health {
            proxy = proxy.health(path);
        }
        let trusted = self.trusted_proxies.iter().flatten().copied();
        let proxy = proxy.trusted_proxies(trusted).via(self.via.unwrap_or_default());
        let proxy = proxy.http2(self.http2.unwrap_or_default());
        Some(proxy.wait_on_503(self.wait_on_503.unwrap_or_default()))
    }
}

// === impl HealthPath ===

impl FromStr for HealthPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("\"{}\" is no path (write \"/up\")", text.escape_debug()))
        }
    }
}
