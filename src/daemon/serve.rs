//! Between start and stop: signals, orders, reloads, idleness, and the status line.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::connections::registry::Registry;
use crate::daemon::idle_exit::{self, Idleness};
use crate::daemon::reload::{Hook, Reload};
use crate::daemon::running::{MANAGER_TIMEOUT, Running};
use crate::daemon::watchdog::{Watchdog, WatchdogGuard};
use crate::lifecycle::phase::Phase;
use crate::lifecycle::shutdown::Cause;
use crate::lifecycle::signals::{Order, Orders};
use crate::log::error_text::{chain, say_without_log};
use crate::log::message_id;
use crate::manager::notify::STATUS_INTERVAL;

/// Why the only line on standard error is the only one.
const WITHOUT_LOG: &str = if cfg!(feature = "log") {
    "nothing else is logged: no log is set up, see Daemon::log"
} else {
    "nothing else is logged: set a tracing subscriber, or build with the feature \"log\""
};

/// How often certificates are looked at, whether they expire soon.
const LOOK_INTERVAL: Duration = Duration::from_secs(12 * 3600);

/// How long a reload hook may take.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

impl Running {
    /// Serves until something triggers the shutdown.
    pub(crate) async fn serve(&mut self, orders: &Orders) {
        let shutdown = self.shutdown.clone();
        let latches = self.latches.clone();
        let reload_request = Arc::clone(&self.reload_request);
        let mut seconds = interval(STATUS_INTERVAL);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut half_days = interval(LOOK_INTERVAL);
        let mut status = LiveStatus::default();
        let mut idleness = self.idleness();
        let servers: Vec<_> = self.drain().all().cloned().collect();
        loop {
            let idle = async {
                match &mut idleness {
                    Some(idleness) => idleness.reached(&servers).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // Before the stop: if both have come, the service manager is to see READY=1 first.
                () = latches.released(), if self.phases.current() == Phase::Starting => self.ready(),
                () = shutdown.triggered() => return,
                // Triggers the shutdown.
                () = self.group.next_end() => {}
                order = orders.next() => match order {
                    Order::Upgrade => self.upgrade(orders).await,
                    Order::Reload => {
                        self.reload().await;
                        idleness = self.idleness();
                    }
                },
                () = reload_request.notified() => {
                    self.reload().await;
                    idleness = self.idleness();
                }
                () = idle => {
                    if idle_exit::confirm(&self.drain()).await {
                        shutdown.trigger(Cause::Idle);
                    }
                }
                _ = half_days.tick() => self.look_at_certificates(),
                _ = seconds.tick(), if self.process.notifier.is_present() => {
                    status.show(self, &servers);
                }
            }
        }
    }

    fn ready(&self) {
        // Before somebody sees that it is ready, and stops it.
        self.prepare_lame_duck();
        self.phases.set(Phase::Ready);
        let startup = self.process.started.elapsed();
        tracing::info!(
            message_id = message_id::READY,
            addresses = self.addresses,
            startup_us = u64::try_from(startup.as_micros()).unwrap_or(u64::MAX),
            "ready",
        );
        if self.process.tells_without_log {
            say_without_log(|| format!("serving {} ({WITHOUT_LOG})", self.addresses));
        }
        if self.settings.now().idle_exit.is_some() && !self.may_stop_when_idle() {
            let why = if self.has_tasks {
                "a task runs"
            } else if self.servers.iter().any(|server| server.registry().has_own()) {
                "a client of a listener of its own could not start the daemon again"
            } else {
                "systemd has not opened every socket, and could not start the daemon again"
            };
            tracing::warn!("idle_exit has no effect: {why}");
        }
        self.process.notifier.ready(&self.serving());
        // So that a stop knows whether the service manager reads, and is worth waiting for.
        let notifier = self.process.notifier.clone();
        tokio::spawn(async move {
            let read = notifier.barrier(MANAGER_TIMEOUT).await;
            // Other errors have been logged by the notifier.
            if read.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                tracing::warn!("the service manager does not read that the service is ready");
            }
        });
    }

    /// Starts feeding the service manager's watchdog, if it has one for this service.
    pub(crate) fn watch(&mut self) -> io::Result<Option<WatchdogGuard>> {
        let notifier = self.process.notifier.clone();
        let Some(limit) = notifier.watchdog_limit() else { return Ok(None) };
        let watchdog = Watchdog {
            limit,
            notifier,
            servers: self.servers.iter().chain(&self.admin).cloned().collect(),
            polls: self.group.polls(),
            checks: std::mem::take(&mut self.checks),
            runtime: runtime::Handle::current(),
        };
        watchdog.start().map(Some)
    }

    /// Tells whether the daemon may stop when it is idle.
    fn may_stop_when_idle(&self) -> bool {
        self.is_socket_activated && !self.has_tasks
    }

    fn idleness(&self) -> Option<Idleness> {
        self.settings.now().idle_exit.filter(|_| self.may_stop_when_idle()).map(Idleness::of)
    }

    /// Reads the configuration anew; log, STATUS and metrics tell the result.
    async fn reload(&mut self) {
        if self.phases.current() != Phase::Ready {
            tracing::warn!("not reloading: the start is not finished");
            return;
        }
        self.phases.set(Phase::Reloading);
        self.process.notifier.reloading("Reloading");
        if let Some(hook) = self.reload.clone() {
            self.reload_with(hook).await;
        } else if self.has_certificates() || self.access_file.is_some() {
            self.reload_with(Arc::new(Hook(Box::new(|| Ok(Reload::new()))))).await;
        } else {
            tracing::warn!("nothing to reload: the program reads nothing anew");
        }
        if self.shutdown.is_triggered() {
            // STOPPING=1 follows.
            return;
        }
        self.phases.set(Phase::Ready);
        self.process.notifier.ready(&self.serving());
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "with TLS it looks")]
    fn look_at_certificates(&self) {}

    /// Tells whether there are certificates, which a reload reads anew.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "with TLS it looks"))]
    fn has_certificates(&self) -> bool {
        #[cfg(feature = "tls")]
        return !self.acceptors.is_empty();
        #[cfg(not(feature = "tls"))]
        false
    }

    async fn reload_with(&mut self, hook: Arc<Hook>) {
        let read = async {
            let reload = spawn_blocking(move || hook.0()).await?;
            #[cfg(feature = "proxy")]
            let reload = match reload {
                Ok(reload) => reload.check_proxies().await.map(|()| reload),
                Err(error) => Err(error),
            };
            Ok::<_, JoinError>(reload)
        };
        let read = tokio::select! {
            read = timeout(RELOAD_TIMEOUT, read) => read,
            // A stop does not wait for the hook.
            () = self.shutdown.triggered() => return,
        };
        let read = match read {
            Ok(Ok(read)) => read
                .and_then(|reload| Ok(reload.check().map(|()| reload)?))
                .map_err(|error| chain(&*error)),
            Ok(Err(panic)) => Err(format!("the reload hook failed: {panic}")),
            Err(_) => Err("the reload hook did not return".to_owned()),
        };
        let read = match read {
            Ok(reload) => tokio::select! {
                opened = timeout(RELOAD_TIMEOUT, self.open_access_file(&reload)) => match opened {
                    Ok(opened) => opened.map(|opened| (reload, opened)),
                    Err(_) => Err("the access log's file could not be opened in time".to_owned()),
                },
                () = self.shutdown.triggered() => return,
            },
            Err(error) => Err(error),
        };
        #[cfg(feature = "tls")]
        let read = match read {
            Ok(reload) => tokio::select! {
                read = timeout(RELOAD_TIMEOUT, self.read_certificates()) => match read {
                    Ok(read) => read.map(|certificates| (reload, certificates)),
                    Err(_) => Err("the files of the certificates could not be read in time".to_owned()),
                },
                // Nor for files.
                () = self.shutdown.triggered() => return,
            },
            Err(error) => Err(error),
        };
        self.trouble = match read {
            Ok(read) => {
                self.reloads.succeeded.add(1);
                #[cfg(feature = "tls")]
                let (read, certificates) = read;
                #[cfg(feature = "tls")]
                self.exchange_certificates(certificates);
                let (read, access_file) = read;
                self.apply(read, access_file);
                None
            }
            Err(error) => {
                self.reloads.failed.add(1);
                tracing::error!(
                    message_id = message_id::NOT_RELOADED,
                    error,
                    "not reloaded; the configuration before holds",
                );
                Some(format!("not reloaded: {error}"))
            }
        };
    }
}

/// The status line while serving; sent only when it changes.
#[derive(Debug, Default)]
struct LiveStatus {
    requests: u64,
    shown: (usize, u64),
    serving: String,
}

impl LiveStatus {
    fn show(&mut self, running: &Running, servers: &[Arc<Registry>]) {
        let requests = servers.iter().map(|server| server.metrics.requests()).sum::<u64>();
        let rate = requests - std::mem::replace(&mut self.requests, requests);
        let connections = servers.iter().map(|server| server.connections()).sum();
        if running.phases.current() != Phase::Ready {
            return;
        }
        // An application that goes away, or comes back, changes it as well.
        let serving = running.serving();
        if self.shown != (connections, rate) || self.serving != serving {
            self.shown = (connections, rate);
            let status = format!("{serving}; {connections} connections, {rate} requests/s");
            running.process.notifier.status(&status);
            self.serving = serving;
        }
    }
}
