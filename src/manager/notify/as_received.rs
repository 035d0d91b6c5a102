//! What a service manager receives, on a socket that the test opens.
//!
//! `NOTIFY_SOCKET` counts for a whole process. So each of these tests runs itself a second time, in a child
//! process with that variable, which sends; the first process receives.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::*;

/// Set in the second process. `NOTIFY_SOCKET` does not tell the two apart: systemd may have started the first.
const IS_SENDER: &str = "LOCKSTEPD_TEST_IS_SENDER";

/// Written while a process is started, and read by tests that cannot have that beside them: until it executes its
/// program it has all of this one's descriptors, and a socket that is closed here is open there.
pub(crate) static SPAWNING: RwLock<()> = RwLock::new(());

/// Longer than anything takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs this test again as a process that has `address` as its `NOTIFY_SOCKET`.
fn sender(test: &str, address: &OsStr) -> Child {
    let (_, module) = module_path!().split_once("::").unwrap();
    let _alone = SPAWNING.write().unwrap_or_else(PoisonError::into_inner);
    Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--nocapture"])
        .env(IS_SENDER, "1")
        .env("NOTIFY_SOCKET", address)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for it to end; that it has run the test shows in what it prints.
fn finish(sender: Child) {
    let output = sender.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn is_sender() -> bool {
    env::var_os(IS_SENDER).is_some()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The next message, and how many descriptors came along; they are closed.
fn receive(socket: &UnixDatagram) -> (String, usize) {
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut text)];
    let received = recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let fds = ancillary.drain().map(|part| match part {
        RecvAncillaryMessage::ScmRights(fds) => fds.count(),
        _ => 0,
    });
    let fds = fds.sum();
    (String::from_utf8(text[..received.bytes].to_vec()).unwrap(), fds)
}

/// A socket at a path, and one with an abstract name.
fn sockets(directory: &tempfile::TempDir) -> [(OsString, UnixDatagram); 2] {
    let path = directory.path().join("notify");
    let by_path = UnixDatagram::bind(&path).unwrap();
    let name = format!("lockstepd-heard-{}", path.display());
    let by_name = SocketAddr::from_abstract_name(&name).unwrap();
    let by_name = UnixDatagram::bind_addr(&by_name).unwrap();
    let sockets = [(path.into_os_string(), by_path), (format!("@{name}").into(), by_name)];
    for (_, socket) in &sockets {
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    }
    sockets
}

#[test]
fn every_message_is_received_in_order_with_its_descriptor_at_a_path_and_at_an_abstract_name() {
    if is_sender() {
        let notifier = Notifier::from_env().unwrap();
        notifier.ready("one\ntwo");
        notifier.reloading("reloading");
        notifier.store("name", io::stdin().as_fd()).unwrap();
        notifier.unstore("name");
        notifier.watchdog();
        notifier.progress("slow", Duration::from_secs(2));
        notifier.failed("why", Some(98));
        assert!(!notifier.is_read());
        runtime().block_on(notifier.barrier(TIMEOUT)).unwrap();
        assert!(notifier.is_read());
        notifier.stopping("end");
        notifier.flush();
        return;
    }
    let name =
        "every_message_is_received_in_order_with_its_descriptor_at_a_path_and_at_an_abstract_name";
    let directory = tempfile::tempdir().unwrap();
    for (address, socket) in sockets(&directory) {
        let sender = sender(name, &address);
        assert_eq!(receive(&socket), ("READY=1\nSTATUS=one two\n".to_owned(), 0));
        let (reloading, _) = receive(&socket);
        let lines: Vec<_> = reloading.lines().collect();
        let ["RELOADING=1", since, "STATUS=reloading"] = lines[..] else { panic!("{lines:?}") };
        assert!(since.starts_with("MONOTONIC_USEC="), "{since}");
        for expected in [
            ("FDSTORE=1\nFDNAME=name\nFDPOLL=0\n", 1),
            ("FDSTOREREMOVE=1\nFDNAME=name\n", 0),
            ("WATCHDOG=1\n", 0),
            ("EXTEND_TIMEOUT_USEC=2000000\nSTATUS=slow\n", 0),
            ("ERRNO=98\nSTATUS=why\n", 0),
            ("BARRIER=1\n", 1),
            ("STOPPING=1\nSTATUS=end\n", 0),
        ] {
            let (text, fds) = receive(&socket);
            assert_eq!((&*text, fds), expected);
        }
        finish(sender);
    }
}

#[test]
fn a_barrier_that_is_not_read_is_given_up_in_time() {
    if is_sender() {
        let notifier = Notifier::from_env().unwrap();
        let barrier = notifier.barrier(Duration::from_millis(50));
        assert_eq!(runtime().block_on(barrier).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(!notifier.is_read());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (address, _socket) in sockets(&directory) {
        let sender = sender("a_barrier_that_is_not_read_is_given_up_in_time", &address);
        finish(sender);
    }
}

#[test]
fn a_barrier_fails_for_a_descriptor_that_was_not_sent_and_for_no_status() {
    let test = "a_barrier_fails_for_a_descriptor_that_was_not_sent_and_for_no_status";
    if is_sender() {
        let notifier = Notifier::from_env().unwrap();
        let path = env::var_os("NOTIFY_SOCKET").unwrap();
        notifier.status("received by no manager");
        notifier.store("name", io::stdin().as_fd()).unwrap();
        notifier.flush();
        let manager = UnixDatagram::bind(&path).unwrap();
        std::thread::spawn(move || {
            loop {
                receive(&manager);
            }
        });
        assert!(runtime().block_on(notifier.barrier(TIMEOUT)).is_err());
        fs::remove_file(&path).unwrap();
        notifier.status("received by no manager");
        notifier.flush();
        let manager = UnixDatagram::bind(&path).unwrap();
        std::thread::spawn(move || {
            loop {
                receive(&manager);
            }
        });
        runtime().block_on(notifier.barrier(TIMEOUT)).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    finish(sender(test, directory.path().join("notify").as_os_str()));
}

#[test]
fn a_barrier_without_a_manager_fails_at_once() {
    if is_sender() {
        let notifier = Notifier::from_env().unwrap();
        let barrier = notifier.barrier(TIMEOUT);
        let kind = runtime().block_on(barrier).unwrap_err().kind();
        assert_ne!(kind, ErrorKind::TimedOut);
        assert!(!notifier.is_read());
        return;
    }
    for address in ["/nowhere/notify", "@lockstepd-nowhere", "vsock:2:1234", ""] {
        let test = "a_barrier_without_a_manager_fails_at_once";
        finish(sender(test, address.as_ref()));
    }
}
