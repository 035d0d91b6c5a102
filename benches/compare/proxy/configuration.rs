//! What the proxies are told: connections to the application are kept, and nothing is logged.

use std::path::Path;

use crate::peers::nginx_paths;

pub(super) fn nginx(address: &str, socket: &str, directory: &Path) -> String {
    let directory = directory.display();
    let paths = nginx_paths(&directory.to_string());
    format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/pid;
error_log /dev/null;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_max_body_size 0;
{paths}    upstream application {{
        server unix:{socket};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address};
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        location / {{ proxy_pass http://application; }}
        location /bulk {{
            proxy_pass http://application;
            proxy_buffering off;
            proxy_request_buffering off;
        }}
    }}
}}
"
    )
}

/// It is not to count on two descriptors for each client: clients that are idle have one.
pub(super) fn haproxy(address: &str, socket: &str) -> String {
    format!(
        "global
    nbthread 1
    maxconn 12000
    no strict-limits
defaults
    mode http
    http-reuse always
    timeout connect 10s
    timeout client 600s
    timeout server 600s
frontend public
    bind {address}
    default_backend application
backend application
    server application unix@{socket}
"
    )
}

pub(super) fn caddy(address: &str, socket: &str) -> String {
    format!(
        "{{
    admin off
    auto_https off
}}
http://{address} {{
    reverse_proxy unix/{socket} {{
        transport http {{
            keepalive_idle_conns_per_host 1024
        }}
    }}
}}
"
    )
}
