//! Health probes, as those who send them have them.

use std::{
    env,
    process::{Child, Command, Stdio},
};

use crate::support::{Deadline, Launch, Lines, PATIENCE, skip};

#[test]
fn haproxys_checks_find_the_admin_server_ready() {
    if Command::new("haproxy").arg("-v").output().is_err() {
        assert!(env::var_os("LOCKSTEPD_REQUIRE_HAPROXY").is_none(), "there is no haproxy");
        return skip("no haproxy (apt-get install -y --no-install-recommends haproxy)");
    }
    let mut daemon = Launch::daemon().start();
    // The default asks for `OPTIONS / HTTP/1.0`.
    for check in ["option httpchk", "option httpchk GET /ready"] {
        let line = first_check(&daemon.admin(), check);
        assert!(line.contains("succeeded") && line.contains("code: 200"), "{check}: {line}");
    }
    daemon.stop().assert(0, &[]);
}

/// What haproxy logs of its first check of a server.
fn first_check(server: &str, check: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("haproxy.cfg");
    let text = format!(
        "global\n  log stderr format raw local0\ndefaults\n  log global\n  mode http\n  timeout connect 20s\n  \
         timeout server 20s\n  timeout client 20s\n  timeout check 20s\n\
         frontend f\n  bind {}\n  default_backend b\n\
         backend b\n  option log-health-checks\n  {check}\n  server s {server} check inter 1s\n",
        Launch::free_address(),
    );
    std::fs::write(&path, text).unwrap();
    let mut haproxy = Command::new("haproxy");
    haproxy.arg("-db").arg("-f").arg(&path).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut haproxy = Haproxy(haproxy.spawn().unwrap());
    let mut lines = Lines::new(haproxy.0.stderr.take().unwrap());
    let (deadline, mut heard) = (Deadline::after(PATIENCE), Vec::new());
    while let Ok(Some(line)) = lines.next(deadline) {
        if line.contains("Health check for server b/s") {
            return line;
        }
        heard.push(line);
    }
    panic!("no check was logged: {heard:#?}")
}

/// It ends with the test.
struct Haproxy(Child);

impl Drop for Haproxy {
    fn drop(&mut self) {
        // That it has ended is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
