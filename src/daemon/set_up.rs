//! What a program has to await before it can serve: a connection pool, a migration.
//!
//! The service manager's sockets, the log and the signals come first, so that the set-up finds all of them, and
//! a signal ends it. It runs in a task: code that blocks its thread holds up neither a stop nor the messages to
//! the service manager.

use std::process::ExitCode;

use tokio::runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, timeout};

use crate::BoxError;
use crate::daemon::builder::Daemon;
use crate::daemon::error::{Error, Exit};
use crate::daemon::run::{run, system};
use crate::daemon::running::Process;
use crate::daemon::stop::{ABORT, EXTENSION, stop_early};
use crate::handover::program::CHECK_VARIABLE;
use crate::lifecycle::shutdown::Cause;
use crate::log::error_text::{chain, panic_message, say_without_log};
use crate::manager::notify::{Notifier, STATUS_INTERVAL};
use crate::sockets::inherit::Inherited;

/// The set-up as a cause names it.
const SET_UP: &str = "set-up";

impl Daemon {
    /// Runs the daemon as [`Daemon::run`] does, once `set_up` has completed it.
    ///
    /// `set_up` is for what has to be awaited before there can be a router: a pool of connections, a
    /// migration, a configuration that comes from elsewhere. The service manager's sockets are taken, the log is
    /// set up and signals are heard before it begins, so what concerns those (`Daemon::log`,
    /// [`Daemon::inherited`]) is said before; servers, tasks and all else may be added to the daemon that it is
    /// given, which it has to give back. Clients wait in the sockets' queue meanwhile.
    ///
    /// While it lasts, STATUS says so, and the service manager is asked to wait, for as long as it takes. A
    /// signal ends it: the future is dropped at its next await. An error or a panic of it is the [`Cause`] in log
    /// and STATUS, with exit code 1; one that is an [`Error`] ends with that one's exit code, for example
    /// [`Error::Configuration`] with 78, after which the unit does not start it again.
    ///
    /// An upgrade in place runs it twice: in the dry run of the new program, for 10 s at most, and in
    /// the new program itself. What must not happen while the old program still serves asks
    /// [`Daemon::is_dry_run`].
    ///
    /// # Examples
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use lockstepd::Daemon;
    ///
    /// fn main() -> std::process::ExitCode {
    ///     Daemon::new("shop").run_with(async |daemon| {
    ///         let greeting = tokio::fs::read_to_string("/etc/shop/greeting").await?;
    ///         let router = Router::new().route("/", get(|| async { greeting }));
    ///         Ok(daemon.server("public", "0.0.0.0:8080", router))
    ///     })
    /// }
    /// ```
    #[must_use]
    pub fn run_with<F, T>(self, set_up: F) -> ExitCode
    where
        F: FnOnce(Self) -> T,
        T: Future<Output = Result<Self, BoxError>> + Send + 'static,
    {
        if self.is_dry_run() {
            return dry_run(self, set_up).unwrap_or_else(|error| {
                eprintln!("{error}");
                error.exit().into()
            });
        }
        run(self, Some(set_up)).map_or_else(|error| error.report(), Into::into)
    }

    /// Tells whether this process only finds out if the program would start: it is the dry run of an upgrade
    /// in place (`SIGUSR2`), and another process serves.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        std::env::var_os(CHECK_VARIABLE).is_some()
    }
}

/// Checks the daemon that `set_up` completes.
fn dry_run<F, T>(mut daemon: Daemon, set_up: F) -> Result<ExitCode, Error>
where
    F: FnOnce(Daemon) -> T,
    T: Future<Output = Result<Daemon, BoxError>>,
{
    let inherited = daemon.inherited.take().map_or_else(Inherited::take, Ok)?;
    let shutdown = daemon.shutdown.clone();
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    let completed = runtime.block_on(async { set_up(daemon).await });
    let checked = match completed {
        Ok(mut daemon) if daemon.shutdown.is_same(&shutdown) => {
            daemon.inherited = Some(inherited);
            Ok(daemon.check())
        }
        Ok(_) => Err(not_the_same()),
        Err(error) => cause_of(error).map(|cause| {
            eprintln!("{cause}");
            Exit::MemberFailed.into()
        }),
    };
    runtime.shutdown_background();
    checked
}

/// Has `set_up` complete the daemon; answers the exit code if a signal came or the set-up failed.
///
/// # Errors
/// When the set-up says that the program cannot start.
pub(crate) async fn complete<F, T>(
    daemon: Daemon,
    set_up: F,
    process: &Process,
) -> Result<Result<Daemon, Exit>, Error>
where
    F: FnOnce(Daemon) -> T,
    T: Future<Output = Result<Daemon, BoxError>> + Send + 'static,
{
    let (shutdown, notifier) = (daemon.shutdown.clone(), &process.notifier);
    let mut task = tokio::spawn(set_up(daemon));
    let ended = tokio::select! {
        biased;
        ended = &mut task => ended,
        () = shutdown.triggered() => {
            end(task).await;
            return Ok(Err(stop_early(&shutdown, notifier)));
        }
        never = report_progress(notifier) => never,
    };
    let cause = match ended {
        Ok(Ok(daemon)) if daemon.shutdown.is_same(&shutdown) => {
            // It may have triggered the shutdown itself.
            return Ok(if shutdown.is_triggered() {
                Err(stop_early(&shutdown, notifier))
            } else {
                Ok(daemon)
            });
        }
        Ok(Ok(_)) => return Err(not_the_same()),
        Ok(Err(error)) => cause_of(error)?,
        Err(error) if error.is_panic() => Cause::Panicked {
            member: SET_UP.to_owned(),
            message: panic_message(&*error.into_panic()),
        },
        Err(_) => unreachable!("only a stop cancels the set-up"),
    };
    say_without_log(|| cause.to_string());
    shutdown.trigger(cause);
    Ok(Err(stop_early(&shutdown, notifier)))
}

/// Drops what the set-up has so far, unless it blocks its thread.
async fn end(task: JoinHandle<Result<Daemon, BoxError>>) {
    task.abort();
    // It has ended, or will at its next await.
    let _ = timeout(ABORT, task).await;
}

/// The cause that an error of the set-up is.
///
/// # Errors
/// When it says itself that the program cannot start.
fn cause_of(error: BoxError) -> Result<Cause, Error> {
    match error.downcast::<Error>() {
        Ok(error) => Err(*error),
        Err(error) => Ok(Cause::Failed { member: SET_UP.to_owned(), error: chain(&*error) }),
    }
}

fn not_the_same() -> Error {
    Error::Configuration(
        "the set-up gave back another daemon than it was given (add the servers to that one)"
            .to_owned(),
    )
}

/// Tells the service manager once a second that the set-up goes on, and asks it to wait.
async fn report_progress<T>(notifier: &Notifier) -> T {
    let begun = Instant::now();
    let mut seconds = interval(STATUS_INTERVAL);
    loop {
        seconds.tick().await;
        let status = format!("Setting up for {} s", begun.elapsed().as_secs());
        notifier.progress(&status, EXTENSION);
    }
}
