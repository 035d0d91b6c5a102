//! A daemon whose members run: `start` makes it, `serve`, `upgrade` and `stop` are its methods.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::connections::drain::Drain;
use crate::connections::metrics::Reloads;
use crate::daemon::overseer::Members;
use crate::daemon::reload::Hook;
use crate::daemon::server::Own;
use crate::daemon::watchdog::Check;
use crate::handover::announcement::Announcement;
use crate::handover::drain_history::DrainHistory;
use crate::handover::program::Program;
use crate::http::access::AccessFile;
use crate::http::connection::HttpSettings;
use crate::http::server::Serve;
use crate::lifecycle::group::Group;
use crate::lifecycle::phase::{Latches, Phases};
use crate::lifecycle::settings::LiveSettings;
use crate::lifecycle::shutdown::Shutdown;
#[cfg(feature = "log")]
use crate::log::LevelHandle;
use crate::manager::notify::Notifier;
#[cfg(feature = "proxy")]
use crate::proxy::service::Proxy;
use crate::sockets::socket_file::SocketFiles;
#[cfg(feature = "tls")]
use crate::tls::acceptor::Acceptors;

/// How long the service manager may take to read its messages. It may be busy with a daemon-reload; clients are
/// served meanwhile.
pub(crate) const MANAGER_TIMEOUT: Duration = Duration::from_secs(5);

/// A daemon whose members run.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) group: Group,
    /// There are members besides the servers.
    pub(crate) has_tasks: bool,
    pub(crate) servers: Vec<Arc<dyn Serve>>,
    /// What each of them does not share with the daemon.
    pub(crate) own: Vec<Own>,
    pub(crate) admin: Option<Arc<dyn Serve>>,
    pub(crate) phases: Phases,
    /// Every server with its addresses.
    pub(crate) addresses: String,
    /// Why the last reload or upgrade failed, until one succeeds; for STATUS.
    pub(crate) trouble: Option<String>,
    /// The listeners that an upgrade in place would hand over.
    pub(crate) announcement: Announcement,
    /// The files of Unix sockets that this process bound.
    pub(crate) files: SocketFiles,
    /// The service manager opened every socket, so that any client starts the daemon again.
    pub(crate) is_socket_activated: bool,
    pub(crate) reloads: Arc<Reloads>,
    /// The drains of the processes before this one.
    pub(crate) history: Arc<DrainHistory>,
    pub(crate) http_settings: Arc<HttpSettings>,
    /// The file of the access log.
    pub(crate) access_file: Option<AccessFile>,
    pub(crate) process: Process,
    pub(crate) shutdown: Shutdown,
    pub(crate) checks: Vec<Check>,
    pub(crate) latches: Latches,
    /// The applications behind servers, by the name of the server.
    #[cfg(feature = "proxy")]
    pub(crate) proxies: Vec<(String, Proxy)>,
    pub(crate) reload: Option<Arc<Hook>>,
    /// Notified when the admin server is asked for a reload.
    pub(crate) reload_request: Arc<Notify>,
    pub(crate) settings: LiveSettings,
    #[cfg(feature = "tls")]
    pub(crate) acceptors: Acceptors,
}

/// What belongs to the process, not to its servers.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) started: Instant,
    pub(crate) notifier: Notifier,
    pub(crate) program: Program,
    /// The overseer looks at them.
    pub(crate) members: Members,
    /// Where there is no log, the addresses and the cause of a failure are written to standard error.
    pub(crate) tells_without_log: bool,
    #[cfg(feature = "log")]
    pub(crate) level: LevelHandle,
}

// === impl Running ===

impl Running {
    /// Shows the members to the overseer.
    pub(crate) fn show_to_overseer(&self) {
        let servers = self.drain().all().cloned().collect();
        self.process.members.set(self.settings.clone(), self.group.polls(), servers);
    }

    /// A drain of all servers that begins now.
    pub(crate) fn drain(&self) -> Drain {
        let registry = |server: &Arc<dyn Serve>| Arc::clone(server.registry());
        let settings = self.settings.now();
        Drain::new(
            self.servers.iter().map(registry).collect(),
            self.admin.as_ref().map(registry),
            settings.drain_timeout,
            settings.linger,
            self.shutdown.clone(),
        )
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        let servers = self.servers.iter().chain(&self.admin);
        servers.map(|server| server.registry().connections()).sum()
    }

    /// The status line while serving; trouble comes first, since a long line is cut at the end.
    pub(crate) fn serving(&self) -> String {
        let troubles = self.trouble.iter().cloned();
        #[cfg(feature = "proxy")]
        let troubles = troubles.chain(self.proxies.iter().filter_map(|(_, proxy)| proxy.trouble()));
        let troubles: String = troubles.map(|trouble| trouble + "; ").collect();
        format!("{troubles}Serving {}", self.addresses)
    }
}
