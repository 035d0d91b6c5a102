//! More connections than one carrier holds, and a kernel that takes no more.

use std::{fs, net::TcpStream, path::PathBuf, process::Command};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::{Daemon, ask, support::skip};

/// So many that they take eight messages.
const CLIENTS: usize = 2000;

/// A daemon whose calls of sendmsg(2) fail as strace is told, with as many clients; `None` without strace.
fn start(inject: &str) -> Option<(Daemon, Vec<TcpStream>)> {
    if Command::new("strace").arg("--version").output().is_err() {
        skip("no strace");
        return None;
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_lockstepd"));
    let mut command = Command::new("strace");
    command
        .args(["-f", "-q", "-o", "/dev/null", "-e", "trace=sendmsg"])
        .args(["-e", &format!("inject=sendmsg:{inject}")])
        // Otherwise it would outlive a strace that is killed.
        .args(["setpriv", "--pdeathsig", "KILL"])
        .arg(&binary)
        .args(["--public", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json"])
        .env("LOCKSTEPD_CONFIG", "/dev/null");
    let daemon = Daemon::of(command, binary, tempfile::tempdir().unwrap());
    let clients = (0..CLIENTS).map(|_| TcpStream::connect(daemon.public).unwrap());
    let mut clients: Vec<_> = clients.collect();
    ask_all(&mut clients);
    Some((daemon, clients))
}

fn ask_all(clients: &mut [TcpStream]) {
    for client in clients {
        ask(client);
    }
}

/// Signals the daemon itself, which strace has started.
fn signal(daemon: &Daemon, signal: Signal) {
    let strace = daemon.child.id();
    let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
    let pid = children.trim().parse().ok().and_then(Pid::from_raw);
    kill_process(pid.expect("strace has one child"), signal).unwrap();
}

/// Stops it; strace leaves with it.
fn stop(mut daemon: Daemon) {
    signal(&daemon, Signal::TERM);
    daemon.wait_for("stopped");
    daemon.child.wait().unwrap();
}

#[test]
fn connections_that_fill_a_carrier_go_on_in_others() {
    // The first message brings the records, the second a branch; the fourth is the second of that, which is
    // full then, so that a third is made of two others, and so on.
    let Some((mut daemon, mut clients)) = start("error=EAGAIN:when=4+4") else { return };
    signal(&daemon, Signal::USR2);
    let taken = daemon.wait_for_one_of(&["took connections over", "not upgraded"]);
    assert_eq!(taken["connections"], CLIENTS);
    ask_all(&mut clients);
    stop(daemon);
}

#[test]
fn a_kernel_that_takes_no_more_refuses_an_upgrade_and_nobody_loses_anything() {
    for error in ["EAGAIN", "ENOBUFS", "ENOMEM", "EMFILE"] {
        let Some((mut daemon, mut clients)) = start(&format!("error={error}:when=5+")) else {
            return;
        };
        signal(&daemon, Signal::USR2);
        let event = daemon.wait_for_one_of(&["not upgraded", "ready"]);
        let text = event["error"].as_str().unwrap_or_default();
        assert!(text.contains("connections cannot be handed over"), "{error}: {text}");
        ask_all(&mut clients);
        stop(daemon);
    }
}
