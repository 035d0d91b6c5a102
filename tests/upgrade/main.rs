//! Replacing the program in place with SIGUSR2, without a service manager.

#[path = "../support/mod.rs"]
mod support;

mod connections;
mod crowded;
mod grpc;
mod http2;
mod names;
mod own_listeners;
mod socket_files;
mod tunnels;
mod waiting;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use support::{Control, Deadline, Load, PATIENCE, Report, Server, hear, wait_until};

/// The daemon, run from a path of its own that a test may replace.
struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
    binary: PathBuf,
    directory: tempfile::TempDir,
    public: SocketAddr,
    admin: SocketAddr,
}

// === impl Daemon ===

impl Daemon {
    fn start() -> Self {
        Self::run(&["--public", "127.0.0.1:0"])
    }

    /// Starts it with its public address in the configuration file.
    fn start_on(public: &str) -> Self {
        // A port that was free a moment ago, since 0 would be another one after an upgrade.
        let free = std::net::TcpListener::bind(public).unwrap().local_addr().unwrap();
        let daemon = Self::run(&["--config-public", &free.to_string()]);
        assert_eq!(daemon.public.port(), free.port());
        daemon
    }

    fn run(public: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let binary = directory.path().join("lockstepd");
        symlink(env!("CARGO_BIN_EXE_lockstepd"), &binary).unwrap();
        let config = directory.path().join("lockstepd.toml");
        let (content, public) = match public {
            ["--config-public", address] => {
                (format!("[public]\nlisten = [\"{address}\"]\n"), &[][..])
            }
            flags => (String::new(), flags),
        };
        fs::write(&config, content).unwrap();
        let mut command = Command::new(&binary);
        command
            .args(public)
            .args(["--admin", "127.0.0.1:0", "--log-format", "json"])
            .arg("--config")
            .arg(&config);
        Self::of(command, binary, directory)
    }

    /// Starts it with a command of the test's own.
    fn of(mut command: Command, binary: PathBuf, directory: tempfile::TempDir) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let unset = SocketAddr::from(([0; 4], 0));
        let mut daemon = Self { child, log, binary, directory, public: unset, admin: unset };
        let ready = daemon.wait_for("ready");
        daemon.learn_addresses(&ready);
        daemon
    }

    /// Takes the addresses from the event that says ready; a Unix socket has none here.
    fn learn_addresses(&mut self, ready: &serde_json::Value) {
        let unset = SocketAddr::from(([0; 4], 0));
        let addresses = ready["addresses"].as_str().unwrap().split(", ");
        let mut addresses =
            addresses.map(|server| server.rsplit(' ').next().unwrap().parse().unwrap_or(unset));
        self.public = addresses.next().unwrap();
        self.admin = addresses.next().unwrap();
    }

    /// Reads the log up to the event `message`.
    fn wait_for(&mut self, message: &str) -> serde_json::Value {
        self.wait_for_one_of(&[message])
    }

    /// Reads the log up to an event with one of these messages.
    fn wait_for_one_of(&mut self, messages: &[&str]) -> serde_json::Value {
        let mut seen = String::new();
        loop {
            let from = seen.len();
            let length = self.log.read_line(&mut seen).unwrap();
            assert!(length > 0, "the daemon ended before it said one of {messages:?}:\n{seen}");
            let event: serde_json::Value = serde_json::from_str(&seen[from..])
                .unwrap_or_else(|error| panic!("{error}:\n{seen}"));
            if messages.iter().any(|message| event["message"] == *message) {
                return event;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks for an upgrade and waits until the new program is ready.
    fn upgrade(&mut self) {
        self.signal(Signal::USR2);
        let event = self.wait_for_one_of(&["ready", "not upgraded"]);
        assert_eq!(event["message"], "ready", "{event}");
    }

    /// Puts another program at the daemon's path.
    ///
    /// `install` writes it: a file that this process has open for writing would be inherited by the
    /// children that other tests start meanwhile, and could not be executed.
    fn replace_binary(&self, content: &[u8]) {
        let new = self.directory.path().join("new");
        let mut install = Command::new("install")
            .args(["-m", "755", "/dev/stdin"])
            .arg(&new)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        install.stdin.take().unwrap().write_all(content).unwrap();
        assert!(install.wait().unwrap().success());
        fs::rename(new, &self.binary).unwrap();
    }

    fn load(&self) -> Load {
        Load::on(Server::Tcp(self.public))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn under_load(load: &Load, meanwhile: impl FnOnce(&Control)) -> Report {
    let control = Control::default();
    thread::scope(|scope| {
        let crowd = scope.spawn(|| load.run(&control));
        let all = load.clients as u64;
        wait_until("every client has its first answer", PATIENCE, || control.answers() >= all);
        meanwhile(&control);
        control.stop();
        crowd.join().unwrap()
    })
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).unwrap().count()
}

#[test]
fn twenty_upgrades_under_load_fail_no_request_and_keep_the_process() {
    let mut daemon = Daemon::start();
    let load = daemon.load();
    let pid = daemon.child.id();
    let report = under_load(&load, |control| {
        for _ in 0..20 {
            let before = control.answers();
            daemon.upgrade();
            wait_until("answers after the upgrade", PATIENCE, || control.answers() > before + 64);
        }
    });
    assert!(report.failures.is_empty(), "{report}\n{:#?}", report.failures);
    assert_eq!(report.connections, load.clients as u64, "{report}");
    assert_eq!(daemon.child.id(), pid);
    assert!(daemon.child.try_wait().unwrap().is_none(), "still the same process");
}

#[test]
fn an_upgrade_leaks_no_descriptor() {
    let mut daemon = Daemon::start();
    daemon.upgrade();
    let before = descriptors(daemon.child.id());
    for _ in 0..10 {
        daemon.upgrade();
    }
    assert_eq!(descriptors(daemon.child.id()), before);
}

#[test]
fn a_binary_that_cannot_be_executed_leaves_the_old_one_serving() {
    let mut daemon = Daemon::start();
    daemon.replace_binary(b"\x7fELF no");
    let load = daemon.load();
    let report = under_load(&load, |_| {
        daemon.signal(Signal::USR2);
        let event = daemon.wait_for("not upgraded");
        let error = event["error"].as_str().unwrap();
        assert!(error.contains("cannot execute"), "{error}");
        assert!(error.contains(daemon.binary.to_str().unwrap()), "{error}");
    });
    assert!(report.failures.is_empty(), "{report}\n{:#?}", report.failures);
}

#[test]
fn a_binary_that_fails_its_dry_run_leaves_the_old_one_serving() {
    let mut daemon = Daemon::start();
    daemon.replace_binary(b"#!/bin/sh\necho out of luck >&2\nexit 78\n");
    daemon.signal(Signal::USR2);
    let event = daemon.wait_for("not upgraded");
    assert!(event["error"].as_str().unwrap().contains("out of luck"), "{event}");
    ask(&mut TcpStream::connect(daemon.public).unwrap());
}

#[test]
fn a_binary_that_ends_well_but_is_no_daemon_leaves_the_old_one_serving() {
    let mut daemon = Daemon::start();
    daemon.replace_binary(b"#!/bin/sh\nexit 0\n");
    daemon.signal(Signal::USR2);
    let event = daemon.wait_for("not upgraded");
    assert!(event["error"].as_str().unwrap().contains("refuses to start"), "{event}");
    ask(&mut TcpStream::connect(daemon.public).unwrap());
}

#[test]
fn a_bad_configuration_leaves_the_old_program_serving_and_says_where_it_is_bad() {
    let mut daemon = Daemon::start();
    fs::write(daemon.directory.path().join("lockstepd.toml"), "\ndrain = \"1s\"\n").unwrap();
    daemon.signal(Signal::USR2);
    let event = daemon.wait_for("not upgraded");
    let error = event["error"].as_str().unwrap();
    assert!(error.contains("lockstepd.toml:2:1: unknown setting drain"), "{error}");
    ask(&mut TcpStream::connect(daemon.public).unwrap());
}

#[test]
fn a_head_that_is_half_sent_survives_an_upgrade() {
    let mut daemon = Daemon::start();
    let mut client = TcpStream::connect(daemon.public).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    // The other server's answer shows that the daemon has been round its sockets since.
    ask(&mut TcpStream::connect(daemon.admin).unwrap());
    daemon.upgrade();
    client.write_all(b"st: x\r\n\r\n").unwrap();
    assert!(read_answer(&mut client).ends_with("running...\n"));
}

#[test]
fn a_client_that_never_says_anything_is_closed_after_the_first_bytes_time_an_upgrade_or_not() {
    let mut daemon = Daemon::run(&["--public", "127.0.0.1:0", "--first-byte-timeout", "10s"]);
    let mut client = TcpStream::connect(daemon.public).unwrap();
    // Clients are accepted in turn: whoever is served behind it shows that it was.
    ask(&mut TcpStream::connect(daemon.public).unwrap());
    daemon.signal(Signal::USR2);
    daemon.wait_for("took connections over");
    // Sooner than the ten minutes of a client that has asked before.
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_connection_of_the_admin_server_stays_with_the_admin_server() {
    let mut daemon = Daemon::start();
    let mut client = TcpStream::connect(daemon.admin).unwrap();
    client.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(read_answer(&mut client).ends_with("live\n"));
    daemon.upgrade();
    client.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(read_answer(&mut client).ends_with("live\n"));
}

#[test]
fn an_upgraded_daemon_still_stops_cleanly() {
    let mut daemon = Daemon::start();
    daemon.upgrade();
    daemon.signal(Signal::TERM);
    daemon.wait_for("stopped");
    let status = Deadline::after(PATIENCE).wait_for_exit(&mut daemon.child).unwrap();
    assert_eq!(status.code(), Some(0));
}

fn ask(client: &mut TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    read_answer(client)
}

/// Reads one answer with a Content-Length.
fn read_answer(client: &mut TcpStream) -> String {
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let length = client.read(&mut buffer).unwrap();
        assert!(length > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend(&buffer[..length]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase();
            let length = length.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().unwrap());
            assert!(body.len() <= length, "more than one answer: {text}");
            if body.len() == length {
                return text.into_owned();
            }
        }
    }
}

#[test]
fn a_client_that_owes_a_body_nobody_wants_delays_nothing_and_stays_connected() {
    let mut daemon = Daemon::start();
    let mut client = TcpStream::connect(daemon.public).unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123").unwrap();
    // The daemon's answer does not wait for the body.
    assert!(read_answer(&mut client).ends_with("running...\n"));
    daemon.upgrade();
    daemon.upgrade();
    client.write_all(b"4567890GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_answer(&mut client).ends_with("running...\n"));
}

#[test]
fn the_rest_of_a_body_that_nobody_wants_is_no_request_to_the_next_program() {
    let mut daemon = Daemon::start();
    let body = "GET /in HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3);
    let length = body.len();
    for (field, body) in [
        (format!("Content-Length: {length}"), body.clone()),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("{length:x};x=y\r\n{body}\r\n1d\r\n{}\r\n0\r\nT: v\r\n\r\n", &body[..29]),
        ),
    ] {
        let last = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        // Cut in the framing, at the beginning of a request, and within one.
        for cut in [1, 3, 29, 31, 40, body.len() - 4, body.len() - 1] {
            let mut client = TcpStream::connect(daemon.public).unwrap();
            let head = format!("POST / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
            client.write_all(format!("{head}{}", &body[..cut]).as_bytes()).unwrap();
            assert!(read_answer(&mut client).ends_with("running...\n"));
            daemon.upgrade();
            client.write_all(format!("{}{last}", &body[cut..]).as_bytes()).unwrap();
            let all = hear(&client);
            assert_eq!(all.statuses(), [200], "{field}, cut at {cut}: {}", all.summary());
            assert!(all.rest.is_empty() && all.broken.is_none(), "{}", all.summary());
        }
    }
}

#[test]
fn a_wildcard_address_can_be_narrowed() {
    let mut daemon = Daemon::start_on("0.0.0.0:0");
    let port = daemon.public.port();
    let config = daemon.directory.path().join("lockstepd.toml");
    fs::write(config, format!("[public]\nlisten = [\"127.0.0.1:{port}\"]\n")).unwrap();
    daemon.upgrade();
    ask(&mut TcpStream::connect(("127.0.0.1", port)).unwrap());
}

/// Writes another configuration file, with these addresses.
fn configure(daemon: &Daemon, public: &str, admin: &str) {
    let text = format!("[public]\nlisten = [{public}]\n[admin]\nlisten = [{admin}]\n");
    fs::write(daemon.directory.path().join("lockstepd.toml"), text).unwrap();
}

/// Starts it with both addresses in the configuration file, the public one being the IPv6 wildcard.
fn start_on_both_families() -> Option<(Daemon, u16)> {
    let free = std::net::TcpListener::bind("[::]:0").ok()?.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("lockstepd.toml");
    let text = format!("[public]\nlisten = [\"{free}\"]\n[admin]\nlisten = [\"127.0.0.1:0\"]\n");
    fs::write(&config, text).unwrap();
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_lockstepd"));
    let mut command = Command::new(&binary);
    command.args(["--log-format", "json", "--config"]).arg(&config);
    Some((Daemon::of(command, binary, directory), free.port()))
}

#[test]
fn a_wildcard_of_both_families_can_leave_one_to_another_address() {
    let Some((mut daemon, port)) = start_on_both_families() else {
        return support::skip("no IPv6");
    };
    ask(&mut TcpStream::connect(("127.0.0.1", port)).unwrap());
    configure(&daemon, &format!("\"[::]:{port}\", \"0.0.0.0:{port}\""), "\"127.0.0.1:0\"");
    daemon.upgrade();
    ask(&mut TcpStream::connect(("127.0.0.1", port)).unwrap());
    ask(&mut TcpStream::connect(("::1", port)).unwrap());
    configure(&daemon, &format!("\"[::]:{port}\""), &format!("\"0.0.0.0:{port}\""));
    daemon.upgrade();
    ask(&mut TcpStream::connect(("::1", port)).unwrap());
}

#[test]
fn an_address_that_our_own_wildcard_covers_leaves_the_old_program_serving() {
    let Some((mut daemon, port)) = start_on_both_families() else {
        return support::skip("no IPv6");
    };
    configure(&daemon, &format!("\"[::]:{port}\""), &format!("\"127.0.0.1:{port}\""));
    daemon.signal(Signal::USR2);
    let event = daemon.wait_for_one_of(&["not upgraded", "ready"]);
    assert!(event["error"].as_str().unwrap().contains("cannot both listen"), "{event}");
    ask(&mut TcpStream::connect(("127.0.0.1", port)).unwrap());
}

#[test]
fn an_address_that_somebody_else_has_leaves_the_old_program_serving() {
    let mut daemon = Daemon::start_on("127.0.0.1:0");
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let config = daemon.directory.path().join("lockstepd.toml");
    fs::write(config, format!("[public]\nlisten = [\"{taken}\"]\n")).unwrap();
    daemon.signal(Signal::USR2);
    let event = daemon.wait_for("not upgraded");
    assert!(event["error"].as_str().unwrap().contains(&taken.to_string()), "{event}");
    ask(&mut TcpStream::connect(daemon.public).unwrap());
}

#[test]
fn a_stop_asked_for_during_an_upgrade_is_not_forgotten() {
    let mut daemon = Daemon::start();
    // Its dry run does not end by itself.
    daemon.replace_binary(b"#!/bin/sh\nexec sleep 60\n");
    daemon.signal(Signal::USR2);
    daemon.wait_for("upgrading in place");
    let mut client = TcpStream::connect(daemon.admin).unwrap();
    client.write_all(b"GET /listener?stop=now HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(read_answer(&mut client).ends_with("listener!!\n"));
    daemon.wait_for("stopped");
    let status = Deadline::after(PATIENCE).wait_for_exit(&mut daemon.child).unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_daemon_that_could_not_be_replaced_survives_a_client_that_hangs_up() {
    let mut daemon = Daemon::start();
    daemon.replace_binary(b"\x7fELF no");
    daemon.signal(Signal::USR2);
    daemon.wait_for("not upgraded");
    let ignored = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let ignored = ignored.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    // SIGPIPE is signal 13.
    assert_ne!(ignored & (1 << 12), 0, "a write to a closed connection does not kill");
}

#[test]
fn half_a_request_does_not_hold_up_a_stop() {
    let mut daemon = Daemon::start();
    let mut client = TcpStream::connect(daemon.public).unwrap();
    client.write_all(b"GET / HTT").unwrap();
    ask(&mut TcpStream::connect(daemon.public).unwrap());
    daemon.signal(Signal::TERM);
    let stopped = daemon.wait_for("stopped");
    assert_eq!(stopped["exit_code"], 0, "{stopped}");
}

#[test]
fn a_client_that_owes_chunks_nobody_wants_holds_up_no_upgrade() {
    let mut daemon = Daemon::start();
    let mut client = TcpStream::connect(daemon.public).unwrap();
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    client.write_all(head).unwrap();
    assert!(read_answer(&mut client).ends_with("running...\n"));
    daemon.upgrade();
    ask(&mut TcpStream::connect(daemon.public).unwrap());
    client.write_all(b"0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_answer(&mut client).ends_with("running...\n"), "it stays connected");
}

#[test]
fn a_client_that_sends_a_long_body_behind_its_answer_is_heard_out_across_upgrades() {
    const LENGTH: usize = 4 << 20;
    let mut daemon = Daemon::start();
    let mut client = TcpStream::connect(daemon.public).unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&vec![b'x'; 100 << 10]).unwrap();
    // The answer is there, and says that the body is not wanted: the client has not looked.
    client.peek(&mut [0]).unwrap();
    let piece = vec![b'x'; 256 << 10];
    let mut left = LENGTH - (100 << 10);
    while left > 0 {
        daemon.upgrade();
        client.write_all(&piece[..left.min(piece.len())]).unwrap();
        left = left.saturating_sub(piece.len());
    }
    client.shutdown(Shutdown::Write).unwrap();
    let said = hear(&client);
    assert_eq!(said.statuses(), [200], "{}", said.summary());
    assert!(said.answers[0].closes(), "{}", said.summary());
    assert_eq!((said.broken, &*said.rest), (None, &b""[..]));
}

#[test]
fn clients_that_shut_their_half_down_behind_the_request_all_get_their_answer_across_upgrades() {
    let mut daemon = Daemon::start();
    let public = daemon.public;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = || {
            let mut answers = 0;
            while !is_over.load(Ordering::Relaxed) {
                let mut client = TcpStream::connect(public).unwrap();
                client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                let heard = hear(&client);
                assert_eq!(heard.statuses(), [200], "behind {answers}: {}", heard.summary());
                answers += 1;
            }
            answers
        };
        let clients = [(); 4].map(|()| scope.spawn(client));
        for _ in 0..20 {
            daemon.upgrade();
        }
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(client.join().unwrap() > 0);
        }
    });
}

#[test]
fn signals_that_come_while_the_program_is_being_replaced_do_not_end_it() {
    let mut daemon = Daemon::start();
    let pid = Pid::from_child(&daemon.child);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for signal in [Signal::USR2, Signal::HUP] {
                    // If it has ended, the test has failed already.
                    let _ = kill_process(pid, signal);
                }
                thread::yield_now();
            }
        });
        let over = OnDrop(&is_over);
        for _ in 0..20 {
            daemon.wait_for("ready");
        }
        drop(over);
    });
    ask(&mut TcpStream::connect(daemon.public).unwrap());
}

#[test]
fn a_stop_right_behind_an_upgrade_is_clean_whatever_the_moment() {
    for signal in [Signal::TERM, Signal::INT] {
        for moment in 0..12 {
            let mut daemon = Daemon::start();
            daemon.signal(Signal::USR2);
            thread::sleep(Duration::from_millis(moment));
            daemon.signal(signal);
            let stopped = daemon.wait_for("stopped");
            assert_eq!(stopped["exit_code"], 0, "{moment} ms: {stopped}");
            let status = Deadline::after(PATIENCE).wait_for_exit(&mut daemon.child).unwrap();
            assert_eq!(status.code(), Some(0), "{moment} ms: {status}");
        }
    }
}

/// Ends a loop even if the test fails meanwhile.
struct OnDrop<'f>(&'f AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
