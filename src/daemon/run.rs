//! Running a daemon, from its start to its exit code.
//!
//! Start: sockets of the environment, before any thread exists → log → signals → the program's set-up → sockets adopted or
//! bound → connections taken over → members spawned → every latch down → READY=1.

use std::future::Ready;
use std::io;
use std::process::ExitCode;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime;
use tokio::task::spawn_blocking;

use crate::BoxError;
use crate::connections::limits::DESCRIPTORS_MIN;
use crate::daemon::builder::Daemon;
use crate::daemon::error::{Error, Exit};
use crate::daemon::overseer::{Members, Overseer};
use crate::daemon::running::Process;
use crate::daemon::set_up::complete;
use crate::daemon::start::start;
use crate::daemon::stop::stop_early;
use crate::handover::program::{Program, VALID};
use crate::http::access;
use crate::lifecycle::phase::Phase;
use crate::lifecycle::shutdown::Cause;
use crate::lifecycle::signals::{self, Orders};
use crate::log::error_text::say_without_log;
#[cfg(feature = "log")]
use crate::log::{LevelHandle, finish};
use crate::manager::notify::Notifier;
use crate::sockets::inherit::{InheritError, Inherited};

impl Daemon {
    /// Runs the daemon until it stops, and answers an [`Exit`] code.
    ///
    /// Call it from a plain `fn main`: the service manager's sockets have to be taken before the
    /// first thread starts. It does what a whole program needs: sets up the log, handles
    /// signals (`SIGTERM`, `SIGINT`, `SIGHUP`, `SIGUSR2`), raises the limit of descriptors, and
    /// starts a runtime. [`Daemon::run_until`] does none of these.
    ///
    /// One thread receives the signals, and all others have them blocked. [`std::process::Command`], and tokio's,
    /// unblock them in the child; a program that calls fork(2) itself has to do that itself.
    #[must_use]
    pub fn run(self) -> ExitCode {
        if self.is_dry_run() {
            return self.check();
        }
        run(self, None::<fn(Self) -> Ready<Result<Self, BoxError>>>)
            .map_or_else(|error| error.report(), Into::into)
    }

    /// Runs the daemon in the caller's runtime until `stop` is ready, or anything else stops it.
    ///
    /// The value of `stop` is the cause of the stop. It decides what happens to idle connections:
    /// with [`Cause::Terminate`] they are handed to the next process, if the service manager keeps
    /// them. Everything is drained as at any stop, and nothing of the daemon is left when this
    /// returns, but for members that did not end in time.
    ///
    /// This is for programs with a runtime of their own, which has to have its I/O
    /// and time drivers enabled. Signals, the log and limits of the process are left to the program; so there
    /// is no reload by `SIGHUP` and no upgrade in place. The service manager gets the same messages as with
    /// [`Daemon::run`]. For tests there is [`Daemon::spawn`]; what a program only has to await before it serves
    /// needs no runtime of its own, see [`Daemon::run_with`].
    ///
    /// The service manager's sockets have to be taken with [`Inherited::take`] before the runtime has
    /// started threads. Where that was not done and nothing was passed, a warning says that it would fail.
    ///
    /// # Errors
    /// When the daemon could not start.
    ///
    /// # Cancel safety
    /// Not cancel safe: if the future is dropped, tasks with open connections go on running. Let `stop` complete
    /// instead.
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
        if self.is_dry_run() {
            // The dry run of an upgrade in place asks whether this program would start.
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
                notifier: Notifier::from_env().map_err(system(NOTIFY_THREAD))?,
                program: Program::current(),
                members: Members::default(),
                tells_without_log: true,
                #[cfg(feature = "log")]
                level: LevelHandle::none(),
            };
            let stop = async {
                shutdown.trigger(stop.await);
                // The shutdown ends the other future.
                std::future::pending().await
            };
            let notifier = process.notifier.clone();
            // None are given: signals are the caller's.
            let (orders, _) = Orders::new();
            let exit = tokio::select! {
                exit = run_in_runtime(self, process, &orders) => exit,
                never = stop => never,
            };
            // The caller may be about to end the process. A panic in there changes nothing about the exit.
            let flushed = spawn_blocking(move || {
                notifier.flush();
                access::flush();
            });
            let _ = flushed.await;
            exit
        };
        let exit = ran.await;
        // Also if it could not start: `Monitor::ready` waits for this.
        phases.set(Phase::Stopped);
        exit
    }
}

/// Runs `daemon` to its end in a runtime of its own, once `set_up`, if there is one, has completed it.
///
/// # Errors
/// When it could not start.
pub(crate) fn run<F, T>(mut daemon: Daemon, set_up: Option<F>) -> Result<Exit, Error>
where
    F: FnOnce(Daemon) -> T,
    T: Future<Output = Result<Daemon, BoxError>> + Send + 'static,
{
    let started = Instant::now();
    if runtime::Handle::try_current().is_ok() {
        return Err(Error::Configuration(
            "Daemon::run starts a runtime, and cannot be called inside of one (call it from a \
             plain fn main, with asynchronous set-up in Daemon::run_with; or await Daemon::run_until)"
                .to_owned(),
        ));
    }
    let inherited = daemon.inherited.take().map_or_else(Inherited::take, Ok)?;
    // Before there are threads, which inherit the signal mask.
    signals::prepare().map_err(system("reset the signals that the parent process has blocked"))?;
    let process = Process {
        started,
        notifier: Notifier::from_env().map_err(system(NOTIFY_THREAD))?,
        #[cfg(feature = "log")]
        level: match &daemon.log {
            Some(log) => log.install(&daemon.name)?,
            None => LevelHandle::none(),
        },
        program: Program::current(),
        members: Members::default(),
        tells_without_log: true,
    };
    raise_descriptor_limit()?;
    let notifier = process.notifier.clone();
    let (orders, block_requests) = Orders::new();
    let overseer = Overseer {
        shutdown: daemon.shutdown.clone(),
        orders: orders.clone(),
        notifier: notifier.clone(),
        drain_timeout: daemon.drain_timeout,
        members: process.members.clone(),
    };
    // Lives until this function returns.
    let _overseer = overseer.start(block_requests).map_err(system("register signal handlers"))?;
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    let exit = runtime.block_on(async {
        let mut daemon = match set_up {
            Some(set_up) => match complete(daemon, set_up, &process).await? {
                Ok(daemon) => daemon,
                Err(exit) => return Ok(exit),
            },
            None => daemon,
        };
        daemon.inherited = Some(inherited);
        run_in_runtime(daemon, process, &orders).await
    });
    // Tasks that have not ended by now are not waited for.
    runtime.shutdown_background();
    notifier.flush();
    access::flush();
    #[cfg(feature = "log")]
    finish();
    exit
}

/// Starts, serves and stops.
pub(crate) async fn run_in_runtime(
    mut daemon: Daemon,
    process: Process,
    orders: &Orders,
) -> Result<Exit, Error> {
    let inherited = match daemon.inherited.take() {
        Some(inherited) => inherited,
        None => take_late()?,
    };
    let (shutdown, notifier) = (daemon.shutdown.clone(), process.notifier.clone());
    let mut running = match start(daemon, inherited, process).await {
        Err(Error::Sockets(error)) if error.may_pass() && shutdown.is_triggered() => {
            return Ok(stop_early(&shutdown, &notifier));
        }
        started => started?,
    };
    running.show_to_overseer();
    let _watchdog = running.watch().map_err(system("start the watchdog's thread"))?;
    running.serve(orders).await;
    Ok(running.stop().await)
}

/// Takes the service manager's sockets inside of a runtime. Where there are none, a program that could not have
/// taken them is warned: it would fail under a service manager only.
fn take_late() -> Result<Inherited, InheritError> {
    let may_take = Inherited::check_threads();
    let inherited = Inherited::take_late()?;
    if let Err(error) = may_take {
        tracing::warn!("under a service manager that passes sockets this would not start: {error}");
        say_without_log(|| {
            format!("under a service manager that passes sockets this would not start: {error}")
        });
    }
    Ok(inherited)
}

/// What is attempted when a notifier starts, for the error.
const NOTIFY_THREAD: &str = "start the thread that tells the service manager";

pub(crate) fn system(attempt: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { attempt, source }
}

/// Allows as many descriptors as the hard limit does: each connection needs one, and the usual soft
/// limit of 1024 is there for programs that use select(2).
///
/// # Errors
/// When there are too few to serve any client.
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
