//! Health probes, as those who send them have them.

use crate::support::{Deadline, Haproxy, Launch, Lines, PATIENCE};

#[test]
fn haproxys_checks_find_the_admin_server_ready() {
    if !Haproxy::is_there() {
        return;
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
    let mut haproxy = Haproxy::start(&format!(
        "frontend f\n  bind {}\n  default_backend b\n\
         backend b\n  option log-health-checks\n  {check}\n  server s {server} check inter 1s\n",
        Launch::free_address(),
    ));
    let mut lines = Lines::new(haproxy.log());
    let (deadline, mut heard) = (Deadline::after(PATIENCE), Vec::new());
    while let Ok(Some(line)) = lines.next(deadline) {
        if line.contains("Health check for server b/s") {
            return line;
        }
        heard.push(line);
    }
    panic!("no check was logged: {heard:#?}")
}
