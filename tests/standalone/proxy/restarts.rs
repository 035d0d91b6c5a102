//! Restarts of the application under clients that never ask twice, counted by the application itself.

use std::{collections::HashSet, path::Path, thread, time::Duration};

use super::{Place, hold::tell};

use crate::support::{
    Control, Daemon, Executed, Launch, Load, PATIENCE, Report, Server, executed, wait_until,
};

const ROUNDS: usize = 10;

/// Ends the crowd also if something fails: the scope waits for it.
struct Ending<'c>(&'c Control);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// 16 clients that keep their connections and ask with methods of both kinds, while `restart` is called so many times
/// with answers in between.
#[track_caller]
pub(super) fn under_load(daemon: &mut Daemon, mut restart: impl FnMut(&mut Daemon)) -> Report {
    let body = "b".repeat(3000);
    let with_body = |method: &str| {
        let path = format!("/{}?id={{id}}", method.to_lowercase());
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n{body}")
    };
    let requests = [
        "GET /get?id={id} HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "POST /short?id={id} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(),
        with_body("POST"),
        with_body("PUT"),
    ];
    let load = Load {
        clients: 16,
        think: Duration::from_millis(5),
        requests: requests.map(String::into_bytes).to_vec(),
        ..Load::on(Server::Tcp(daemon.public().parse().expect("it is an address")))
    };
    let control = Control::default();
    thread::scope(|scope| {
        let crowd = scope.spawn(|| load.run(&control));
        let ending = Ending(&control);
        for _ in 0..ROUNDS {
            let before = control.answers();
            wait_until("the crowd is served", PATIENCE, || control.answers() >= before + 100);
            restart(daemon);
        }
        let before = control.answers();
        wait_until("the crowd is served", PATIENCE, || control.answers() >= before + 100);
        drop(ending);
        crowd.join().expect("the crowd")
    })
}

/// The daemon stops in order, and nothing in it has panicked.
#[track_caller]
pub(super) fn assert_unharmed(daemon: Daemon) {
    let ended = daemon.stop();
    ended.assert(0, &[]);
    let panics: Vec<_> = ended.log.iter().filter(|line| line.contains("panic")).collect();
    assert!(panics.is_empty(), "{panics:#?}");
}

fn is_post(request: &Executed) -> bool {
    request.method == "POST"
}

/// Each POST that was answered was executed once, whole, and none was executed twice.
#[track_caller]
pub(super) fn assert_executed_once(file: &Path, failed: &[String]) {
    let executed = executed(file);
    let mut posts = HashSet::new();
    for request in executed.iter().filter(|request| is_post(request)) {
        assert!(posts.insert(request.id.clone()), "{request:?} was executed twice");
        let length = if request.path == "/short" { 0 } else { 3000 };
        assert_eq!(request.length, length, "{request:?}");
    }
    let whole = |request: &&Executed| request.method == "PUT" && request.length != 3000;
    assert_eq!(executed.iter().find(whole), None);
    // The ids of all that failed and are not among the executed were lost with the process that had read them.
    assert!(failed.iter().all(|failure| failure.contains(": POST ")), "{failed:#?}");
    assert!(failed.iter().all(|failure| failure.contains("502 bad gateway")), "{failed:#?}");
}

#[test]
fn sigkill_fails_only_what_was_read_and_may_not_be_repeated() {
    let place = Place::new();
    let mut application = Some(place.application(&[]));
    let mut daemon = place.launch().start();
    let report = under_load(&mut daemon, |_| {
        application.take().expect("it runs").kill();
        application = Some(place.application(&[]));
    });
    println!("{report}");
    let status = super::application(&mut daemon);
    assert_unharmed(daemon);
    assert_executed_once(&place.executed(), &report.failures);
    // At most each client's one request in each round.
    assert!(report.failures.len() <= 16 * ROUNDS);
    assert_eq!(status["failures"]["closed"], report.failures.len(), "{status}");
    assert_eq!(status["failures"]["away"], 0, "{status}");
}

#[test]
fn sigkill_on_a_port_fails_nothing_that_may_be_repeated() {
    let place = Place::new();
    let address = Launch::free_address();
    let start = || crate::support::Application::start(&address, &place.executed(), &[]);
    let mut application = Some(start());
    let mut daemon = Launch::daemon().args(["--public-proxy", &address]).start();
    let report = under_load(&mut daemon, |_| {
        application.take().expect("it runs").kill();
        application = Some(start());
    });
    println!("{report}");
    assert_unharmed(daemon);
    assert_executed_once(&place.executed(), &report.failures);
}

#[test]
fn a_restart_that_is_announced_fails_nothing() {
    let place = Place::new();
    let mut application = Some(place.application(&["--graceful"]));
    let mut daemon = place.launch().start();
    let report = under_load(&mut daemon, |daemon| {
        let (code, said) = tell(&daemon.admin(), &["hold", "--strict"]);
        assert_eq!((code, &*said), (0, "public: held, nothing is in flight\n"));
        assert_eq!(application.take().expect("it runs").stop(), 0);
        application = Some(place.application(&["--graceful"]));
        let (code, said) = tell(&daemon.admin(), &["release", "--strict"]);
        assert_eq!(code, 0, "{said}");
    });
    println!("{report}");
    assert_unharmed(daemon);
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert_executed_once(&place.executed(), &[]);
}

#[test]
fn even_an_ungraceful_application_may_be_restarted_when_it_is_announced() {
    let place = Place::new();
    let mut application = Some(place.application(&[]));
    let mut daemon = place.launch().start();
    let report = under_load(&mut daemon, |daemon| {
        let (code, said) = tell(&daemon.admin(), &["hold", "--strict"]);
        assert_eq!((code, &*said), (0, "public: held, nothing is in flight\n"));
        application.take().expect("it runs").kill();
        application = Some(place.application(&[]));
        tell(&daemon.admin(), &["release"]);
    });
    println!("{report}");
    assert_unharmed(daemon);
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert_executed_once(&place.executed(), &[]);
}
