//! lockstepd as a proxy before an application at a Unix socket, beside other proxies.
//!
//! All have the same application: an epoll loop that writes canned bytes. It shares a processor with the
//! load; each proxy has the other one for itself while it has its turn.

mod bulk;
mod configuration;
mod latency;
mod memory;
mod program;
mod requests;

use std::{fmt, thread};

use crate::{
    Setting,
    server::Server,
    support::{Application, LOAD, Priority, Trouble},
    table::Column,
};

pub(crate) use bulk::bulk;
pub(crate) use latency::latency;
pub(crate) use memory::memory;
pub(crate) use program::Program;
pub(crate) use requests::{keep_alive, post};

/// What stands before the application.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Proxy {
    Lockstepd,
    Nginx,
    Haproxy,
    Caddy,
    Go,
    /// hyper's server and client, and nothing between them: the floor of a proxy on hyper.
    Hyper,
    /// Copies bytes, and knows nothing of HTTP.
    SocketProxyd,
    Nothing,
}

/// Those that are programs.
pub(crate) const PROXIES: [Proxy; 7] = [
    Proxy::Lockstepd,
    Proxy::Nginx,
    Proxy::Haproxy,
    Proxy::Caddy,
    Proxy::Go,
    Proxy::Hyper,
    Proxy::SocketProxyd,
];

// === impl Proxy ===

impl Column for Proxy {
    const ALL: &'static [Self] = &[
        Self::Lockstepd,
        Self::Nginx,
        Self::Haproxy,
        Self::Caddy,
        Self::Go,
        Self::Hyper,
        Self::SocketProxyd,
        Self::Nothing,
    ];
    const OURS: Self = Self::Lockstepd;
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lockstepd => "lockstepd",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Caddy => "Caddy",
            Self::Go => "Go ReverseProxy",
            Self::Hyper => "hyper floor",
            Self::SocketProxyd => "systemd-socket-proxyd",
            Self::Nothing => "no proxy",
        })
    }
}

/// The application, and all proxies before it.
fn start(setting: &Setting) -> Result<(Vec<(Proxy, Server)>, Application), Trouble> {
    let application = Application::start(&setting.application, LOAD)?;
    let start = |program: &Program| Ok((program.proxy, program.start(&application)?));
    let servers = setting.proxies.iter().map(start).collect::<Result<_, Trouble>>()?;
    Ok((servers, application))
}

/// Does what a client does on the load generator's processor, in a thread of its own, so that only that
/// has to stay there.
pub(crate) fn as_client<T: Send>(
    measure: impl FnOnce() -> Result<T, Trouble> + Send,
) -> Result<T, Trouble> {
    let measure = || {
        LOAD.take(Priority::Client)?;
        measure()
    };
    thread::scope(|scope| scope.spawn(measure).join().unwrap_or_else(|_| Err("panicked".into())))
}
