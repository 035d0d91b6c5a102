//! Tunnels through the proxy whose clients speak TLS.

use crate::secured::Secured;
use crate::support::{Application, Talk, Tunnel};

#[test]
fn tunnels_outlive_upgrades_and_every_byte_arrives_once_and_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", directory.path().join("app.sock").display());
    let _application = Application::start(&address, &directory.path().join("executed"), &[]);
    let Some(mut secured) = Secured::start(&["--public-proxy", &address]) else { return };
    let relay = secured.relay();
    let mut quiet = Tunnel::open(&relay.address());
    quiet.send(1000);
    let tunnels = (0..4).map(|_| Tunnel::open(&relay.address())).collect();
    Talk::during(tunnels, |talk| {
        for _ in 0..5 {
            talk.goes_on();
            secured.upgrade();
        }
        talk.goes_on();
    });
    quiet.receive();
    quiet.end();
    secured.daemon.stop().assert(0, &[]);
}
