//! Unix sockets that the daemon has bound itself, across an upgrade in place.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::MetadataExt,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
};

use rustix::process::Signal;

use crate::{
    Daemon,
    support::{Deadline, PATIENCE},
};

/// A daemon whose public server is on a Unix socket.
fn start() -> (Daemon, PathBuf, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("public");
    let daemon = Daemon::run(&["--public", &format!("unix:{}", path.display())]);
    (daemon, path, directory)
}

fn assert_serves(mut client: UnixStream) {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("running...\n"), "{answer}");
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::TERM);
    daemon.wait_for("stopped");
    let status = Deadline::after(PATIENCE).wait_for_exit(&mut daemon.child).unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_file_is_the_same_after_an_upgrade_and_gone_after_the_stop() {
    let (mut daemon, path, directory) = start();
    let before = fs::metadata(&path).unwrap().ino();
    for _ in 0..2 {
        daemon.upgrade();
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
        assert_serves(UnixStream::connect(&path).unwrap());
    }
    stop(daemon);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_became_anothers_after_an_upgrade_stays() {
    let (mut daemon, path, _directory) = start();
    daemon.upgrade();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    stop(daemon);
    UnixStream::connect(&path).expect("the other can be reached");
}

#[test]
fn a_path_that_is_anothers_now_refuses_the_upgrade_and_nobody_loses_anything() {
    let (mut daemon, path, _directory) = start();
    let client = UnixStream::connect(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    daemon.signal(Signal::USR2);
    let event = daemon.wait_for_one_of(&["not upgraded", "ready"]);
    assert!(event["error"].as_str().unwrap().contains("stop whoever listens there"), "{event}");
    assert_serves(client);
    UnixStream::connect(&path).expect("the other can be reached");
    drop(other);
    // What it has left is stale, and is replaced.
    daemon.upgrade();
    assert_serves(UnixStream::connect(&path).unwrap());
    stop(daemon);
    assert!(!path.exists());
}

#[test]
fn a_file_that_was_removed_is_there_again_after_an_upgrade() {
    let (mut daemon, path, _directory) = start();
    fs::remove_file(&path).unwrap();
    daemon.upgrade();
    assert_serves(UnixStream::connect(&path).unwrap());
    stop(daemon);
    assert!(!path.exists());
}
