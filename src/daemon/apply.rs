//! What a reload changes, given to the servers.

use crate::daemon::access_file::OpenAccessFile;
use crate::daemon::reload::Reload;
use crate::daemon::running::Running;
use crate::log::message_id;

impl Running {
    /// Tells every server how many connections it may have.
    pub(crate) fn apply_limits(&self) {
        let listeners = self.announcement.descriptors();
        let mut told = false;
        for server in &self.servers {
            let limits = server.http_settings().limits();
            let public = limits.public_connections_now(self.servers.len(), listeners);
            if limits.connections.is_some_and(|wanted| wanted > public)
                && !std::mem::replace(&mut told, true)
            {
                tracing::warn!(
                    max_connections = public,
                    "fewer connections than configured: no more descriptors may be open \
                     (raise LimitNOFILE= in the unit, or ulimit -n)",
                );
            }
            server.registry().set_limit(public);
            server.registry().set_tcp(limits.tcp_options());
        }
        if let Some(admin) = &self.admin {
            let limits = self.http_settings.limits();
            admin.registry().set_limit(limits.admin_connections());
            admin.registry().set_tcp(limits.tcp_options());
        }
    }

    /// Gives the settings that a reload brings to the servers that share them, and to those that it names.
    fn apply_http(&self, reload: &Reload) {
        let shared = self.servers.iter().zip(&self.own);
        if let Some(access_log) = reload.access_log {
            self.http_settings.access.set(access_log);
            for (server, _) in shared.clone().filter(|(_, own)| !own.access_log) {
                server.http_settings().access.set(access_log);
            }
        }
        if let Some(limits) = &reload.limits {
            self.http_settings.set_limits(limits.clone());
            for (server, _) in shared.filter(|(_, own)| !own.limits) {
                server.http_settings().set_limits(limits.clone());
            }
        }
        for (name, limits) in &reload.server_limits {
            let mut servers = self.servers.iter().zip(&self.own);
            let named =
                servers.find(|(server, own)| own.limits && server.registry().server() == name);
            if let Some((server, _)) = named {
                server.http_settings().set_limits(limits.clone());
            } else {
                tracing::warn!(
                    server = name,
                    "the reload has limits for a server that has none of its own"
                );
            }
        }
        if reload.limits.is_some() || !reload.server_limits.is_empty() {
            self.apply_limits();
        }
    }

    pub(crate) fn apply(&mut self, reload: Reload, access_file: OpenAccessFile) {
        reload.apply(&self.settings);
        self.prepare_lame_duck();
        #[cfg(feature = "log")]
        if let Some(level) = &reload.level {
            self.process.level.set(level);
        }
        self.apply_http(&reload);
        self.exchange_access_file(access_file);
        for setting in reload.restart_for {
            tracing::warn!(
                setting,
                "changed, but takes effect at the next restart or upgrade only"
            );
        }
        tracing::info!(message_id = message_id::RELOADED, "reloaded");
    }
}
