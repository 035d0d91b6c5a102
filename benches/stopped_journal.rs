//! A journal that does not listen: what clients see of it, in turns with one that does.
//!
//! `cargo bench --bench stopped_journal [-- ROUNDS]` (default 10) asks under a real systemd with every request
//! logged, in rounds of three seconds: one with journald running, one with it stopped by SIGSTOP. It prints
//! how long answers took in both, the median of the rounds with the lowest and the highest, and what
//! became of the log lines. It exits with 1 if a request failed, or a line is neither in the journal nor
//! counted as lost.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{env, net::SocketAddr, process::ExitCode, thread, time::Duration};

use support::{Control, Load, Machine, PATIENCE, Report, Server, wait_until};

const ROUND: Duration = Duration::from_secs(3);

/// The journal keeps all that it gets, so that it can be counted.
const EVERY_LINE: &str = "[Service]\nEnvironment=LOCKSTEPD_ACCESS_LOG=all\n";
const ROOM: &str =
    "[Journal]\nRuntimeMaxUse=1G\nSystemMaxUse=1G\nRuntimeKeepFree=1M\nSystemKeepFree=1M\n";

fn main() -> ExitCode {
    let rounds = env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10);
    let journald = "/etc/systemd/journald.conf.d/room.conf";
    let Some(machine) = Machine::boot_with(|root| root.write(journald, ROOM)) else {
        return ExitCode::from(2);
    };
    machine.install();
    machine.write("/etc/systemd/system/lockstepd.service.d/bench.conf", EVERY_LINE);
    machine.sh("systemctl daemon-reload; systemctl start lockstepd").ok();

    // The first round warms up, and does not count.
    ask(&machine);
    let (mut running, mut stopped) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        running.push(ask(&machine));
        signal(&machine, "STOP");
        stopped.push(ask(&machine));
        signal(&machine, "CONT");
    }
    println!(
        "| journald | requests | failed | median | 99 % within | slowest |\n|---|---|---|---|---|---|"
    );
    print("running", &running);
    print("stopped", &stopped);

    let failed: usize = running.iter().chain(&stopped).map(|report| report.failures.len()).sum();
    let complete = told_of(&machine);
    if failed == 0 && complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A round; the load is one that two processors bear with the journal's work beside it.
fn ask(machine: &Machine) -> Report {
    let address = SocketAddr::from(([127, 0, 0, 1], 9090));
    let think = Duration::from_millis(20);
    let load = Load { clients: 32, think, ..Load::on(Server::Tcp(address)) };
    let control = Control::default();
    thread::scope(|scope| {
        let crowd = scope.spawn(|| machine.in_network(|| load.run(&control)));
        thread::sleep(ROUND);
        control.stop();
        crowd.join().expect("the crowd does not panic")
    })
}

fn signal(machine: &Machine, name: &str) {
    let name = format!("--signal={name}");
    machine.run("systemctl", &["kill", &name, "systemd-journald"]).ok();
}

fn print(journald: &str, rounds: &[Report]) {
    let requests: u64 = rounds.iter().map(|round| round.answers).sum();
    let failed: usize = rounds.iter().map(|round| round.failures.len()).sum();
    let spread = |time: fn(&Report) -> Duration| {
        let mut times: Vec<_> =
            rounds.iter().map(|round| time(round).as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        let (lowest, highest) = (times[0], times[times.len() - 1]);
        format!("{:.2} ms ({lowest:.2}–{highest:.2})", times[times.len() / 2])
    };
    println!(
        "| {journald} | {requests} | **{failed}** | {} | {} | {} |",
        spread(|round| round.median),
        spread(|round| round.percentile_99),
        spread(|round| round.slowest),
    );
}

/// Prints what became of the lines; tells whether each request's is accounted for.
fn told_of(machine: &Machine) -> bool {
    let metrics = || machine.get("http://127.0.0.1:9091/metrics");
    let sum = |name: &str| -> u64 {
        let metrics = metrics();
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    let requests = sum("lockstepd_requests_total{server=\"public\"");
    let lost = sum("lockstepd_log_lines_lost_total");
    let count = "journalctl --sync; journalctl -u lockstepd SERVER=public --output=cat | grep -c /";
    let written = || machine.sh(count).ok().trim().parse::<u64>().unwrap_or(0);
    wait_until("all lines in the journal", PATIENCE, || written() + lost >= requests);
    let written = written();
    println!("\n{requests} requests: {written} lines in the journal, {lost} counted as lost");
    // Where nothing was lost, the journal was not stopped for long enough to be felt.
    written + lost == requests && lost > 0
}
