//! A restart under a real systemd while somebody watches.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use crate::{
    events::Listener,
    support::{Machine, PATIENCE, wait_until},
};

const ROUNDS: u32 = 10;

#[test]
fn a_restart_does_not_wait_for_the_page() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    let sockets = ["start", "lockstepd.socket", "lockstepd-admin.socket"];
    machine.run("systemctl", &sockets).ok();
    let starts = AtomicU32::new(0);
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| machine.in_network(|| watch(&starts, &end)));
        for round in 1..=ROUNDS {
            // The stream of the process that is now running is open.
            wait_until("the stream", PATIENCE, || starts.load(Ordering::Relaxed) >= round);
            machine.run("systemctl", &["restart", "lockstepd"]).ok();
        }
        end.store(true, Ordering::Relaxed);
    });
    let journal = machine.run("journalctl", &["--unit=lockstepd"]).ok();
    // A stream that were a request in flight would be waited for each time; a busy machine may not get
    // round to ending it at once now and then.
    let waits = journal.matches("serving on until").count();
    assert!(waits < ROUNDS as usize / 2, "{journal}");
    assert!(!journal.contains("cut off"), "{journal}");
}

/// One connection through all restarts; counts the processes that it has heard of.
fn watch(starts: &AtomicU32, end: &AtomicBool) {
    let mut listener = Listener::connect("127.0.0.1:9091");
    let mut pid = None;
    while !end.load(Ordering::Relaxed) {
        listener.ask();
        while let Some(event) = listener.next() {
            if event["phase"] == "ready"
                && pid.replace(event["pid"].clone()) != Some(event["pid"].clone())
            {
                starts.fetch_add(1, Ordering::Relaxed);
            }
            if end.load(Ordering::Relaxed) {
                return;
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}
