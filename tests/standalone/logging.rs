//! The log on standard error; the one in the journal is seen under systemd.

use std::{fs::File, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::fstat,
    pipe::{PipeFlags, pipe_with},
};
use serde_json::Value;

use crate::support::{Client, Ended, Launch, Manager, PATIENCE, get, skip, wait_until};

#[test]
fn every_request_is_logged_if_all_are_wanted() {
    let mut daemon = Launch::daemon().args(["--access-log", "all"]).start();
    let (public, admin) = (daemon.public(), daemon.admin());
    let mut client = Client::connect(&public);
    client.request("GET", "/any?query=1");
    client.request("HEAD", "/");
    get(&admin, "/missing");
    let ended = daemon.stop();
    let [any, head, missing] = &requests(&ended)[..] else { panic!("{}", ended.text()) };

    let expected = [("method", "GET"), ("path", "/any"), ("server", "public"), ("level", "INFO")];
    for (field, value) in expected {
        assert_eq!(any[field], value, "{any}");
    }
    assert_eq!((&any["status"], &any["bytes"]), (&200.into(), &27.into()), "{any}");
    assert!(any["duration_us"].is_u64(), "{any}");
    assert!(any["peer"].as_str().unwrap().starts_with("127."), "{any}");
    assert!(!any["request_id"].as_str().unwrap().is_empty(), "{any}");

    assert_eq!((&head["method"], &head["bytes"]), (&"HEAD".into(), &0.into()), "{head}");
    assert_eq!(head["peer"], any["peer"], "the connection is the same");
    assert_ne!(head["request_id"], any["request_id"]);
    let answer = (&missing["status"], &missing["server"], &missing["path"]);
    assert_eq!(answer, (&404.into(), &"admin".into(), &"/missing".into()), "{missing}");
}

#[test]
fn only_errors_are_logged_by_default() {
    let mut daemon = Launch::daemon().start();
    daemon.get_public("/fine");
    daemon.get_admin("/fine");
    daemon.get_admin("/missing");
    Client::connect(&daemon.admin()).request("POST", "/live");
    let ended = daemon.stop();
    let requests = requests(&ended);
    let statuses: Vec<_> = requests.iter().map(|request| &request["status"]).collect();
    assert_eq!(statuses, [404, 404, 405], "{}", ended.text());
}

#[test]
fn no_request_is_logged_if_none_is_wanted() {
    let mut daemon = Launch::daemon().args(["--access-log", "off"]).start();
    daemon.get_public("/fine");
    daemon.get_admin("/missing");
    let ended = daemon.stop();
    assert!(requests(&ended).is_empty(), "{}", ended.text());
}

#[test]
fn a_path_in_the_log_is_bounded() {
    let mut daemon = Launch::daemon().args(["--access-log", "all"]).start();
    daemon.get_public(&format!("/{}", "x".repeat(5000)));
    assert_eq!(daemon.event("request")["path"].as_str().unwrap().len(), 1024);
}

#[test]
fn the_lifecycle_is_logged_once_each() {
    let ended = Launch::daemon().start().stop();
    let events = ended.events();
    let messages: Vec<_> = events.iter().map(|event| event["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["ready", "stopping", "stopped"]);
    assert_eq!(ended.log.len(), 3, "{}", ended.text());
}

#[test]
fn a_line_of_the_human_log_has_level_message_and_fields_without_colours() {
    let manager = Manager::new();
    let address = format!("{}:0", Launch::address());
    let daemon =
        Launch::bare().args(["--public", &address, "--admin", &address]).notify(&manager).spawn();
    manager.next();
    let ended = daemon.stop();
    ended.assert(0, &[" INFO ready ", "addresses=\"public on 127.", "cause=SIGTERM"]);
    assert!(!ended.text().contains('\u{1b}'), "{}", ended.text());
}

#[test]
fn the_level_decides_what_is_logged() {
    let manager = Manager::new();
    let daemon = Launch::daemon().args(["--log-level", "warn"]).notify(&manager).spawn();
    manager.next();
    let ended = daemon.stop();
    ended.assert(0, &[]);
    assert!(ended.log.is_empty(), "{}", ended.text());
}

#[test]
fn rust_log_counts_where_no_level_is_set() {
    let manager = Manager::new();
    let quiet = Launch::daemon().env("RUST_LOG", "warn").notify(&manager).spawn();
    manager.next();
    let ended = quiet.stop();
    assert!(ended.log.is_empty(), "{}", ended.text());
    let set = Launch::daemon().env("RUST_LOG", "off").args(["--log-level", "info"]).start();
    set.stop().event("ready");
}

#[test]
fn a_rust_log_that_is_not_understood_is_named_and_has_no_effect() {
    let ended = Launch::daemon().env("RUST_LOG", "lockstepd").start().stop();
    let warning = ended.event(
        "RUST_LOG has no effect: a level is off, error, warn, info, debug or trace, or by module: \
         info,hyper=warn",
    );
    assert_eq!((&warning["level"], &warning["value"]), (&"WARN".into(), &"lockstepd".into()));
    ended.event("ready");
}

#[test]
fn a_level_can_be_of_one_module() {
    let manager = Manager::new();
    let level = ["--log-level", "off,lockstepd::access=info", "--access-log", "all"];
    let directory = tempfile::tempdir().unwrap();
    let public = format!("unix:{}/public", directory.path().display());
    let daemon =
        Launch::on(&public, &public.replace("public", "admin")).args(level).notify(&manager);
    let daemon = daemon.spawn();
    manager.next();
    get(&public, "/");
    let ended = daemon.stop();
    assert_eq!(ended.events().len(), 1, "{}", ended.text());
    assert_eq!(requests(&ended).len(), 1, "{}", ended.text());
}

#[test]
fn a_peers_mistake_is_no_concern_of_the_operator() {
    let mut daemon = Launch::daemon().start();
    let mut client = Client::connect(&daemon.public());
    client.send("this is no HTTP\r\n\r\n");
    assert_eq!(client.response("GET").status, 400);
    assert!(client.is_closed());
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_journal_that_was_asked_for_and_is_not_there_exits_78() {
    if has_journal() {
        return skip("there is a journal");
    }
    let ended = Launch::daemon().args(["--log-target", "journal"]).end();
    ended.assert(78, &["cannot reach the journal at /run/systemd/journal/socket", "log to stderr"]);
    assert_eq!(ended.log.len(), 1, "{}", ended.text());
}

#[test]
fn a_stderr_that_is_not_the_journal_is_logged_to() {
    // As in a child of a service, which has the variable and another standard error.
    Launch::daemon().env("JOURNAL_STREAM", "8:12345").start().stop().assert(0, &[]);
}

#[test]
fn a_service_without_stderr_and_journal_counts_what_is_lost() {
    if has_journal() {
        return skip("there is a journal");
    }
    // As systemd starts it while journald is down. A process of a session has the variable, too.
    for (pid, is_service) in [(None, true), (Some("1"), false)] {
        let manager = Manager::new();
        let directory = tempfile::tempdir().unwrap();
        let public = format!("unix:{}/public", directory.path().display());
        let admin = public.replace("public", "admin");
        let mut launch = Launch::on(&public, &admin).args(["--access-log", "all"]);
        launch = launch.env("INVOCATION_ID", "0123456789abcdef0123456789abcdef");
        if let Some(pid) = pid {
            launch = launch.env("SYSTEMD_EXEC_PID", pid);
        }
        let null = File::options().write(true).open("/dev/null").unwrap();
        let daemon = launch.stderr(null).notify(&manager).spawn();
        manager.next();
        // More than the log's queue holds.
        let mut client = Client::connect(&public);
        for _ in 0..5000 {
            client.request("GET", "/");
        }
        let is_lost =
            || !get(&admin, "/metrics").body.contains("lockstepd_log_lines_lost_total 0\n");
        if is_service {
            wait_until("lines are lost", PATIENCE, is_lost);
        } else {
            assert!(!is_lost());
        }
        daemon.stop().assert(0, &[]);
    }
}

#[test]
fn a_journal_that_cannot_be_reached_leaves_the_log_on_stderr() {
    if has_journal() {
        return skip("there is a journal");
    }
    let (reader, writer) = pipe();
    let stat = fstat(&writer).unwrap();
    let manager = Manager::new();
    let daemon = Launch::daemon()
        .env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino))
        .stderr(writer)
        .notify(&manager)
        .spawn();
    manager.next();
    daemon.stop().assert(0, &[]);
    let log = std::io::read_to_string(File::from(reader)).unwrap();
    assert!(log.contains("\"ready\""), "{log}");
}

fn requests(ended: &Ended) -> Vec<Value> {
    let events = ended.events().into_iter();
    events.filter(|event| event["target"] == "lockstepd::access").collect()
}

fn has_journal() -> bool {
    Path::new("/run/systemd/journal/socket").exists()
}

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC).unwrap()
}
