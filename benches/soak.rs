//! The soak: an hour's worth of load in a few minutes, across restarts, under a real systemd.
//!
//! `cargo bench --bench soak [-- REQUESTS [RESTARTS]]` (default 5,000,000 and 100) sends GET and POST on
//! connections that are kept, and on others that are opened and closed all the time. The restarts
//! fall into the first half of the requests, each as old as the one before, which shows what grows from
//! process to process; the second half goes to one process, which shows what grows within. It
//! prints requests, failures, the slowest answer, and memory and descriptors of the daemon and of PID 1,
//! and exits with 1 if a request failed or one of them grew.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    env,
    net::SocketAddr,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use support::{Control, Load, Machine, PATIENCE, Server, wait_until};

/// Clients that keep their connections and never pause.
const KEPT: usize = 48;
/// Clients that come and go.
const PASSING: usize = 16;
/// How many samples are taken in each half.
const SAMPLES: u64 = 5;
/// How much resident memory may grow between the first and the last sample of a half, in KiB: what is asked
/// is the same, but how many buffers and stacks of threads were touched at once is chance. A leak of a
/// byte per request would be 2.4 MiB.
const GROWTH_MAX: u64 = 2048;

/// Memory in KiB and descriptors at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    memory: u64,
    descriptors: usize,
    manager_memory: u64,
    manager_descriptors: usize,
}

fn main() -> ExitCode {
    let mut counts = env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let requests = counts.next().unwrap_or(5_000_000);
    let restarts = counts.next().unwrap_or(100).max(SAMPLES);
    let Some(machine) = Machine::boot() else { return ExitCode::from(2) };
    machine.install();
    machine.run("systemctl", &["start", "lockstepd"]).ok();
    // At rest a process that has taken over is compared with one that has taken over.
    restart(&machine);
    let before = Sample::of(&machine);
    println!(
        "{requests} requests and {restarts} restarts of systemd {}:",
        machine.systemd_version()
    );
    println!("  {:<28} daemon KiB, fds   PID 1 KiB, fds", "");
    before.print("at rest");

    let kept = Load {
        clients: KEPT,
        think: Duration::ZERO,
        ..Load::on(Server::Tcp(SocketAddr::from(([127, 0, 0, 1], 9090))))
    };
    let passing =
        Load { clients: PASSING, think: Duration::from_millis(5), stay: Some(3), ..kept.clone() };
    let control = Control::default();
    let begin = Instant::now();
    let (across, within) = thread::scope(|scope| {
        let crowds = [&kept, &passing].map(|load| {
            let (machine, control) = (&machine, &control);
            scope.spawn(move || machine.in_network(|| load.run(control)))
        });
        let across = restart_often(&machine, &control, requests / 2, restarts);
        let within = leave_alone(&machine, &control, requests - requests / 2);
        control.stop();
        for crowd in crowds {
            crowd.join().expect("the crowd does not panic");
        }
        (across, within)
    });
    let report = control.report();
    let took = begin.elapsed();
    restart(&machine);
    let after = Sample::of(&machine);
    after.print("at rest");
    println!(
        "  {report}, median {:.2} ms, in {:.0} s",
        report.median.as_secs_f64() * 1e3,
        took.as_secs_f64()
    );
    for failure in report.failures.iter().take(10) {
        println!("    {failure}");
    }

    let mut grown = grown("from process to process", &across, KEPT + PASSING);
    grown |= self::grown("within one process", &within, KEPT + PASSING);
    // With nobody connected there is no chance in it.
    grown |= self::grown("at rest", &[before, after], 0);
    if report.failures.is_empty() && !grown { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Spreads `restarts` over `requests`; samples before the next one, when each process has answered as many.
fn restart_often(
    machine: &Machine,
    control: &Control,
    requests: u64,
    restarts: u64,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    for round in 1..=restarts {
        wait_for_answers(control, requests * round / restarts);
        if round % (restarts / SAMPLES) == 0 {
            let sample = Sample::of(machine);
            sample.print(&format!("after {:>9}, {:>3} restarts", control.answers(), round - 1));
            samples.push(sample);
        }
        restart(machine);
    }
    samples
}

/// Lets one process answer `requests`; the first sample is taken when it is warm.
fn leave_alone(machine: &Machine, control: &Control, requests: u64) -> Vec<Sample> {
    let begin = control.answers();
    let parts = SAMPLES + 1;
    let sample = |part| {
        wait_for_answers(control, begin + requests * part / parts);
        let sample = Sample::of(machine);
        sample.print(&format!("after {:>9}", control.answers()));
        sample
    };
    (1..=parts).map(sample).collect()
}

fn wait_for_answers(control: &Control, count: u64) {
    while control.answers() < count {
        let next = count.min(control.answers() + 10_000);
        wait_until("more answers", PATIENCE, || control.answers() >= next);
    }
}

fn restart(machine: &Machine) {
    machine.run("systemctl", &["restart", "lockstepd"]).ok();
}

/// Says what has grown between the first and the last sample; `clients` may be connecting at any of them.
fn grown(name: &str, samples: &[Sample], clients: usize) -> bool {
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    let grown = [
        ("memory of the daemon", last.memory > first.memory + GROWTH_MAX),
        ("memory of PID 1", last.manager_memory > first.manager_memory + GROWTH_MAX),
        ("descriptors of the daemon", last.descriptors > first.descriptors + clients),
        ("descriptors of PID 1", last.manager_descriptors > first.manager_descriptors),
    ];
    for (what, _) in grown.iter().filter(|(_, has_grown)| *has_grown) {
        println!("  GROWN {name}: {what}");
    }
    grown.iter().any(|(_, has_grown)| *has_grown)
}

// === impl Sample ===

impl Sample {
    fn of(machine: &Machine) -> Self {
        Self {
            memory: machine.memory("lockstepd").map_or(0, |memory| memory.resident),
            descriptors: machine.fd_count("lockstepd").unwrap_or(0),
            manager_memory: machine.manager_memory().resident,
            manager_descriptors: machine.manager_fd_count(),
        }
    }

    fn print(self, when: &str) {
        let Self { memory, descriptors, manager_memory, manager_descriptors } = self;
        println!(
            "  {when:<28} {memory:>10}, {descriptors:>3} {manager_memory:>10}, {manager_descriptors:>3}"
        );
    }
}
