//! Settings of the application behind the public server.

use std::str::FromStr;
use std::time::Duration;

use lockstepd::{Address, Proxy, TrustedProxy};

use super::setting::settings;

settings! { ProxySettings {
    wait: Duration = "proxy.wait" {
        variable: "LOCKSTEPD_PROXY_WAIT",
        value: "TIME",
        default: Default::To("30s"),
        reload: true,
        help: "How long a request waits for an application that is away; then 503",
        more: "It is away where it cannot be reached: because it starts, restarts, is held or has crashed. As long as a \
               start may take, and below the time-out of a proxy in front (nginx: 60 s).",
    }
    max_waiting: usize = "proxy.max_waiting" {
        variable: "LOCKSTEPD_PROXY_MAX_WAITING",
        value: "NUMBER",
        default: Default::To("1000"),
        reload: true,
        help: "Requests that may wait at the same time; one more gets 503 at once",
        more: "Each is a connection with its head. The one that tries to reach the application does not count, and \
               those that a restart brings along have their places.",
    }
    connect_timeout: Duration = "proxy.connect_timeout" {
        variable: "LOCKSTEPD_PROXY_CONNECT_TIMEOUT",
        value: "TIME",
        default: Default::To("5s"),
        reload: true,
        help: "Time for a connection to the application; then it is tried again",
        more: "It then counts as away. A Unix socket that exists takes no time, unless its queue is full.",
    }
    response_timeout: Duration = "proxy.response_timeout" {
        variable: "LOCKSTEPD_PROXY_RESPONSE_TIMEOUT",
        value: "TIME",
        default: Default::To("60s"),
        reload: true,
        help: "Time for the application to begin its answer, from the request's last byte; then 504",
        more: "Its connection is then closed.",
    }
    idle_timeout: Duration = "proxy.idle_timeout" {
        variable: "LOCKSTEPD_PROXY_IDLE_TIMEOUT",
        value: "TIME",
        default: Default::To("5m"),
        reload: true,
        help: "Time without a byte of an answer that has begun; then it is cut off",
        more: "Server-sent events need a comment or an event in time.",
    }
    wait_on_503: bool = "proxy.wait_on_503" {
        variable: "LOCKSTEPD_PROXY_WAIT_ON_503",
        value: "BOOL",
        default: Default::To("false"),
        reload: true,
        help: "Whether 503 says that the application is starting and has executed nothing, so that the request waits \
               and is sent again: true or false",
        more: "It is not sent again where its body was sent and is not kept. With false, a 503 is an answer like any \
               other, and may have been executed.",
    }
    http2: bool = "proxy.http2" {
        variable: "LOCKSTEPD_PROXY_HTTP2",
        value: "BOOL",
        default: Default::To("false"),
        reload: true,
        help: "Whether the application speaks HTTP/2, with prior knowledge (h2c), as one of gRPC does: true or false",
        more: "With false it is HTTP/1.1. Wrong is 502 for all requests.",
    }
    via: bool = "proxy.via" {
        variable: "LOCKSTEPD_PROXY_VIA",
        value: "BOOL",
        default: Default::To("false"),
        reload: true,
        help: "Whether Via is added to requests and answers: true or false",
        more: "RFC 9110 has proxies do so; it tells everybody that there is one.",
    }
    trusted_proxies: Vec<TrustedProxy> = "proxy.trusted_proxies" {
        variable: "LOCKSTEPD_PROXY_TRUSTED_PROXIES",
        value: "NETWORK",
        default: Default::To(""),
        reload: true,
        help: "Proxies in front whose Forwarded and X-Forwarded-* are believed: addresses, networks (10.0.0.0/8), or \
               unix; several separated by commas",
        more: "Their fields are believed and added to; \"unix\" is whoever comes through a Unix socket. Those of \
               everybody else are replaced, since anybody can send them.",
    }
    health: HealthPath = "proxy.health" {
        variable: "LOCKSTEPD_PROXY_HEALTH",
        value: "PATH",
        default: Default::None("none, it is not asked", "/up"),
        reload: true,
        help: "Path that an application at a new address has to answer with success before a reload sends requests there",
        more: "Success is 2xx, within 5 s; otherwise requests go where they went.",
    }
}}

/// A path to ask for. It counts at a reload alone, but is wrong at once, also where there is no application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HealthPath(String);

// === impl ProxySettings ===

impl ProxySettings {
    /// The proxy to an application, if there is one.
    pub(crate) fn proxy(&self, application: Option<&Address>) -> Option<Proxy> {
        let mut proxy = Proxy::to(application?.clone());
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
