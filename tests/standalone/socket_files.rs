//! The files of Unix sockets that the daemon binds: replaced only when they are stale, removed only when they
//! are its own.

use std::{
    fs::{self, File},
    os::unix::{fs::MetadataExt, net::UnixListener},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};
use tempfile::TempDir;

use crate::support::{BINARY, Daemon, Launch, get, has_strace};

/// A daemon whose public server is on the Unix socket `public` of a directory.
fn on(directory: &TempDir) -> Launch {
    Launch::on(&address(directory), &admin())
}

/// The same under strace, which tampers with its system calls.
fn tampered(directory: &TempDir, call: &str, with: &str) -> Launch {
    let inject = format!("inject={call}:{with}");
    Launch::program("strace")
        .args(["-f", "-q", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject])
        // Otherwise it would outlive a strace that is killed.
        .args(["setpriv", "--pdeathsig", "KILL"])
        .args([BINARY, "--public", &address(directory), "--admin", &admin()])
        .args(["--log-format", "json"])
}

fn admin() -> String {
    format!("{}:0", Launch::address())
}

fn path(directory: &TempDir) -> PathBuf {
    directory.path().join("public")
}

fn address(directory: &TempDir) -> String {
    format!("unix:{}", path(directory).display())
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

fn count(directory: &TempDir) -> usize {
    fs::read_dir(directory.path()).unwrap().count()
}

#[track_caller]
fn assert_serves(daemon: &mut Daemon) {
    assert_eq!(daemon.get_public("/").status, 200);
}

#[test]
fn a_socket_file_that_is_anothers_stays() {
    for way in ["removed", "moved away"] {
        for signal in [Signal::TERM, Signal::INT] {
            let directory = tempfile::tempdir().unwrap();
            let first = on(&directory).start();
            let path = path(&directory);
            if way == "removed" {
                fs::remove_file(&path).unwrap();
            } else {
                fs::rename(&path, path.with_extension("old")).unwrap();
            }
            let mut second = on(&directory).start();
            let before = inode(&path);
            first.signal(signal);
            let ended = first.end();
            ended.assert(0, &["left a socket file that is somebody else's now"]);
            assert_eq!(inode(&path), before, "{way}");
            assert_serves(&mut second);
            second.stop().assert(0, &[]);
            assert!(!path.exists(), "{way}");
        }
    }
}

#[test]
fn a_file_of_any_kind_that_has_taken_the_place_of_the_socket_stays() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = on(&directory).start();
    fs::remove_file(path(&directory)).unwrap();
    fs::write(path(&directory), "precious").unwrap();
    daemon.stop().assert(0, &[]);
    assert_eq!(fs::read_to_string(path(&directory)).unwrap(), "precious");
}

#[test]
fn a_socket_file_that_is_anothers_stays_however_the_daemon_ends() {
    for way in ["?stop=test", "?fail=test"] {
        let directory = tempfile::tempdir().unwrap();
        let mut daemon = on(&directory).start();
        fs::remove_file(path(&directory)).unwrap();
        let other = UnixListener::bind(path(&directory)).unwrap();
        daemon.get_admin(&format!("/listener{way}"));
        assert_eq!(daemon.end().code, i32::from(way.starts_with("?fail")));
        assert!(path(&directory).exists(), "{way}");
        drop(other);
    }
}

#[test]
fn a_start_that_cannot_listen_leaves_no_file() {
    if !has_strace() {
        return;
    }
    for call in ["listen", "chmod"] {
        let directory = tempfile::tempdir().unwrap();
        tampered(&directory, call, "error=EACCES").end().assert(78, &["cannot bind unix:"]);
        assert_eq!(count(&directory), 0, "{call}");
    }
}

#[test]
fn a_start_that_fails_behind_its_binding_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind(admin()).unwrap();
    let admin = taken.local_addr().unwrap().to_string();
    Launch::on(&address(&directory), &admin).end().assert(1, &["for \"admin\""]);
    assert_eq!(count(&directory), 0);
}

#[test]
fn of_two_starts_over_one_stale_socket_file_one_lives_and_is_reachable() {
    if !has_strace() {
        return;
    }
    // More of them: LOCKSTEPD_ROUNDS=200.
    let rounds = std::env::var("LOCKSTEPD_ROUNDS").map_or(4, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let directory = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(path(&directory)).unwrap());
        let mut starts =
            [(); 2].map(|()| tampered(&directory, "listen", "delay_enter=200ms").spawn());
        let mut live = Vec::new();
        for daemon in &mut starts {
            let outcome = daemon.line("an outcome", |line| {
                line.contains("\"ready\"") || line.contains("cannot bind")
            });
            live.push(outcome.contains("\"ready\""));
        }
        assert_eq!(live.iter().filter(|lives| **lives).count(), 1, "round {round}");
        for (mut daemon, lives) in starts.into_iter().zip(live) {
            if lives {
                assert_eq!(get(&address(&directory), "/").status, 200, "round {round}");
                daemon.get_admin("/listener?stop=test");
                daemon.end().assert(0, &[]);
            } else {
                daemon.end().assert(1, &["stop whoever listens there"]);
            }
        }
        assert_eq!(count(&directory), 0, "round {round}");
    }
}

#[test]
fn a_start_that_another_holds_up_exits_1_and_says_by_what() {
    let directory = tempfile::tempdir().unwrap();
    let lock = directory.path().join(".public.lock");
    let held = File::create(&lock).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let text = format!("{} is locked by another start", lock.display());
    on(&directory).end().assert(1, &[&text, "lslocks"]);
    drop(held);
    // What a start that was killed has left is in nobody's way.
    let mut daemon = on(&directory).start();
    assert_serves(&mut daemon);
    assert!(!lock.exists());
}
