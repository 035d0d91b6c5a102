//! Tunnels to the application behind the daemon.

use rustix::process::Signal;

use super::{
    Daemon,
    support::{Application, Talk, Tunnel, get},
};

/// The daemon with an application behind it, which is killed when it is dropped.
fn start() -> (Application, Daemon, String) {
    let directory = tempfile::tempdir().unwrap();
    let executed = directory.path().join("executed");
    let address = format!("unix:{}", directory.path().join("app.sock").display());
    let application = Application::start(&address, &executed, &[]);
    let daemon = Daemon::run(&["--public", "127.0.0.1:0", "--public-proxy", &address]);
    // The socket's file is not needed any more: tunnels do not connect again.
    let public = daemon.public.to_string();
    let _ = directory.keep();
    (application, daemon, public)
}

fn status(daemon: &Daemon) -> serde_json::Value {
    serde_json::from_str(&get(&daemon.admin.to_string(), "/status").body).unwrap()
}

#[test]
fn tunnels_outlive_upgrades_and_every_byte_arrives_once_and_in_its_place() {
    let (_application, mut daemon, public) = start();
    let mut quiet = Tunnel::open(&public);
    quiet.send(1000);
    let tunnels = (0..8).map(|_| Tunnel::open(&public)).collect();
    Talk::during(tunnels, |talk| {
        for _ in 0..10 {
            talk.goes_on();
            daemon.upgrade();
        }
        talk.goes_on();
    });
    quiet.receive();
    quiet.end();
}

#[test]
fn a_tunnel_that_was_taken_over_counts_as_a_connection_of_its_server_and_as_a_tunnel() {
    let (_application, mut daemon, public) = start();
    let tunnel = Tunnel::open(&public);
    daemon.upgrade();
    let status = status(&daemon);
    assert_eq!(status["hand_over"]["connections"], 1, "{status}");
    assert_eq!(status["servers"][0]["connections"], 1, "{status}");
    assert_eq!(status["applications"][0]["tunnels"], 1, "{status}");
    tunnel.end();
}

#[test]
fn a_stop_without_a_next_process_ends_tunnels_in_order_and_does_not_wait_for_them() {
    let (_application, mut daemon, public) = start();
    let mut tunnel = Tunnel::open(&public);
    daemon.signal(Signal::TERM);
    assert!(tunnel.is_ended());
    daemon.wait_for("stopped");
}
