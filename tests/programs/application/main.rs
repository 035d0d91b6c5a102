//! An HTTP/1.1 application behind the proxy: written by hand on threads, so that its bytes on the wire are exact.
//!
//! ```text
//! application unix:PATH|IP:PORT EXECUTED [--starting-503 N] [--keep-alive SECONDS] [--crash-after N] [--graceful]
//! ```
//!
//! It says `listening on ADDRESS` on standard output, and `gone PATH ID` when the client of an answer without an
//! end has left. What it executes is appended to the file `EXECUTED`, a line `METHOD PATH ID BODYLENGTH` each, before
//! the answer: the count survives `SIGKILL`. A request's id is its field `X-Id`, or `id` in the query, or `-`.
//!
//! Every answer says on which connection of this process it came, and as which of that connection's requests:
//! `X-Process`, `X-Connection`, `X-Request`. The paths are in [`answers`], those of faults in [`faults`].
//!
//! | option | |
//! |---|---|
//! | `--starting-503 N` | the first N requests get a 503 and are not executed |
//! | `--keep-alive SECONDS` | a connection that is idle for so long is closed |
//! | `--crash-after N` | aborts after N executed requests; the last is not answered |
//! | `--graceful` | `SIGTERM` lets requests in flight finish; else it ends everything at once |

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::process;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::exchange::serve;
use crate::stream::Listener;
use crate::stream::Stream;

mod answers;
mod exchange;
mod faults;
mod request;
mod stream;

/// What all connections share.
pub(crate) struct Application {
    options: Options,
    executed: File,
    count: AtomicU64,
    refused: AtomicU64,
    stopping: AtomicBool,
    /// Those that wait for a request, and the others, by their number.
    connections: Mutex<HashMap<u64, Connection>>,
}

struct Connection {
    stream: Stream,
    is_idle: bool,
    /// No request will be read from it.
    has_ended: bool,
}

/// The command line.
pub(crate) struct Options {
    address: String,
    executed: String,
    starting_503: u64,
    pub(crate) keep_alive: Option<Duration>,
    crash_after: Option<u64>,
    graceful: bool,
}

fn main() -> io::Result<()> {
    let options = Options::parse(std::env::args().skip(1));
    let listener = Arc::new(Listener::bind(&options.address)?);
    let application = Arc::new(Application::new(options)?);
    if application.options.graceful {
        let (application, listener) = (Arc::clone(&application), Arc::clone(&listener));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut term = runtime.block_on(async { signal(SignalKind::terminate()) })?;
        thread::spawn(move || {
            runtime.block_on(term.recv());
            application.stop(listener);
        });
    }
    println!("listening on {}", listener.address()?);
    for number in 1.. {
        let stream = match listener.accept() {
            Ok(stream) => stream,
            Err(_) if application.is_stopping() => break,
            Err(error) => return Err(error),
        };
        application.begin(number, stream.try_clone()?);
        let application = Arc::clone(&application);
        thread::spawn(move || {
            // How it ended is for the client to see.
            let _ = serve(&application, stream, number);
            application.end(number);
        });
    }
    // The signal's thread ends the process once all connections have ended.
    drop(listener);
    loop {
        thread::park();
    }
}

// === impl Application ===

impl Application {
    fn new(options: Options) -> io::Result<Self> {
        let executed = File::options().append(true).create(true).open(&options.executed)?;
        let connections = Mutex::default();
        let (count, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self {
            options,
            executed,
            count,
            refused,
            stopping: AtomicBool::new(false),
            connections,
        })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// Whether this request is one of the first, which are refused.
    pub(crate) fn is_starting(&self) -> bool {
        self.refused.load(SeqCst) < self.options.starting_503
            && self.refused.fetch_add(1, SeqCst) < self.options.starting_503
    }

    /// Writes down that a request is executed.
    pub(crate) fn execute(&self, line: &str) -> io::Result<()> {
        // One write, which appends all of it or nothing whoever else writes.
        (&self.executed).write_all(format!("{line}\n").as_bytes())?;
        let count = 1 + self.count.fetch_add(1, SeqCst);
        if self.options.crash_after.is_some_and(|after| count >= after) {
            process::abort();
        }
        Ok(())
    }

    /// A connection waits for a request, or one has begun to come; false: none may, the process stops.
    pub(crate) fn set_idle(&self, number: u64, is_idle: bool) -> bool {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = connections.get_mut(&number) else { return false };
        connection.is_idle = is_idle;
        connection.has_ended |= is_idle && self.is_stopping();
        !connection.has_ended
    }

    fn begin(&self, number: u64, stream: Stream) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.insert(number, Connection { stream, is_idle: true, has_ended: false });
    }

    fn end(&self, number: u64) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Listens no more, ends what is idle, waits for the rest, and ends the process.
    fn stop(&self, listener: Arc<Listener>) {
        self.stopping.store(true, SeqCst);
        listener.end();
        drop(listener);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in connections.values_mut().filter(|connection| connection.is_idle) {
            connection.has_ended = true;
            connection.stream.end_reading();
        }
        drop(connections);
        while !self.connections.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        process::exit(0);
    }
}

// === impl Options ===

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            address: arguments.next().expect("an address, then the file of what is executed"),
            executed: arguments.next().expect("an address, then the file of what is executed"),
            starting_503: 0,
            keep_alive: None,
            crash_after: None,
            graceful: false,
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{name} has a value"));
            match &*name {
                "--starting-503" => options.starting_503 = value().parse().expect("a number"),
                "--crash-after" => options.crash_after = Some(value().parse().expect("a number")),
                "--keep-alive" => {
                    let seconds = value().parse().expect("a number of seconds");
                    options.keep_alive = Some(Duration::from_secs_f64(seconds));
                }
                "--graceful" => options.graceful = true,
                _ => panic!("no option is called {name}"),
            }
        }
        options
    }
}
