//! A restart under a real systemd while somebody watches.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    events::Listener,
    support::{Machine, PATIENCE, wait_until},
};

const ROUNDS: u32 = 10;

#[test]
fn a_restart_takes_no_longer_with_the_page_open() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    let sockets = ["start", "lockstepd.socket", "lockstepd-admin.socket"];
    machine.run("systemctl", &sockets).ok();
    let restart = || {
        let begin = Instant::now();
        machine.run("systemctl", &["restart", "lockstepd"]).ok();
        begin.elapsed()
    };
    restart();
    let without = (0..ROUNDS).map(|_| restart()).min().unwrap();
    let starts = AtomicU32::new(0);
    let end = AtomicBool::new(false);
    let with = thread::scope(|scope| {
        scope.spawn(|| machine.in_network(|| watch(&starts, &end)));
        let mut with = Vec::new();
        for round in 1..=ROUNDS {
            // The stream of the process that is now running is open.
            wait_until("the stream", PATIENCE, || starts.load(Ordering::Relaxed) >= round);
            with.push(restart());
        }
        end.store(true, Ordering::Relaxed);
        with.into_iter().min().unwrap()
    });
    println!("restart: {without:?} without the page, {with:?} with it");
    // The grace for a request in flight is 100 ms: a stream that were one would cost it each time.
    assert!(with < without + Duration::from_millis(80), "{with:?} instead of {without:?}");
    let journal = machine.run("journalctl", &["--unit=lockstepd"]).ok();
    assert!(!journal.contains("serving on until"), "{journal}");
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
