//! Running a daemon: with `start` and `stop` the only files that know the order.
//!
//! Start: sockets of the environment, before any thread exists → log → signals → sockets adopted or
//! bound → connections taken over → members spawned → every latch down → READY=1.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::access;
use crate::address::Listen;
use crate::daemon::Daemon;
use crate::error::{Error, Exit};
use crate::event;
use crate::group::chain;
use crate::handover::CARRIER_VERSION;
use crate::idle::{self, Idleness};
use crate::inherit::Inherited;
#[cfg(feature = "log")]
use crate::log::{LevelHandle, finish};
use crate::notify::Notifier;
use crate::participants::Participants;
use crate::phase::Phase;
use crate::reload::{Hook, Reload};
use crate::running::{Process, Running, STATUS_INTERVAL};
use crate::shutdown::Cause;
use crate::signals::{Event, Signals};
use crate::sockets::{Heritage, InvalidHeritage, Legacy};
use crate::start::start;
use crate::upgrade::{CHECK_VARIABLE, Program, VALID};
use crate::watchdog::{Watchdog, Watching};

/// The fewest descriptors to serve anybody with, the reserve for all else included.
const DESCRIPTORS_MIN: u64 = 64;

/// How long a reload hook may take.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

impl Daemon {
    /// Runs the daemon until it stops, and tells how it went by an [`Exit`] code.
    ///
    /// Call it from a plain `fn main`: the service manager's sockets have to be taken before the
    /// first thread starts. It does all that a program of its own wants: sets up the log, hears
    /// signals (`SIGTERM`, `SIGINT`, `SIGHUP`, `SIGUSR2`), raises the limit of descriptors, and
    /// starts a runtime. [`Daemon::run_until`] does none of these.
    #[must_use]
    pub fn run(self) -> ExitCode {
        if std::env::var_os(CHECK_VARIABLE).is_some() {
            return self.check();
        }
        run(self).map_or_else(|error| error.report(), Into::into)
    }

    /// Runs the daemon in the caller's runtime until `stop` is ready, or anything else stops it.
    ///
    /// The value of `stop` is the cause of the stop. It decides what happens to idle connections:
    /// with [`Cause::Terminate`] they are handed to the next process, if the service manager keeps
    /// them. Everything is drained as at any stop, and nothing of the daemon is left when this
    /// returns, but for members that did not end in time.
    ///
    /// This is for tests, and for programs with a runtime of their own, which has to have its I/O
    /// and time drivers enabled. Signals, the log and limits of the process are theirs: nothing
    /// here touches them, and so there is no reload by `SIGHUP` and no upgrade in place. What is
    /// said to the service manager is the same as with [`Daemon::run`].
    ///
    /// # Errors
    /// When the daemon could not start. If the service manager passed sockets, they have to be
    /// taken with [`Inherited::take`] before the runtime has started threads.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before its end, it leaves connections to themselves. Let `stop` be
    /// ready instead.
    ///
    /// # Examples
    /// ```
    /// use lockstepd::{Cause, Daemon, Exit};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), lockstepd::BoxError> {
    /// let router = axum::Router::new().route("/", axum::routing::get(async || "Hello"));
    /// let daemon = Daemon::new("test").server("public", "127.0.0.1:0", router);
    /// let monitor = daemon.monitor();
    /// let exit = daemon
    ///     .run_until(async {
    ///         assert!(monitor.ready().await);
    ///         let address = &monitor.addresses("public")[0];
    ///         println!("ask {address} what you like");
    ///         Cause::Terminate
    ///     })
    ///     .await?;
    /// assert_eq!(exit, Exit::Clean);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_until<F>(self, stop: F) -> Result<Exit, Error>
    where
        F: Future<Output = Cause>,
    {
        if std::env::var_os(CHECK_VARIABLE).is_some() {
            // A program that is to be replaced in place wants to know whether this one would start.
            return self.checked().map(|()| {
                eprintln!("{VALID}");
                Exit::Clean
            });
        }
        let phases = self.monitor.phases.clone();
        let shutdown = self.shutdown.clone();
        let ran = async {
            let process = Process {
                started: Instant::now(),
                notifier: Notifier::from_env(),
                program: Program::current().map_err(system("find out the program's path"))?,
                #[cfg(feature = "log")]
                level: LevelHandle::none(),
            };
            let stop = async {
                shutdown.trigger(stop.await);
                // The daemon hears of it, and ends.
                std::future::pending().await
            };
            tokio::select! {
                exit = live(self, process, Signals::none()) => exit,
                never = stop => never,
            }
        };
        let exit = ran.await;
        // Also if it could not start: whoever waits for it to be ready waits no longer.
        phases.set(Phase::Stopped);
        exit
    }

    /// Finds out whether [`Daemon::run`] would find its configuration and sockets usable, without
    /// binding anything. Says so on standard error, and by the exit code.
    #[must_use]
    pub fn check(self) -> ExitCode {
        for warning in &self.warnings {
            eprintln!("warning: {warning}");
        }
        match self.checked() {
            Ok(()) => {
                eprintln!("{VALID}");
                Exit::Clean.into()
            }
            Err(error) => {
                eprintln!("{error}");
                error.exit().into()
            }
        }
    }

    fn checked(mut self) -> Result<(), Error> {
        let early = self.inherited.take();
        // Whoever took sockets early could do so again; otherwise they are taken here.
        let may_take = early.as_ref().map_or_else(Inherited::check_threads, |_| Ok(()));
        let inherited = early.map_or_else(Inherited::take, Ok)?;
        let servers = self.listens()?;
        #[cfg(feature = "log")]
        if let Some(log) = &self.log {
            log.check()?;
        }
        let legacy = Legacy::sort(inherited.descriptors)?;
        match std::env::var(CHECK_VARIABLE) {
            Ok(heritage) => {
                legacy.check_passed(&servers)?;
                may_take?;
                check_heritage(&heritage, &servers)
            }
            Err(_) => Ok(legacy.check(&servers)?),
        }
    }
}

/// Finds out whether this program could take the place of the one that asks.
fn check_heritage(heritage: &str, servers: &[(&str, &Listen)]) -> Result<(), Error> {
    let unknown = |error: InvalidHeritage| Error::Configuration(error.to_string());
    let heritage: Heritage = heritage.parse().map_err(unknown)?;
    if heritage.carrier != CARRIER_VERSION {
        return Err(Error::Configuration(
            "the running program hands connections over in another format (restart instead)"
                .to_owned(),
        ));
    }
    Ok(heritage.check(servers)?)
}

/// Runs `daemon` to its end in a runtime of its own.
///
/// # Errors
/// When it could not start.
fn run(mut daemon: Daemon) -> Result<Exit, Error> {
    let started = Instant::now();
    if runtime::Handle::try_current().is_ok() {
        return Err(Error::Configuration(
            "Daemon::run starts a runtime, and cannot be called inside of one (call it from a \
             plain fn main, or await Daemon::run_until)"
                .to_owned(),
        ));
    }
    let inherited = daemon.inherited.take().map_or_else(Inherited::take, Ok)?;
    daemon.inherited = Some(inherited);
    let process = Process {
        started,
        notifier: Notifier::from_env(),
        #[cfg(feature = "log")]
        level: match &daemon.log {
            Some(log) => log.install(&daemon.name)?,
            None => LevelHandle::none(),
        },
        program: Program::current().map_err(system("find out the program's path"))?,
    };
    raise_descriptor_limit()?;
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    let exit = runtime.block_on(async {
        let signals = Signals::register().map_err(system("register signal handlers"))?;
        live(daemon, process, signals).await
    });
    // Whatever was not joined by now has been given up.
    runtime.shutdown_background();
    access::flush();
    #[cfg(feature = "log")]
    finish();
    exit
}

/// Lives the daemon's life, from its start to its exit.
async fn live(mut daemon: Daemon, process: Process, mut signals: Signals) -> Result<Exit, Error> {
    let inherited = daemon.inherited.take().map_or_else(Inherited::take, Ok)?;
    let mut running = start(daemon, inherited, process)?;
    let _watching = running.watch().map_err(system("start the watchdog's thread"))?;
    running.serve(&mut signals).await;
    Ok(running.stop(&mut signals).await)
}

fn system(attempt: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { attempt, source }
}

/// Allows as many descriptors as the hard limit does: each connection needs one, and the usual soft
/// limit of 1024 is there for programs that use select(2).
///
/// # Errors
/// When there are too few to serve anybody.
fn raise_descriptor_limit() -> Result<(), Error> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Refused, the limit stays as it is, and accepting pauses when it is reached.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    match getrlimit(Resource::Nofile).current {
        Some(few) if few < DESCRIPTORS_MIN => Err(Error::Configuration(format!(
            "no more than {few} descriptors may be open, and {DESCRIPTORS_MIN} is the least to serve \
             anybody with (raise LimitNOFILE= in the unit, or ulimit -n)"
        ))),
        _ => Ok(()),
    }
}

// === impl Running ===

impl Running {
    /// Serves until something triggers the shutdown.
    async fn serve(&mut self, signals: &mut Signals) {
        let shutdown = self.shutdown.clone();
        let latches = self.latches.clone();
        let reload_request = Arc::clone(&self.reload_request);
        let mut seconds = interval(STATUS_INTERVAL);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                // Before the others: a service that is asked to stop at once still has been ready.
                () = latches.released(), if self.phases.current() == Phase::Starting => self.ready(),
                () = shutdown.triggered() => return,
                // Triggers the shutdown.
                () = self.group.next_end() => {}
                event = signals.next() => match event {
                    Event::Terminate => drop(shutdown.trigger(Cause::Terminate)),
                    Event::Interrupt => drop(shutdown.trigger(Cause::Interrupt)),
                    Event::Upgrade => self.upgrade(signals).await,
                    Event::Hangup => {
                        self.reload().await;
                        idleness = self.idleness();
                    }
                },
                () = reload_request.notified() => {
                    self.reload().await;
                    idleness = self.idleness();
                }
                () = idle => {
                    if idle::confirm(&self.drain()).await {
                        shutdown.trigger(Cause::Idle);
                    }
                }
                _ = seconds.tick(), if self.process.notifier.is_present() => {
                    status.show(self, &servers);
                }
            }
        }
    }

    fn ready(&self) {
        self.phases.set(Phase::Ready);
        let startup = self.process.started.elapsed();
        tracing::info!(
            message_id = event::READY,
            addresses = self.addresses,
            startup_us = u64::try_from(startup.as_micros()).unwrap_or(u64::MAX),
            "ready",
        );
        if self.settings.now().idle_exit.is_some() && !self.may_leave() {
            let why = if self.has_tasks {
                "a task runs"
            } else {
                "systemd has not opened every socket, and could not start the daemon again"
            };
            tracing::warn!("idle_exit has no effect: {why}");
        }
        self.process.notifier.ready(&self.serving());
    }

    /// Starts feeding the service manager's watchdog, if it has one for us.
    fn watch(&mut self) -> io::Result<Option<Watching>> {
        let notifier = self.process.notifier;
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
    fn may_leave(&self) -> bool {
        self.can_come_back && !self.has_tasks
    }

    fn idleness(&self) -> Option<Idleness> {
        self.settings.now().idle_exit.filter(|_| self.may_leave()).map(Idleness::of)
    }

    /// Reads the configuration anew, and says how that went.
    async fn reload(&mut self) {
        if self.phases.current() != Phase::Ready {
            tracing::warn!("not reloading: the start is not finished");
            return;
        }
        self.phases.set(Phase::Reloading);
        self.process.notifier.reloading("Reloading");
        if let Some(hook) = self.reload.clone() {
            self.reload_with(hook).await;
        } else {
            tracing::warn!("nothing to reload: the program reads nothing anew");
        }
        self.phases.set(Phase::Ready);
        self.process.notifier.ready(&self.serving());
    }

    async fn reload_with(&mut self, hook: Arc<Hook>) {
        let read = match timeout(RELOAD_TIMEOUT, spawn_blocking(move || hook.0())).await {
            Ok(Ok(read)) => read.map_err(|error| chain(&*error)),
            Ok(Err(panic)) => Err(format!("the reload hook failed: {panic}")),
            Err(_) => Err("the reload hook did not return".to_owned()),
        };
        self.trouble = match read {
            Ok(reload) => {
                self.reloads.succeeded.add(1);
                self.apply(reload);
                None
            }
            Err(error) => {
                self.reloads.failed.add(1);
                tracing::error!(
                    message_id = event::NOT_RELOADED,
                    error,
                    "not reloaded; the configuration before holds",
                );
                Some(format!("not reloaded: {error}"))
            }
        };
    }

    /// Tells every server how many connections it may have.
    pub(crate) fn apply_limits(&self) {
        let limits = self.common.limits();
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let public = limits.public_connections(self.servers.len(), descriptors);
        if limits.connections.is_some_and(|wanted| wanted > public) {
            tracing::warn!(
                max_connections = public,
                "fewer connections than configured: no more descriptors may be open \
                 (raise LimitNOFILE= in the unit, or ulimit -n)",
            );
        }
        for server in &self.servers {
            server.participants().set_limit(public);
        }
        if let Some(admin) = &self.admin {
            admin.participants().set_limit(limits.admin_connections());
        }
    }

    fn apply(&self, reload: Reload) {
        self.settings.apply(&reload);
        #[cfg(feature = "log")]
        if let Some(level) = reload.level {
            self.process.level.set(&level);
        }
        if let Some(access_log) = reload.access_log {
            self.common.access.set(access_log);
        }
        if let Some(limits) = reload.limits {
            self.common.set_limits(limits);
            self.apply_limits();
        }
        for setting in reload.restart_for {
            tracing::warn!(
                setting,
                "changed, but takes effect at the next restart or upgrade only"
            );
        }
        tracing::info!(message_id = event::RELOADED, "reloaded");
    }
}

/// The status line while serving; sent only when it changes.
#[derive(Debug, Default)]
struct LiveStatus {
    requests: u64,
    shown: (usize, u64),
}

impl LiveStatus {
    fn show(&mut self, running: &Running, servers: &[Arc<Participants>]) {
        let requests = servers.iter().map(|server| server.metrics.requests()).sum::<u64>();
        let rate = requests - std::mem::replace(&mut self.requests, requests);
        let connections = servers.iter().map(|server| server.connections()).sum();
        if running.phases.current() == Phase::Ready && self.shown != (connections, rate) {
            self.shown = (connections, rate);
            running.process.notifier.status(&format!(
                "{}; {connections} connections, {rate} requests/s",
                running.serving(),
            ));
        }
    }
}
