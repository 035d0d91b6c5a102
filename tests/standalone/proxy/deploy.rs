//! Another address by a reload: a deployment without a gap.

use std::{fs, path::PathBuf};

use rustix::process::Signal;

use super::{OK, Place, answer, hears_ok, request};

use crate::support::{Daemon, End, Launch, Manager, Played};

/// Two places for an application, and a file that names one of them.
struct Deployment {
    old: Place,
    new: Place,
    file: PathBuf,
}

impl Deployment {
    fn new() -> Self {
        let (old, new) = (Place::new(), Place::new());
        let file = old.directory.path().join("lockstepd.toml");
        let deployment = Self { old, new, file };
        deployment.write(&deployment.old.address(), "");
        deployment
    }

    /// Writes the file.
    fn write(&self, address: &str, more: &str) {
        let text = format!("[public]\nproxy = \"{address}\"\n[proxy]\nwait = \"20s\"\n{more}");
        fs::write(&self.file, text).expect("it can be written");
    }

    fn launch(&self) -> Launch {
        Launch::daemon().env("LOCKSTEPD_CONFIG", &self.file)
    }

    /// Starts the daemon, and an application at each place that the test plays.
    #[track_caller]
    fn start(&self) -> (Daemon, Played, Played) {
        let [old, new] = [&self.old, &self.new].map(|place| Played::bind(&place.socket()));
        (self.launch().start(), old, new)
    }
}

/// The next connection of an application answers a request of a client of its own.
#[track_caller]
fn assert_goes_to(public: &str, there: &Played, other: &Played) {
    let mut client = End::asking(public, request("GET /where", ""));
    let mut application = there.accept();
    assert_eq!(application.head().first(), "GET /where HTTP/1.1");
    application.send(OK);
    hears_ok(&mut client);
    assert!(other.is_alone());
}

#[test]
fn new_requests_go_to_the_new_address_and_slow_ones_end_at_the_old() {
    let deployment = Deployment::new();
    let (mut daemon, old, new) = deployment.start();
    let public = daemon.public();
    let mut slow = End::asking(&public, request("POST /slow", "Content-Length: 8\r\n") + "half");
    let mut slows = old.accept();
    slows.head();
    let mut kept = End::asking(&public, request("GET /kept", ""));
    let mut kepts = old.accept();
    kepts.head();
    kepts.send(OK);
    hears_ok(&mut kept);
    deployment.write(&deployment.new.address(), "");
    daemon.signal(Signal::HUP);
    let event = daemon.event("requests go to another address");
    assert_eq!(event["before"], deployment.old.address());
    assert_eq!(event["address"], deployment.new.address());
    daemon.event("reloaded");
    // Kept connections to the old one are closed, those of clients are kept.
    assert_eq!(kepts.rest(), "");
    kept.send(request("GET /kept", ""));
    let mut application = new.accept();
    application.head();
    application.send(OK);
    hears_ok(&mut kept);
    slow.send("rest");
    slows.hears("halfrest");
    slows.send(answer("200 OK", "Content-Length: 4\r\n") + "done");
    assert_eq!(slow.head().status(), 200);
    slow.hears("done");
    // It is not kept for another request.
    assert_eq!(slows.rest(), "");
    assert!(old.is_alone());
}

#[test]
fn an_application_that_is_not_well_gets_no_requests() {
    let deployment = Deployment::new();
    let (old, new) =
        (Played::bind(&deployment.old.socket()), Played::bind(&deployment.new.socket()));
    let manager = Manager::new();
    let mut daemon = deployment.launch().notify(&manager).start();
    let public = daemon.public();
    deployment.write(&deployment.new.address(), "health = \"/up?now\"\n");
    for (times, status) in ["503 Service Unavailable", "301 Moved Permanently"].iter().enumerate() {
        daemon.signal(Signal::HUP);
        let mut application = new.accept();
        let head = application.head();
        assert_eq!(head.first(), "GET /up?now HTTP/1.1");
        assert_eq!(head.all("user-agent"), ["lockstepd-health"]);
        application.send(answer(status, "Content-Length: 0\r\n"));
        daemon.lines_with(times + 1, "not reloaded; the configuration before holds");
        assert_goes_to(&public, &old, &new);
    }
    let event = daemon.event("not reloaded; the configuration before holds");
    let error = event["error"].as_str().unwrap();
    let (to, before) = (deployment.new.address(), deployment.old.address());
    let text = format!(
        "cannot pass requests on to {to}: /up?now answers 503 Service Unavailable; they go to {before} as before"
    );
    assert_eq!(error, text);
    // Then it is.
    daemon.signal(Signal::HUP);
    let mut application = new.accept();
    application.head();
    application.send(OK);
    daemon.event("reloaded");
    assert_goes_to(&public, &new, &old);
    // It is ready after the start and after each reload, whatever came of it.
    let mut told = Vec::new();
    for _ in 0..4 {
        loop {
            let lines = manager.next();
            let is_ready = lines.contains(&"READY=1".to_owned());
            told.extend(lines);
            if is_ready {
                break;
            }
        }
    }
    let status = format!("STATUS=not reloaded: {text}");
    assert!(told.iter().any(|line| line.starts_with(&status)), "{told:#?}");
}

#[test]
fn an_application_that_is_not_there_gets_no_requests_if_it_is_to_be_asked() {
    let deployment = Deployment::new();
    let old = Played::bind(&deployment.old.socket());
    let mut daemon = deployment.launch().start();
    deployment.write(&deployment.new.address(), "health = \"/up\"\n");
    daemon.signal(Signal::HUP);
    let event = daemon.event("not reloaded; the configuration before holds");
    assert!(event["error"].as_str().unwrap().contains("No such file"), "{event}");
    let mut client = End::asking(&daemon.public(), request("GET /", ""));
    let mut application = old.accept();
    application.head();
    application.send(OK);
    hears_ok(&mut client);
}

#[test]
fn waiting_requests_go_on_to_the_new_address() {
    let deployment = Deployment::new();
    let mut daemon = deployment.launch().start();
    let mut client = End::asking(&daemon.public(), request("POST /", "Content-Length: 0\r\n"));
    daemon.event("the application is away; requests wait for it");
    let _there = deployment.new.application(&[]);
    deployment.write(&deployment.new.address(), "");
    daemon.signal(Signal::HUP);
    assert_eq!(client.head().status(), 200);
    let event = daemon.event("the application is back");
    assert_eq!(event["address"], deployment.new.address());
}

#[test]
fn a_mistake_in_the_file_is_named_and_changes_nothing() {
    let deployment = Deployment::new();
    let (mut daemon, old, new) = deployment.start();
    let public = daemon.public();
    let address = deployment.new.address();
    for (times, (text, line, key)) in [
        (format!("[public]\nproxy = \"{address}\"\n[proxy]\nwait = \"soon\"\n"), 4, "wait"),
        ("[public]\nproxy = \"localhost:80\"\n".to_owned(), 2, "localhost:80"),
        (format!("[public]\nproxy = \"{address}\"\n[proxy]\nwhat = 1\n"), 4, "what"),
        (format!("[public]\nproxy = \"{address}\"\n[proxy]\nvia = \"yes\"\n"), 4, "via"),
        (
            format!("[public]\nproxy = \"{address}\"\n[proxy]\n\ntrusted_proxies = [\"me\"]\n"),
            5,
            "\"me\" is no address or network",
        ),
        (format!("[public]\nproxy = \"{address}\"\n[proxy]\nmax_waiting = -1\n"), 4, "max_waiting"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(&deployment.file, &text).unwrap();
        daemon.signal(Signal::HUP);
        daemon.lines_with(times + 1, "not reloaded; the configuration before holds");
        let place = format!("{}:{line}:", deployment.file.display());
        daemon.find(&format!("an error with {place:?} and {key:?}"), |event| {
            let error = event["error"].as_str().unwrap_or_default();
            error.contains(&place) && error.contains(key)
        });
        // A start says the same.
        let ended = deployment.launch().args(["check"]).end();
        ended.assert(78, &[&place, key]);
    }
    assert_goes_to(&public, &old, &new);
}

#[test]
fn a_health_path_that_is_none_is_refused() {
    let deployment = Deployment::new();
    deployment.write(&deployment.old.address(), "health = \"up\"\n");
    let ended = deployment.launch().args(["check"]).end();
    ended.assert(78, &["\"up\" is no path (write \"/up\")"]);
}
