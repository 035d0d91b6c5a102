//! A real haproxy in front of daemons.

use std::{
    env,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
};

use tempfile::TempDir;

use super::{
    host::skip,
    wait::{PATIENCE, wait_until},
};

/// It ends with the test.
pub(crate) struct Haproxy {
    child: Child,
    directory: TempDir,
}

// === impl Haproxy ===

impl Haproxy {
    /// Whether there is one on this machine; if not, the test is skipped, loudly.
    pub(crate) fn is_there() -> bool {
        let is_there = Command::new("haproxy").arg("-v").output().is_ok();
        if !is_there {
            assert!(env::var_os("LOCKSTEPD_REQUIRE_HAPROXY").is_none(), "there is no haproxy");
            skip("no haproxy (apt-get install -y --no-install-recommends haproxy)");
        }
        is_there
    }

    /// Starts one with these lines, behind those that every one has.
    pub(crate) fn start(configuration: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("haproxy.cfg");
        let text = format!(
            "global\n  log stderr format raw local0\n  stats socket {}\n\
             defaults\n  log global\n  mode http\n  timeout connect 20s\n  timeout server 20s\n  \
             timeout client 20s\n  timeout check 20s\n{configuration}",
            directory.path().join("stats").display(),
        );
        std::fs::write(&path, text).expect("it can be written");
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-db").arg("-f").arg(&path).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = haproxy.spawn().expect("it is there");
        Self { child, directory }
    }

    /// Its log.
    pub(crate) fn log(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("nobody else has taken it")
    }

    /// Waits until the health checks have made a server what `status` says, `UP` for example.
    #[track_caller]
    pub(crate) fn wait_for(&self, server: &str, status: &str) {
        wait_until(&format!("{server} is {status}"), PATIENCE, || {
            self.status(server).as_deref() == Some(status)
        });
    }

    /// The status of a server, if it answers already.
    fn status(&self, server: &str) -> Option<String> {
        let path: PathBuf = self.directory.path().join("stats");
        let mut socket = UnixStream::connect(path).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        socket.write_all(b"show stat\n").ok()?;
        let mut table = String::new();
        socket.read_to_string(&mut table).ok()?;
        let mut lines = table.lines().map(|line| line.split(','));
        let status = lines.next()?.position(|name| name == "status")?;
        let mut line = lines.find(|line| line.clone().nth(1) == Some(server))?;
        line.nth(status).map(str::to_owned)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // That it has ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
