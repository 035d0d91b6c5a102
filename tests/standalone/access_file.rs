//! The access log in a file of its own: each line once and whole, whatever becomes of the file.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat},
    process::Signal,
};
use serde_json::Value;

use crate::support::{Client, Daemon, Launch, PATIENCE, wait_until};

/// A directory with the log, and a configuration file that a test may change.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("access.log")
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text:?}");
        text.lines().map(str::to_owned).collect()
    }

    /// A daemon that logs to the file.
    fn launch(&self) -> Launch {
        Launch::daemon().args([Path::new("--log-access-file"), &self.log()])
    }

    /// A daemon whose configuration file has these lines in `[log]`.
    fn configured(&self, log: &str) -> Launch {
        self.configure(log);
        let config = self.path("lockstepd.toml");
        Launch::daemon().args([Path::new("--config"), &config])
    }

    fn configure(&self, log: &str) {
        fs::write(self.path("lockstepd.toml"), format!("[log]\n{log}\n")).unwrap();
    }

    fn fifo(&self) -> PathBuf {
        let path = self.path("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        path
    }
}

/// Asks for `/NUMBER` so many times on one connection.
fn ask(client: &mut Client, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert_eq!(client.request("GET", &format!("/{number}")).status, 200);
    }
}

/// The numbers that lines were asked for, in their order.
fn numbers(lines: &[String]) -> Vec<usize> {
    let number = |line: &String| line.split("GET /").nth(1)?.split(' ').next()?.parse().ok();
    lines.iter().filter_map(number).collect()
}

fn reload(daemon: &mut Daemon, times: usize) {
    daemon.signal(Signal::HUP);
    daemon.lines_with(times, "\"reloaded\"");
}

#[test]
fn every_request_is_a_line_of_the_combined_format_and_no_event() {
    let place = Place::new();
    let mut daemon = place.launch().start();
    let mut client = Client::connect(&daemon.public());
    client.send(
        "GET /any?secret=1 HTTP/1.1\r\nHost: x\r\nUser-Agent: curl/8.5 (a \"b\")\r\nReferer: http://x/\r\n\r\n",
    );
    client.response("GET");
    client.request("HEAD", "/");
    daemon.get_admin("/missing");
    let ended = daemon.stop();
    assert!(!ended.text().contains("lockstepd::access"), "{}", ended.text());
    let lines = place.lines("access.log");
    let [any, head, missing] = &lines[..] else { panic!("{lines:?}") };
    let (host, rest) = any.split_once(" - - [").unwrap();
    let (date, rest) = rest.split_once("] ").unwrap();
    assert!(host.starts_with("127.") && !host.contains(':'), "{any}");
    assert!(date.len() == 26 && date.ends_with(" +0000"), "{any}");
    let expected = r#""GET /any HTTP/1.1" 200 27 "http://x/" "curl/8.5 (a \x22b\x22)""#;
    assert_eq!(rest, expected);
    assert!(head.ends_with("] \"HEAD / HTTP/1.1\" 200 0 \"-\" \"-\""), "{head}");
    assert!(missing.contains("] \"GET /missing HTTP/1.1\" 404 "), "{missing}");
}

#[test]
fn a_line_of_json_has_the_fields_of_the_event_and_more() {
    let place = Place::new();
    let mut daemon = place.launch().args(["--log-access-format", "json"]).start();
    let mut client = Client::connect(&daemon.public());
    client.send("GET /any?secret=1 HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nUser-Agent: \u{e9}\"\r\n\r\n");
    client.response("GET");
    let peer = client.address();
    drop(client);
    daemon.stop().assert(0, &[]);
    let lines = place.lines("access.log");
    let told: Value = serde_json::from_str(&lines[0]).unwrap();
    for (field, value) in [
        ("server", "public"),
        ("method", "GET"),
        ("path", "/any"),
        ("version", "HTTP/1.1"),
        ("request_id", "mine"),
        ("user_agent", "\u{e9}\""),
        ("message", "request"),
        ("peer", &peer),
    ] {
        assert_eq!(told[field], value, "{told}");
    }
    assert_eq!((&told["status"], &told["bytes"]), (&200.into(), &27.into()), "{told}");
    assert!(told["duration_us"].is_u64(), "{told}");
    let time = told["time"].as_str().unwrap();
    humantime::parse_rfc3339(time).unwrap();
    assert_eq!(time.len(), "2026-11-28T14:29:27.000001Z".len());
}

#[test]
fn what_is_no_request_is_a_line_with_a_dash() {
    let place = Place::new();
    let mut daemon = place.launch().start();
    let mut client = Client::connect(&daemon.public());
    client.send("\" 200 1 \"-\" \"forged\" this is no HTTP\r\n\r\n");
    assert_eq!(client.response("GET").status, 400);
    assert!(client.is_closed());
    drop(client);
    daemon.stop().assert(0, &[]);
    let lines = place.lines("access.log");
    assert!(lines.len() == 1 && lines[0].ends_with("] \"-\" 400 0 \"-\" \"-\""), "{lines:?}");
}

#[test]
fn errors_alone_are_written_without_a_limit_where_they_alone_are_wanted() {
    let place = Place::new();
    let mut daemon = place.launch().args(["--access-log", "errors"]).start();
    daemon.get_public("/fine");
    let mut client = Client::connect(&daemon.admin());
    for _ in 0..150 {
        client.request("GET", "/missing");
    }
    drop(client);
    daemon.stop().assert(0, &[]);
    let lines = place.lines("access.log");
    assert!(
        lines.len() == 150 && lines.iter().all(|line| line.contains(" 404 ")),
        "{}",
        lines.len()
    );
}

#[test]
fn a_file_that_is_renamed_is_made_anew_without_a_signal_and_no_line_is_lost() {
    let place = Place::new();
    let mut daemon = place.launch().start();
    let mut client = Client::connect(&daemon.public());
    ask(&mut client, 0..10);
    wait_until("the lines are there", PATIENCE, || place.lines("access.log").len() == 10);
    fs::rename(place.log(), place.path("access.log.1")).unwrap();
    let mut asked = 10;
    wait_until("there is another file", PATIENCE, || {
        ask(&mut client, asked..asked + 1);
        asked += 1;
        place.log().exists()
    });
    ask(&mut client, asked..asked + 10);
    drop(client);
    daemon.stop().assert(0, &[]);
    let [old, new] = ["access.log.1", "access.log"].map(|name| place.lines(name));
    assert!(new.len() >= 10, "{}", new.len());
    assert_eq!(numbers(&[old, new].concat()), (0..asked + 10).collect::<Vec<_>>());
}

#[test]
fn a_reload_opens_the_file_anew_at_once() {
    let place = Place::new();
    let mut daemon = place.launch().start();
    let mut client = Client::connect(&daemon.public());
    ask(&mut client, 0..10);
    fs::rename(place.log(), place.path("access.log.1")).unwrap();
    reload(&mut daemon, 1);
    assert!(place.log().exists());
    ask(&mut client, 10..20);
    drop(client);
    daemon.stop().assert(0, &[]);
    assert_eq!(numbers(&place.lines("access.log.1")), (0..10).collect::<Vec<_>>());
    assert_eq!(numbers(&place.lines("access.log")), (10..20).collect::<Vec<_>>());
}

#[test]
fn a_reload_changes_path_and_format_and_takes_the_file_away() {
    let place = Place::new();
    let file = |name: &str| format!("access_file = \"{}\"", place.path(name).display());
    let mut daemon = place.configured("access = \"all\"").start();
    let mut client = Client::connect(&daemon.public());
    ask(&mut client, 0..1);
    place.configure(&format!("access = \"all\"\n{}", file("one")));
    reload(&mut daemon, 1);
    ask(&mut client, 1..2);
    place.configure(&format!("access = \"all\"\n{}\naccess_format = \"json\"", file("two")));
    reload(&mut daemon, 2);
    ask(&mut client, 2..3);
    place.configure("access = \"all\"");
    reload(&mut daemon, 3);
    ask(&mut client, 3..4);
    drop(client);
    let ended = daemon.stop();
    let events = ended.events().into_iter();
    let logged: Vec<_> =
        events.filter_map(|event| event["path"].as_str().map(str::to_owned)).collect();
    assert_eq!(logged, ["/0", "/3"], "{}", ended.text());
    assert_eq!(numbers(&place.lines("one")), [1]);
    let two: Value = serde_json::from_str(&place.lines("two").concat()).unwrap();
    assert_eq!(two["path"], "/2");
}

#[test]
fn a_reload_with_a_file_that_cannot_be_opened_is_refused_and_the_one_before_goes_on() {
    let place = Place::new();
    place.configure(&format!("access_file = \"{}\"", place.log().display()));
    let config = place.path("lockstepd.toml");
    let mut daemon = Launch::daemon().args([Path::new("--config"), &config]).start();
    let missing = place.path("missing/access.log");
    place.configure(&format!("access_file = \"{}\"", missing.display()));
    daemon.signal(Signal::HUP);
    let told = daemon.event("not reloaded; the configuration before holds");
    let error = told["error"].as_str().unwrap();
    let expected = format!("cannot open the access log {}: No such file", missing.display());
    assert!(error.starts_with(&expected) && error.contains("LogsDirectory="), "{error}");
    daemon.get_public("/1");
    daemon.stop().assert(0, &[]);
    assert_eq!(numbers(&place.lines("access.log")), [1]);
}

#[test]
fn a_file_that_cannot_be_opened_exits_78_and_check_finds_it_and_makes_none() {
    let place = Place::new();
    let missing = place.path("missing/access.log");
    let launch = || Launch::daemon().args([Path::new("--log-access-file"), &missing]);
    let told = format!("cannot open the access log {}: No such file", missing.display());
    launch().end().assert(78, &[&told, "LogsDirectory="]);
    launch().args(["check"]).end().assert(78, &[&told]);
    place.launch().args(["check"]).end().assert(0, &["configuration is valid"]);
    assert!(!place.log().exists());
    let directory = place.0.path();
    let launch = Launch::daemon().args([Path::new("--log-access-file"), directory]);
    launch.end().assert(78, &["cannot open the access log", "(name a file in it)"]);
}

#[test]
fn every_request_before_and_after_restarts_is_one_line() {
    let place = Place::new();
    for round in 0..4 {
        let mut daemon = place.launch().start();
        let mut client = Client::connect(&daemon.public());
        ask(&mut client, 50 * round..50 * (round + 1));
        drop(client);
        daemon.stop().assert(0, &[]);
    }
    assert_eq!(numbers(&place.lines("access.log")), (0..200).collect::<Vec<_>>());
}

#[test]
fn every_request_before_and_after_upgrades_in_place_is_one_line() {
    let place = Place::new();
    // Its own paths, so that the next program finds the sockets that it is to have.
    let [public, admin] =
        ["public", "admin"].map(|name| format!("unix:{}", place.path(name).display()));
    let launch = Launch::on(&public, &admin).args([Path::new("--log-access-file"), &place.log()]);
    let mut daemon = launch.start();
    let mut client = Client::connect(&public);
    for round in 0..4 {
        ask(&mut client, 50 * round..50 * (round + 1));
        daemon.signal(Signal::USR2);
        daemon.lines_with(round + 2, "\"ready\"");
    }
    drop(client);
    daemon.stop().assert(0, &[]);
    assert_eq!(numbers(&place.lines("access.log")), (0..200).collect::<Vec<_>>());
}

#[test]
fn standard_output_takes_the_lines_of_a_daemon_whose_log_goes_elsewhere() {
    let place = Place::new();
    let public = format!("unix:{}", place.path("public").display());
    let log = File::create(place.path("log")).unwrap();
    let mut daemon = Launch::on(&public, &public.replace("public", "admin"))
        .args(["--log-access-file", "/dev/stdout"])
        .stderr(log)
        .spawn();
    wait_until("it listens", PATIENCE, || place.path("public").exists());
    let mut client = Client::connect(&public);
    ask(&mut client, 7..8);
    drop(client);
    let line = daemon.line("the request", |line| line.contains("GET /7 "));
    assert!(line.starts_with("unix - - ["), "{line}");
    daemon.stop();
}

#[test]
fn a_full_disk_is_told_once_and_no_request_waits_for_it() {
    let place = Place::new();
    let mut daemon = Launch::daemon().args(["--log-access-file", "/dev/full"]).start();
    let mut client = Client::connect(&daemon.public());
    ask(&mut client, 0..100);
    let told = daemon.find("the error", |event| {
        event["message"]
            .as_str()
            .is_some_and(|it| it.starts_with("the access log cannot be written"))
    });
    assert_eq!((&told["level"], &told["path"]), (&"ERROR".into(), &"/dev/full".into()), "{told}");
    assert!(told["error"].as_str().unwrap().contains("No space left"), "{told}");
    ask(&mut client, 100..200);
    drop(client);
    let ended = daemon.stop();
    ended.assert(0, &[]);
    let last = ended.event("the access log's file does not take its last lines");
    assert_eq!(last["lost"], 200, "{last}");
    let errors = ended.events().into_iter().filter(|event| event["level"] == "ERROR");
    assert_eq!(errors.count(), 2, "{}", ended.text());
    drop(place);
}

#[test]
fn a_fifo_needs_no_reader_until_it_is_full_and_what_is_lost_then_is_counted() {
    let place = Place::new();
    let fifo = place.fifo();
    let mut daemon = Launch::daemon().args([Path::new("--log-access-file"), &fifo]).start();
    let public = daemon.public();
    // Lines of more than 1.5 kB, of which 16 MiB and a pipe hold fewer than these.
    let (long, text) = ("x".repeat(1500), "y".repeat(300));
    let head =
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\nUser-Agent: {text}\r\nReferer: {text}\r\n\r\n");
    let (batches, batch) = (300, 40);
    let mut client = Client::connect(&public);
    for _ in 0..batches {
        client.send(&head.repeat(batch));
        for _ in 0..batch {
            assert_eq!(client.response("GET").status, 200);
        }
    }
    drop(client);
    let metrics = daemon.get_admin("/metrics").body;
    let lost =
        metrics.lines().find_map(|line| line.strip_prefix("lockstepd_log_lines_lost_total "));
    let lost: usize = lost.unwrap().parse().unwrap();
    assert!(lost > 0, "{metrics}");
    daemon.find("the warning", |event| {
        let message = event["message"].as_str().unwrap_or_default();
        message.starts_with("the access log's file does not take lines in time")
    });
    let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
    let reader = File::options().read(true).custom_flags(flags).open(&fifo).unwrap();
    // The request for the metrics had no room either, or is among the lines.
    let lines = BufReader::new(reader).lines().take(batches * batch - lost);
    let whole = lines.map(Result::unwrap).filter(|line| line.ends_with("yyy\"")).count();
    assert!(whole >= batches * batch - lost - 1, "{whole} lines, {lost} lost");
    let told = daemon
        .event("requests are missing in the access log's file, which did not take them in time");
    assert!(told["lost"].as_u64().unwrap() >= lost as u64, "{told}");
    daemon.stop().assert(0, &[]);
}

#[test]
fn a_fifo_that_may_not_be_read_and_has_no_reader_yet_does_not_end_a_start() {
    let place = Place::new();
    let fifo = place.fifo();
    // Its owner's alone to write: without a reader it cannot be opened, except by root.
    fs::set_permissions(&fifo, fs::Permissions::from_mode(0o200)).unwrap();
    let launch = || Launch::daemon().args([Path::new("--log-access-file"), &fifo]);
    launch().args(["check"]).end().assert(0, &["configuration is valid"]);
    let mut daemon = launch().start();
    ask(&mut Client::connect(&daemon.public()), 1..2);
    if !rustix::process::geteuid().is_root() {
        daemon.find("the error", |event| {
            let message = event["message"].as_str().unwrap_or_default();
            message.starts_with("the access log cannot be written")
        });
    }
    fs::set_permissions(&fifo, fs::Permissions::from_mode(0o600)).unwrap();
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    // A reader that is there before the daemon tries again.
    let reader = File::options().read(true).write(true).custom_flags(flags).open(&fifo).unwrap();
    rustix::fs::fcntl_setfl(&reader, OFlags::empty()).unwrap();
    let line = BufReader::new(reader).lines().next().unwrap().unwrap();
    assert!(line.contains("GET /1 "), "{line}");
    daemon.stop().assert(0, &[]);
}

#[test]
fn the_file_is_not_for_everybody_to_read() {
    let place = Place::new();
    place.launch().start().stop().assert(0, &[]);
    let mode = fs::metadata(place.log()).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}
