//! A journal that is away costs no line for good: what is logged waits for it, and what has no room is told.

use crate::{
    restart::machine,
    support::{Client, Machine, PATIENCE, message, wait_until},
};

const UNIT: &str = "--unit=lockstepd";

/// More than the log's queue holds.
const REQUESTS: usize = 6000;

#[test]
fn started_while_the_journal_is_away_the_log_goes_there_once_it_is_back() {
    let Some(machine) = machine_that_logs_all() else { return };
    stop_journal(&machine);
    machine.systemctl(&["start", "lockstepd"]).ok();
    let pid = machine.main_pid("lockstepd").unwrap();
    let stderr = std::fs::read_link(format!("/proc/{pid}/fd/2")).unwrap();
    assert_eq!(stderr.to_str(), Some("/dev/null"), "that is what systemd passes");
    ask(&machine, "/while", REQUESTS);
    let lost = lost_lines(&machine);

    start_journal(&machine);
    // The queue has room again by then.
    wait_until_told(&machine, lost);
    ask(&machine, "/after", 1);
    let after = machine.wait_for_journal("the request", &[UNIT, "PATH=/after"], |_| true);
    assert_eq!(after["_SYSTEMD_UNIT"], "lockstepd.service", "{after}");
    let kept = machine.journal(&[UNIT, "PATH=/while"]).len() as u64;
    assert_eq!(kept + lost, REQUESTS as u64, "none is missing");
    let entries = machine.journal(&[UNIT]);
    assert!(entries.iter().any(|entry| message(entry).starts_with("ready ")), "the first is there");
}

#[test]
fn what_is_logged_while_the_journal_is_away_is_kept_or_told() {
    let Some(machine) = machine_that_logs_all() else { return };
    machine.activate();
    ask(&machine, "/before", 1);
    machine.wait_for_journal("the request", &[UNIT, "PATH=/before"], |_| true);
    stop_journal(&machine);
    ask(&machine, "/while", REQUESTS);
    let lost = lost_lines(&machine);

    start_journal(&machine);
    // The queue has room again by then.
    wait_until_told(&machine, lost);
    ask(&machine, "/after", 1);
    machine.wait_for_journal("the request", &[UNIT, "PATH=/after"], |_| true);
    let kept = machine.journal(&[UNIT, "PATH=/while"]).len() as u64;
    assert_eq!(kept + lost, REQUESTS as u64, "none is missing");
}

#[test]
fn a_start_that_wants_the_journal_does_not_fail_while_it_is_away() {
    let Some(machine) = machine_that_logs_all() else { return };
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/target.conf",
        "[Service]\nEnvironment=LOCKSTEPD_LOG_TARGET=journal\n",
    );
    machine.systemctl(&["daemon-reload"]).ok();
    stop_journal(&machine);
    machine.systemctl(&["start", "lockstepd"]).ok();
    start_journal(&machine);
    machine.wait_for_journal("its start", &[UNIT], |entry| message(entry).starts_with("ready "));
}

#[test]
fn a_stop_and_a_restart_while_the_journal_is_away_end_well() {
    let Some(machine) = machine_that_logs_all() else { return };
    machine.activate();
    stop_journal(&machine);
    machine.systemctl(&["restart", "lockstepd"]).ok();
    ask(&machine, "/kept", 1);
    machine.systemctl(&["stop", "lockstepd.service"]).ok();
    assert_eq!(machine.property("lockstepd", "Result"), "success");
    start_journal(&machine);
}

fn machine_that_logs_all() -> Option<Machine> {
    let machine = machine()?;
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/test.conf",
        "[Service]\nEnvironment=LOCKSTEPD_ACCESS_LOG=all\n",
    );
    machine.systemctl(&["daemon-reload"]).ok();
    Some(machine)
}

const JOURNAL: [&str; 3] =
    ["systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald.service"];

fn stop_journal(machine: &Machine) {
    machine.systemctl(&[&["stop"], &JOURNAL[..]].concat()).ok();
    machine.wait_for_state(JOURNAL[2], "inactive");
}

fn start_journal(machine: &Machine) {
    machine.systemctl(&[&["start"], &JOURNAL[..]].concat()).ok();
}

fn ask(machine: &Machine, path: &str, count: usize) {
    machine.in_network(|| {
        let mut client = Client::connect("127.0.0.1:9090");
        for _ in 0..count {
            assert_eq!(client.request("GET", path).status, 200);
        }
    });
}

/// How many lines of requests before this have been lost, once that is known of all of them.
fn lost_lines(machine: &Machine) -> u64 {
    let (mut known, mut scrapes) = (0, 0);
    // While the queue is full, each scrape is a line that is lost, too.
    wait_until("no more lost lines than those of the scrapes", PATIENCE, || {
        let metrics = machine.get("http://localhost:9091/metrics");
        let mut lines = metrics.lines();
        let told = lines.find_map(|line| line.strip_prefix("lockstepd_log_lines_lost_total "));
        let lost = told.expect("it is always told").parse::<u64>().unwrap() - scrapes;
        scrapes += 1;
        lost > 0 && std::mem::replace(&mut known, lost) == lost
    });
    known
}

fn wait_until_told(machine: &Machine, lost: u64) {
    wait_until("a line that tells how many were lost", PATIENCE, || {
        let entries = machine.journal(&[UNIT, "-p", "warning"]);
        let told =
            entries.iter().filter_map(|entry| message(entry).split_once(" log lines were lost"));
        told.map(|(count, _)| count.parse::<u64>().unwrap()).sum::<u64>() >= lost
    });
}
