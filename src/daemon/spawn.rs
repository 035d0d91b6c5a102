//! A daemon in the background, for tests of the program that declares it.

use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};

use crate::daemon::builder::Daemon;
use crate::daemon::error::{Error, Exit};
use crate::daemon::monitor::Monitor;
use crate::daemon::overseer::Members;
use crate::daemon::run::run_in_runtime;
use crate::daemon::running::Process;
use crate::handover::program::Program;
use crate::http::access;
use crate::lifecycle::phase::Phase;
use crate::lifecycle::shutdown::{Cause, Shutdown};
use crate::lifecycle::signals::Orders;
#[cfg(feature = "log")]
use crate::log::LevelHandle;
use crate::manager::notify::Notifier;
use crate::sockets::address::Address;
use crate::sockets::inherit::Inherited;

/// A daemon that serves in the background, see [`Daemon::spawn`]. It is told to stop when this is dropped.
///
/// # Examples
/// ```
/// use axum::Router;
/// use lockstepd::{Cause, Daemon, Exit, SpawnedDaemon};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), lockstepd::BoxError> {
/// let daemon = Daemon::new("test").server("public", "127.0.0.1:0", Router::new());
/// let running: SpawnedDaemon = daemon.spawn().await?;
/// assert!(running.monitor().ready().await);
/// running.shutdown().trigger(Cause::Request("enough".to_owned()));
/// assert_eq!(running.ended().await, Exit::Clean);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the daemon stops when it is dropped"]
pub struct SpawnedDaemon {
    monitor: Monitor,
    shutdown: Shutdown,
    task: JoinHandle<Result<Exit, Error>>,
    /// Its end, if it has ended before it served.
    exit: Option<Exit>,
}

impl Daemon {
    /// Serves in the background of the caller's runtime, for tests; returns once every server has its sockets.
    ///
    /// Nothing of the process is used: no socket and no message of a service manager, no signal, no log. Any
    /// number of daemons can serve beside each other, each on a port of its own if it asks for port 0. Idle
    /// connections do not linger at the stop, unless [`Daemon::linger`] asks for it. A [`Daemon::lame_duck`] time lasts
    /// as long as anywhere: say it where the program runs the daemon, not where it is declared for tests, too.
    ///
    /// # Errors
    /// When a server cannot have its addresses, or the daemon asks for something that cannot be.
    ///
    /// # Panics
    /// Outside of a runtime, or if that has its I/O or time driver not enabled.
    ///
    /// # Examples
    /// ```
    /// use axum::{Router, routing::get};
    /// use lockstepd::{Daemon, Exit, SpawnedDaemon};
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), lockstepd::BoxError> {
    /// let router = Router::new().route("/", get(|| async { "Hello" }));
    /// let daemon = Daemon::new("test").server("public", "127.0.0.1:0", router);
    /// let running: SpawnedDaemon = daemon.spawn().await?;
    /// let mut client = tokio::net::TcpStream::connect(running.addr("public")).await?;
    /// client.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer).await?;
    /// assert!(answer.ends_with("Hello"));
    /// assert_eq!(running.stop().await, Exit::Clean);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn spawn(mut self) -> Result<SpawnedDaemon, Error> {
        self.inherited = Some(Inherited::default());
        self.linger.get_or_insert(Duration::ZERO);
        let (monitor, shutdown) = (self.monitor(), self.shutdown());
        let process = Process {
            started: Instant::now(),
            notifier: Notifier::none(),
            program: Program::current(),
            members: Members::default(),
            tells_without_log: false,
            #[cfg(feature = "log")]
            level: LevelHandle::none(),
        };
        let phases = monitor.phases.clone();
        let task = tokio::spawn(async move {
            // Signals are the caller's.
            let (orders, _) = Orders::new();
            let ended = run_in_runtime(self, process, &orders).await;
            // A test may read its access log's file now. A panic in there changes nothing about the end.
            let _ = spawn_blocking(access::flush).await;
            // Also if it could not start: `Monitor::ready` waits for this.
            phases.set(Phase::Stopped);
            ended
        });
        // From here on it stops if the caller drops this future.
        let mut spawned = SpawnedDaemon { monitor, shutdown, task, exit: None };
        tokio::select! {
            biased;
            _ = spawned.monitor.bound.wait() => {}
            ended = &mut spawned.task => {
                let ended = ended.unwrap_or_else(|panic| resume_unwind(panic.into_panic()));
                spawned.exit = Some(ended?);
            }
        }
        Ok(spawned)
    }
}

// === impl SpawnedDaemon ===

impl SpawnedDaemon {
    /// The first TCP address of a server, with the port that it has got.
    ///
    /// # Panics
    /// When there is no such server, or it has Unix sockets alone.
    #[must_use]
    #[track_caller]
    pub fn addr(&self, server: &str) -> SocketAddr {
        let addresses = self.monitor.addresses(server);
        let tcp = addresses.iter().find_map(Address::tcp);
        tcp.unwrap_or_else(|| panic!("the server \"{server}\" has no TCP address: {addresses:?}"))
    }

    /// A view of the daemon: its phase, and all addresses of its servers.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// The daemon's shutdown.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Stops the daemon in order and waits for its end. The cause is a request, unless something else has
    /// stopped it before.
    pub async fn stop(self) -> Exit {
        self.shutdown.trigger(Cause::Request("by its owner".to_owned()));
        self.ended().await
    }

    /// Waits for the end of the daemon, without stopping it.
    pub async fn ended(mut self) -> Exit {
        if let Some(exit) = self.exit {
            return exit;
        }
        match (&mut self.task).await {
            Ok(Ok(exit)) => exit,
            Ok(Err(error)) => error.exit(),
            Err(panic) => resume_unwind(panic.into_panic()),
        }
    }
}

impl Drop for SpawnedDaemon {
    fn drop(&mut self) {
        self.shutdown.trigger(Cause::Request("its owner is gone".to_owned()));
    }
}
