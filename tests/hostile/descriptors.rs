//! Descriptors run out: nobody spins, nobody is forgotten, and it ends by itself.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rustix::{
    param::clock_ticks_per_second,
    process::{Pid, Resource, Rlimit, prlimit},
};

use crate::{
    program::Samples,
    support::{BINARY, Client, Deadline, Ended, Launch, PATIENCE, ask, wait_until},
};

const CONNECTIONS: &str = "lockstepd_connections{server=\"public\"}";
const SHORTAGES: &str = "lockstepd_accept_errors_total{server=\"public\",cause=\"shortage\"}";

/// How long it is watched whether anything spins.
const WATCH: Duration = Duration::from_millis(1500);

/// Clients whose requests are on their way.
fn clients(address: &str, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    clients
}

/// Asserts that each is answered in its turn, once those before it have left.
#[track_caller]
fn assert_all_are_answered(clients: Vec<Client>) {
    for mut client in clients {
        assert_eq!(client.response("GET").status, 200);
    }
}

/// Calls `meanwhile` for a time, again and again, and asserts that the process did little else.
#[track_caller]
fn assert_no_spin(pid: u32, mut meanwhile: impl FnMut()) {
    let (begin, before) = (Instant::now(), cpu_time(pid));
    let watch = Deadline::after(WATCH);
    while !watch.is_over() {
        meanwhile();
        thread::sleep(Duration::from_millis(20));
    }
    let (elapsed, spent) = (begin.elapsed(), cpu_time(pid).saturating_sub(before));
    assert!(spent < elapsed / 4, "{spent:?} of processor time in {elapsed:?}");
}

/// The processor time of a process, `proc_pid_stat(5)`.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields = stat.rsplit_once(')').expect("the name is in parentheses").1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / clock_ticks_per_second())
}

#[test]
fn with_64_descriptors_200_clients_are_all_served_and_the_admin_server_is_reachable() {
    let address = format!("{}:0", Launch::address());
    let launch = Launch::program("prlimit").args(["--nofile=64:64", BINARY]);
    let arguments = ["--public", &address, "--admin", &address, "--log-format", "json"];
    let mut daemon = launch.args(arguments).start();
    let (public, admin) = (daemon.public(), daemon.admin());
    let begin = Instant::now();
    let clients = clients(&public, 200);
    wait_until("as many as may be are served", PATIENCE, || {
        Samples::of(&admin).value("lockstepd_accept_pauses_total{server=\"public\"}") > 0.5
    });
    assert_no_spin(daemon.pid(), || assert_eq!(ask(&admin, "GET", "/live").status, 200));
    let samples = Samples::of(&admin);
    assert!(samples.value(CONNECTIONS) < 64.0, "{samples:?}");
    // The limit of connections keeps what the others need.
    assert!(samples.value(SHORTAGES).abs() < 0.5, "{samples:?}");
    assert_all_are_answered(clients);
    assert_eq!(ask(&admin, "GET", "/live").status, 200);
    let seconds = begin.elapsed().as_secs();
    let ended = daemon.stop();
    assert_told(&ended, "the server has all the connections", seconds);
}

#[test]
fn when_the_kernel_has_no_descriptor_left_accepting_pauses_and_recovers_alone() {
    let mut daemon = Launch::daemon().start();
    let (public, admin) = (daemon.public(), daemon.admin());
    let mut operator = Client::connect(&admin);
    assert_eq!(operator.request("GET", "/live").status, 200);
    // Taken away while it runs: the limit of connections was made for more.
    let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw);
    let few = Rlimit { current: Some(40), maximum: Some(40) };
    prlimit(pid, Resource::Nofile, few).expect("a child's limit may be lowered");

    let begin = Instant::now();
    let clients = clients(&public, 100);
    let mut text = String::new();
    wait_until("a shortage", PATIENCE, || {
        text = operator.request("GET", "/metrics").body;
        value(&text, SHORTAGES) > 0.5
    });
    assert_no_spin(daemon.pid(), || assert_eq!(operator.request("GET", "/live").status, 200));
    let metrics = operator.request("GET", "/metrics").body;
    assert!(value(&metrics, CONNECTIONS) < 40.0, "{metrics}");
    assert_all_are_answered(clients);
    drop(operator);
    let metrics = || ask(&admin, "GET", "/metrics").text();
    wait_until("room for others", PATIENCE, || value(&metrics(), CONNECTIONS) < 0.5);
    assert_eq!(ask(&admin, "GET", "/live").status, 200);
    assert_eq!(Client::connect(&public).request("GET", "/").status, 200);

    let shortages = value(&metrics(), SHORTAGES);
    let seconds = begin.elapsed().as_secs();
    let ended = daemon.stop();
    assert_told(&ended, "cannot accept for now", seconds);
    // The pauses begin at 10 ms: each is counted, not each is told.
    assert!(shortages > 4.5, "{shortages} shortages");
}

/// Asserts a clean end, and that the log told of clients that wait, but once a second at most.
#[track_caller]
fn assert_told(ended: &Ended, message: &str, seconds: u64) {
    assert_eq!(ended.code, 0, "{}", ended.text());
    let events = ended.events().into_iter().filter(|event| event["server"] == "public");
    let told = events
        .filter(|event| event["message"].as_str().is_some_and(|text| text.starts_with(message)));
    let lines = told.count() as u64;
    assert!((1..=seconds + 1).contains(&lines), "{lines} lines in {seconds} s\n{}", ended.text());
}

/// A sample's value in the text of the metrics.
fn value(metrics: &str, name: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a value is a number"))
}
