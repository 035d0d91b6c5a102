//! Which program takes the place of the running one: what its name leads to now.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use crate::{Daemon, ask};

/// Two releases in a directory, and a link `current` to the first.
struct Releases {
    directory: tempfile::TempDir,
}

// === impl Releases ===

impl Releases {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let releases = Self { directory };
        for release in ["1", "2"] {
            fs::create_dir_all(releases.path(release).join("bin")).unwrap();
        }
        // Not written by this process: its children would have the file open for writing.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_lockstepd"))
            .arg(releases.path("1/bin/lockstepd"))
            .status()
            .unwrap();
        assert!(copied.success());
        fs::hard_link(releases.path("1/bin/lockstepd"), releases.path("2/bin/lockstepd")).unwrap();
        symlink("1", releases.path("current")).unwrap();
        releases
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a configuration with this public address into a release.
    fn configure(&self, release: &str, public: SocketAddr) {
        let text = format!("[public]\nlisten = [\"{public}\"]\n");
        fs::write(self.path(release).join("lockstepd.toml"), text).unwrap();
    }

    /// Starts the daemon as a shell does that was told `script`, in this directory.
    fn start(self, shell: &str, directory: &Path, script: &str) -> Daemon {
        let path = format!("{}:/usr/bin:/bin", self.path("current/bin").display());
        let mut command = Command::new(shell);
        let arguments = "--admin 127.0.0.1:0 --log-format json";
        command
            .args(["-c", &format!("cd \"$0\" && {script} {arguments}")])
            .arg(directory)
            .env("PATH", path)
            .env("LOCKSTEPD_CONFIG", "/dev/null");
        let binary = self.path("current/bin/lockstepd");
        Daemon::of(command, binary, self.directory)
    }
}

/// The release that a daemon runs.
fn release(daemon: &Daemon) -> String {
    let executable = fs::read_link(format!("/proc/{}/exe", daemon.child.id())).unwrap();
    let release = executable.parent().unwrap().parent().unwrap();
    release.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Lets `current` lead to the second release.
fn switch(daemon: &Daemon, keeps_first: bool) {
    let directory = daemon.directory.path();
    symlink("2", directory.join("next")).unwrap();
    fs::rename(directory.join("next"), directory.join("current")).unwrap();
    if !keeps_first {
        fs::remove_dir_all(directory.join("1")).unwrap();
    }
}

#[test]
fn a_name_from_path_is_followed_anew_whether_or_not_the_first_release_is_kept() {
    for keeps_first in [true, false] {
        for shell in ["sh", "bash"] {
            let script = "exec lockstepd --public 127.0.0.1:0";
            let mut daemon = Releases::new().start(shell, Path::new("/"), script);
            assert_eq!(release(&daemon), "1");
            let mut client = TcpStream::connect(daemon.public).unwrap();
            ask(&mut client);
            switch(&daemon, keeps_first);
            for _ in 0..2 {
                daemon.upgrade();
                assert_eq!(release(&daemon), "2", "{shell}, the first is kept: {keeps_first}");
                ask(&mut client);
            }
        }
    }
}

#[test]
fn a_relative_name_and_a_relative_configuration_are_those_of_the_release_that_the_directory_names_now()
 {
    for keeps_first in [true, false] {
        let releases = Releases::new();
        let ports = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [first, second] = ports.map(|port| port.local_addr().unwrap());
        releases.configure("1", first);
        releases.configure("2", second);
        let current = releases.path("current");
        let script = "exec ./bin/lockstepd --config lockstepd.toml";
        let mut daemon = releases.start("sh", &current, script);
        assert_eq!((release(&daemon), daemon.public), ("1".to_owned(), first));
        switch(&daemon, keeps_first);
        daemon.signal(Signal::USR2);
        let ready = daemon.wait_for_one_of(&["ready", "not upgraded"]);
        assert_eq!(ready["message"], "ready", "{ready}");
        daemon.learn_addresses(&ready);
        assert_eq!((release(&daemon), daemon.public), ("2".to_owned(), second));
        ask(&mut TcpStream::connect(daemon.public).unwrap());
    }
}

#[test]
fn a_link_that_leads_nowhere_leaves_the_old_program_serving() {
    let script = "exec lockstepd --public 127.0.0.1:0";
    let mut daemon = Releases::new().start("sh", Path::new("/"), script);
    fs::remove_file(daemon.directory.path().join("2/bin/lockstepd")).unwrap();
    switch(&daemon, true);
    daemon.signal(Signal::USR2);
    let event = daemon.wait_for_one_of(&["not upgraded", "ready"]);
    let expected = format!("cannot execute {}", daemon.binary.display());
    assert!(event["error"].as_str().is_some_and(|error| error.contains(&expected)), "{event}");
    ask(&mut TcpStream::connect(daemon.public).unwrap());
}

#[test]
fn what_a_parent_calls_the_program_is_no_name() {
    let script = "exec -a no/such/name \"$0/bin/lockstepd\" --public 127.0.0.1:0";
    let releases = Releases::new();
    let current = releases.path("current");
    let mut daemon = releases.start("bash", &current, script);
    switch(&daemon, false);
    daemon.upgrade();
    assert_eq!(release(&daemon), "2");
}

#[test]
fn a_deleted_working_directory_is_in_nobodys_way() {
    let releases = Releases::new();
    let gone = releases.path("gone");
    fs::create_dir(&gone).unwrap();
    let mut daemon = releases.start("sh", &gone, "exec lockstepd --public 127.0.0.1:0");
    fs::remove_dir(&gone).unwrap();
    switch(&daemon, false);
    for _ in 0..2 {
        daemon.upgrade();
        assert_eq!(release(&daemon), "2");
    }
    ask(&mut TcpStream::connect(daemon.public).unwrap());
}

#[test]
fn a_configuration_in_a_deleted_working_directory_leaves_the_old_program_serving_until_it_is_back()
{
    let releases = Releases::new();
    let gone = releases.path("gone");
    fs::create_dir(&gone).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    releases.configure("gone", free);
    let mut daemon = releases.start("sh", &gone, "exec lockstepd --config lockstepd.toml");
    let text = fs::read(gone.join("lockstepd.toml")).unwrap();
    fs::remove_dir_all(&gone).unwrap();
    daemon.signal(Signal::USR2);
    let event = daemon.wait_for_one_of(&["not upgraded", "ready"]);
    assert!(
        event["error"].as_str().is_some_and(|error| error.contains("lockstepd.toml")),
        "{event}"
    );
    ask(&mut TcpStream::connect(daemon.public).unwrap());
    fs::create_dir(&gone).unwrap();
    fs::write(gone.join("lockstepd.toml"), text).unwrap();
    daemon.upgrade();
    ask(&mut TcpStream::connect(daemon.public).unwrap());
}
