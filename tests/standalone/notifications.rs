//! What the service manager hears, in order.

use std::{net::TcpListener, os::unix::net::UnixDatagram};

use rustix::process::Signal;

use crate::support::{BINARY, Client, Daemon, Launch, Manager, PATIENCE, has_strace};

#[test]
fn ready_is_said_first_with_the_addresses_and_once_they_answer() {
    let manager = Manager::new();
    let mut daemon = Launch::daemon().notify(&manager).spawn();
    let first = manager.next();
    assert_eq!(first[0], "READY=1");
    let status = first[1].strip_prefix("STATUS=").expect("a status").to_owned();
    for server in [", admin on ", "public on "] {
        let address = status.split(server).nth(1).and_then(|rest| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("no {server:?} in {status:?}"));
        assert!(Client::connect(address).request("GET", "/live").status == 200, "{address}");
    }
    assert_eq!(
        status,
        format!("Serving public on {}, admin on {}", daemon.public(), daemon.admin())
    );
    assert_eq!(first.len(), 2, "{first:?}");
}

#[test]
fn sigterm_is_followed_by_stopping_and_its_cause() {
    assert_sequence(0, "SIGTERM", |daemon| daemon.signal(Signal::TERM));
}

#[test]
fn sigint_is_followed_by_stopping_and_its_cause() {
    assert_sequence(0, "SIGINT", |daemon| daemon.signal(Signal::INT));
}

#[test]
fn a_requested_stop_says_stopping_and_its_reason() {
    assert_sequence(0, "stop requested: ss", |daemon| {
        daemon.get_admin("/listener?stop=ss");
    });
}

#[test]
fn a_requested_failure_says_stopping_with_the_member_and_its_error() {
    assert_sequence(1, "admin failed: x", |daemon| {
        daemon.get_admin("/listener?fail=x");
    });
}

#[test]
fn a_reason_cannot_begin_a_field_of_its_own() {
    assert_sequence(0, "stop requested: a MAINPID=1", |daemon| {
        daemon.get_admin("/listener?stop=a%0AMAINPID=1");
    });
}

#[test]
fn a_reason_of_any_length_makes_a_status_of_one_line() {
    let manager = Manager::new();
    let mut daemon = Launch::daemon().notify(&manager).start();
    daemon.get_admin(&format!("/listener?stop={}", "x".repeat(5000)));
    daemon.end().assert(0, &[]);
    let messages = manager.rest();
    let stopping = messages.iter().find(|message| message[0] == "STOPPING=1").unwrap();
    assert!(stopping[1].starts_with("STATUS=Stopping: stop requested: xxx"), "{stopping:?}");
    assert!(stopping[1].len() < 1000, "{stopping:?}");
}

#[test]
fn stopping_is_said_before_the_drain_has_ended() {
    let manager = Manager::new();
    let mut daemon = Launch::daemon()
        .args(["--linger", "10m", "--drain-timeout", "10m"])
        .notify(&manager)
        .start();
    let mut client = Client::connect(&daemon.public());
    client.send("GET / HTTP/1.1\r\n");
    assert_eq!(manager.next()[0], "READY=1");
    daemon.signal(Signal::TERM);
    assert_eq!(manager.next()[0], "STOPPING=1");
    client.send("Host: test\r\n\r\n");
    assert_eq!(client.response("GET").status, 200);
    drop(client);
    daemon.end().assert(0, &[]);
}

#[test]
fn a_start_that_has_waited_in_vain_tells_why_in_status_and_never_says_ready() {
    let manager = Manager::new();
    let taken = TcpListener::bind(format!("{}:0", Launch::address())).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    Launch::bare().args(["--public", &address]).notify(&manager).end().assert(1, &[]);
    assert_fails_with(&manager, &format!("cannot bind {address} for \"public\""));
}

#[test]
fn a_configuration_that_fails_tells_why_in_status_and_never_says_ready() {
    let manager = Manager::new();
    Launch::bare().env("LOCKSTEPD_LINGER", "long").notify(&manager).end().assert(78, &[]);
    assert_fails_with(&manager, "LOCKSTEPD_LINGER");
}

#[test]
fn without_notify_socket_nothing_is_said() {
    let manager = Manager::new();
    let mut daemon = Launch::daemon().start();
    daemon.get_admin("/listener?stop=ss");
    let ended = daemon.end();
    ended.assert(0, &[]);
    assert!(manager.rest().is_empty());
    assert!(ended.events().iter().all(|event| event["level"] == "INFO"), "{}", ended.text());
}

#[test]
fn a_service_manager_that_does_not_listen_is_no_reason_to_end() {
    let mut daemon = Launch::daemon().env("NOTIFY_SOCKET", "/nowhere/notify").start();
    assert_eq!(daemon.get_public("/").status, 200);
    daemon.stop().assert(0, &["cannot notify the service manager"]);
}

#[test]
fn a_service_manager_that_is_away_is_warned_of_once_and_told_to_be_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut daemon = Launch::daemon().env("NOTIFY_SOCKET", &path).start();
    let mut reload = |times| {
        daemon.signal(Signal::HUP);
        daemon.lines_with(times, "\"message\":\"reloaded\"");
    };
    reload(1);
    drop(manager);
    std::fs::remove_file(&path).unwrap();
    // Each says RELOADING=1 and READY=1.
    reload(2);
    reload(3);
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    reload(4);
    daemon.event("the service manager is notified again");
    drop(manager);
    let ended = daemon.stop();
    ended.assert(0, &[]);
    let warnings = ended.text().matches("cannot notify the service manager").count();
    // Once for each time that it was away.
    assert_eq!(warnings, 2, "{}", ended.text());
}

#[test]
fn an_address_of_a_virtual_machines_host_is_warned_of_once() {
    let daemon = Launch::daemon().env("NOTIFY_SOCKET", "vsock-stream:2:1234").start();
    let ended = daemon.stop();
    ended.assert(0, &["NOTIFY_SOCKET=vsock-stream:2:1234 is no Unix socket"]);
    let warnings = ended.text().matches("cannot notify the service manager").count();
    assert_eq!(warnings, 1, "{}", ended.text());
}

#[test]
fn everything_is_sent_from_a_thread_of_its_own() {
    if !has_strace() {
        return;
    }
    let manager = Manager::new();
    let directory = tempfile::tempdir().unwrap();
    let calls = directory.path().join("calls");
    let mut daemon = Launch::program("strace")
        .args(["-f", "-qq", "--decode-pids=comm", "-e", "trace=connect,sendmsg,sendto,write", "-o"])
        .args([&calls])
        .args(["setpriv", "--pdeathsig", "KILL", BINARY, "--log-format", "json"])
        .args(["--public", &format!("{}:0", Launch::address())])
        .args(["--admin", &format!("{}:0", Launch::address())])
        .notify(&manager)
        .start();
    daemon.get_admin("/listener?stop=ss");
    daemon.end().assert(0, &[]);
    let calls = std::fs::read_to_string(&calls).unwrap();
    let path = manager.path().display().to_string();
    let connects: Vec<_> = calls.lines().filter(|line| line.contains(&path)).collect();
    assert!(connects.len() >= 3, "{calls}");
    assert!(calls.contains("READY=1") && calls.contains("STOPPING=1"), "{calls}");
    let said = ["READY=1", "STOPPING=1", "STATUS="];
    for line in calls.lines().filter(|line| said.iter().any(|text| line.contains(text))) {
        assert!(line.contains("<notify>"), "{line}");
    }
    assert!(connects.iter().all(|line| line.contains("<notify>")), "{connects:#?}");
}

#[test]
fn a_service_manager_that_does_not_read_holds_nobody_up_and_hears_everything_once_it_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let fill = || {
        let filler = UnixDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        while filler.send_to(b"FILLER", &path).is_ok() {}
    };
    // Everything up to the message that begins so.
    let read_to = |begin: &str| {
        let mut said = Vec::new();
        while said.last().is_none_or(|message: &String| !message.starts_with(begin)) {
            let mut message = [0; 4096];
            let length = manager.recv(&mut message).unwrap_or_else(|error| {
                panic!("{error} before {begin:?} came, behind {said:?}");
            });
            said.push(String::from_utf8_lossy(&message[..length]).into_owned());
        }
        said
    };

    fill();
    let mut daemon = Launch::daemon().env("NOTIFY_SOCKET", &path).start();
    assert_eq!(daemon.get_public("/").status, 200);
    read_to("READY=1");
    fill();
    daemon.signal(Signal::HUP);
    daemon.event("reloaded");
    assert_eq!(daemon.get_public("/").status, 200);
    read_to("RELOADING=1");
    read_to("READY=1");
    fill();
    daemon.signal(Signal::TERM);
    daemon.event("stopping");
    let ended = daemon.end();
    ended.assert(0, &[]);
    assert!(!ended.text().contains("does not come to its end"), "{}", ended.text());
}

#[test]
fn an_abstract_notify_socket_is_heard() {
    use std::os::linux::net::SocketAddrExt;

    let name = format!("lockstepd-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_nonblocking(true).unwrap();
    Launch::daemon().env("NOTIFY_SOCKET", format!("@{name}")).start().stop().assert(0, &[]);
    let mut message = [0; 4096];
    let mut said = Vec::new();
    while let Ok(length) = socket.recv(&mut message) {
        said.push(String::from_utf8_lossy(&message[..length]).into_owned());
    }
    assert!(said.iter().any(|message| message.starts_with("READY=1\n")), "{said:?}");
}

/// From ready to the end that `cause_end` brings about, with all that is said on the way.
#[track_caller]
fn assert_sequence(code: i32, cause: &str, cause_end: impl FnOnce(&mut Daemon)) {
    let manager = Manager::new();
    let mut daemon = Launch::daemon().notify(&manager).start();
    let serving =
        format!("STATUS=Serving public on {}, admin on {}", daemon.public(), daemon.admin());
    cause_end(&mut daemon);
    daemon.end().assert(code, &[]);
    assert_eq!(
        manager.rest(),
        [
            vec!["READY=1".to_owned(), serving],
            vec!["STOPPING=1".to_owned(), format!("STATUS=Stopping: {cause}")],
            vec![format!("STATUS=Stopped: {cause}")],
        ]
    );
}

#[track_caller]
fn assert_fails_with(manager: &Manager, text: &str) {
    let messages = manager.rest();
    let statuses: Vec<_> = messages.iter().flatten().collect();
    assert!(
        statuses.iter().any(|line| line.starts_with("STATUS=") && line.contains(text)),
        "{statuses:?}"
    );
    assert!(!statuses.iter().any(|line| *line == "READY=1"), "{statuses:?}");
}
