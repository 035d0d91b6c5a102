//! The daemon with an application behind it.
//!
//! Where bytes matter, the test plays the application itself; where it has to be counted what is executed, or the
//! application ends and comes again, it is a process of its own.

mod deploy;
mod expect;
mod faults;
mod fields;
mod framing;
mod hold;
mod http2;
mod leaving;
mod methods;
mod restarts;
mod streams;
mod to_http2;
mod tunnels;
mod waiting;

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Application, Daemon, End, Launch, PATIENCE, Played, wait_until};

/// A place for an application, and a daemon that passes requests on to it.
pub(crate) struct Place {
    directory: TempDir,
}

// === impl Place ===

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("app.sock")
    }

    /// Its address.
    fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Where the application writes down what it has executed.
    fn executed(&self) -> PathBuf {
        self.directory.path().join("executed")
    }

    /// A daemon that passes requests on to it.
    pub(crate) fn launch(&self) -> Launch {
        Launch::daemon().args(["--public-proxy", &self.address()])
    }

    #[track_caller]
    pub(crate) fn application(&self, options: &[&str]) -> Application {
        Application::start(&self.address(), &self.executed(), options)
    }
}

/// A daemon with these options, and the application that the test plays behind it.
#[track_caller]
fn played(options: &[&str]) -> (Place, Played, Daemon, String) {
    let place = Place::new();
    let played = Played::bind(&place.socket());
    let mut daemon = place.launch().args(options).start();
    let public = daemon.public();
    (place, played, daemon, public)
}

/// A request with these fields, each with its line's end.
fn request(first: &str, fields: &str) -> String {
    format!("{first} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n")
}

/// An answer with these fields, each with its line's end.
fn answer(status: &str, fields: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}\r\n")
}

/// The application's whole answer.
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Reads the answer [`OK`].
#[track_caller]
fn hears_ok(client: &mut End) {
    assert_eq!(client.head().status(), 200);
    client.hears("ok");
}

/// The application as the admin server shows it.
#[track_caller]
fn application(daemon: &mut Daemon) -> Value {
    let status = daemon.get_admin("/status").body;
    let status: Value = serde_json::from_str(&status).expect("the status is JSON");
    status["applications"][0].clone()
}

/// Waits until so many requests are with the application.
#[track_caller]
fn assert_in_flight(daemon: &mut Daemon, number: u64) {
    wait_until(&format!("{number} requests in flight"), PATIENCE, || {
        application(daemon)["requests_in_flight"] == number
    });
}
