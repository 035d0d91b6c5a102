//! A listener of the program's own that blocks its thread.

use rustix::process::Signal;

use crate::support::{Launch, example, get};

#[test]
fn a_listener_that_blocks_its_thread_is_named_and_others_are_served() {
    let addresses = ["127.0.0.1:0"; 3];
    let launch = Launch::program(example("own_listener"));
    let launch = launch.args(["block"]).args(addresses).args(["200ms"]);
    let mut daemon = launch.start();
    let public = daemon.addresses("public").remove(0);
    assert_eq!(get(&public, "/").body, "0\n");
    daemon.signal(Signal::TERM);
    daemon.end().assert(0, &["the listener of \"own\" does not yield"]);
}
