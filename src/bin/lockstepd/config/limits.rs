//! Settings of what a client may take.

use std::time::Duration;

use lockstepd::Limits;

use super::setting::settings;

settings! { LimitSettings {
    max_connections: usize = "limits.max_connections" {
        variable: "LOCKSTEPD_MAX_CONNECTIONS",
        value: "NUMBER",
        default: Default::None("what the limit of descriptors allows", "10000"),
        reload: true,
        help: "Open connections of each server; at the limit the one that has been idle longest is closed for a new one",
        more: "Of the admin server it is 16. Where none is idle, clients wait in the socket's queue. No more than the \
               limit of descriptors allows (LimitNOFILE=).",
    }
    max_head_size: usize = "limits.max_head_size" {
        variable: "LOCKSTEPD_MAX_HEAD_SIZE",
        value: "NUMBER",
        default: Default::To("65536"),
        reload: true,
        help: "Bytes of a request's head, 8192 at least; more is answered with 431",
        more: "",
    }
    max_headers: usize = "limits.max_headers" {
        variable: "LOCKSTEPD_MAX_HEADERS",
        value: "NUMBER",
        default: Default::To("100"),
        reload: true,
        help: "Headers of a request; more is answered with 431",
        more: "",
    }
    max_streams: u32 = "limits.max_streams" {
        variable: "LOCKSTEPD_MAX_STREAMS",
        value: "NUMBER",
        default: Default::To("100"),
        reload: true,
        help: "Requests that a connection of HTTP/2 may have in flight at the same time; one more is refused",
        more: "A change counts for connections that come after it.",
    }
    max_admin_body_size: usize = "limits.max_admin_body_size" {
        variable: "LOCKSTEPD_MAX_ADMIN_BODY_SIZE",
        value: "NUMBER",
        default: Default::To("65536"),
        reload: true,
        help: "Bytes of a request's body to the admin server, which needs none; more is answered with 413",
        more: "",
    }
    first_byte_timeout: Duration = "limits.first_byte_timeout" {
        variable: "LOCKSTEPD_FIRST_BYTE_TIMEOUT",
        value: "TIME",
        default: Default::To("30s"),
        reload: true,
        help: "Time for the first byte of a new connection",
        more: "",
    }
    head_timeout: Duration = "limits.head_timeout" {
        variable: "LOCKSTEPD_HEAD_TIMEOUT",
        value: "TIME",
        default: Default::To("10s"),
        reload: true,
        help: "Time for a request's head from its first byte; then 408",
        more: "The head has to come whole in that time; the other times begin anew where something comes.",
    }
    body_timeout: Duration = "limits.body_timeout" {
        variable: "LOCKSTEPD_BODY_TIMEOUT",
        value: "TIME",
        default: Default::To("30s"),
        reload: true,
        help: "Time without a byte of a request's body; then 408",
        more: "In HTTP/2 only until the answer begins.",
    }
    idle_timeout: Duration = "limits.idle_timeout" {
        variable: "LOCKSTEPD_IDLE_TIMEOUT",
        value: "TIME",
        default: Default::To("10m 20s"),
        reload: true,
        help: "Time that a connection may stay without a request",
        more: "Of the admin server's 95 s at most. A proxy in front has to keep its connections for a shorter time, or \
               it sends a request when we close: nginx has 60 s, some load balancers 10 min.",
    }
    write_timeout: Duration = "limits.write_timeout" {
        variable: "LOCKSTEPD_WRITE_TIMEOUT",
        value: "TIME",
        default: Default::To("30s"),
        reload: true,
        help: "Time in which a client has to take more of an answer, in steps of some 64 KiB",
        more: "The steps are those in which the kernel tells it.",
    }
    tcp_keepalive: Duration = "limits.tcp_keepalive" {
        variable: "LOCKSTEPD_TCP_KEEPALIVE",
        value: "TIME",
        default: Default::To("15s"),
        reload: true,
        help: "Time without a word from a TCP client after which it is asked whether it is still there, nine times at \
               most; 0s for never",
        more: "In whole seconds. A client that is gone without a word (a cable, a suspended machine) then loses its \
               connection, also in a long poll or a WebSocket: after ten times this, or write_timeout if that is more. \
               A change counts for connections that come after it.",
    }
}}

// === impl LimitSettings ===

impl LimitSettings {
    /// The limits, of which the library has the defaults.
    pub(super) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.connections = self.max_connections.or(limits.connections);
        limits.head_size = self.max_head_size.unwrap_or(limits.head_size);
        limits.headers = self.max_headers.unwrap_or(limits.headers);
        limits.streams = self.max_streams.unwrap_or(limits.streams);
        limits.admin_body_size = self.max_admin_body_size.unwrap_or(limits.admin_body_size);
        limits.first_byte_timeout = self.first_byte_timeout.unwrap_or(limits.first_byte_timeout);
        limits.head_timeout = self.head_timeout.unwrap_or(limits.head_timeout);
        limits.body_timeout = self.body_timeout.unwrap_or(limits.body_timeout);
        limits.idle_timeout = self.idle_timeout.unwrap_or(limits.idle_timeout);
        limits.write_timeout = self.write_timeout.unwrap_or(limits.write_timeout);
        limits.tcp_keepalive = self.tcp_keepalive.unwrap_or(limits.tcp_keepalive);
        limits
    }
}
