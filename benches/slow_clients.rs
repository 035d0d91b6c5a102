//! Slow clients: what a normal client sees while a thousand others are slow on purpose.
//!
//! `cargo bench --bench slow_clients` lets slowhttptest (Debian: `apt-get install slowhttptest`) hold 1,000
//! connections in each of its modes, under a real systemd, and prints what became of a normal client's
//! requests and of the server's memory. It exits with 1 if one of them went unanswered.
//!
//! The daemon's own answer is so short that a slow reader takes it whole with the first packet. So bodies that are
//! read and answers that are long come from a service of this program, under the daemon's unit and
//! limits: `slow_clients serve`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{env, fs, net::SocketAddr, process::Command, process::ExitCode, thread, time::Duration};

use axum::{Router, body::Bytes, routing::get, routing::post};
use support::{Control, Load, Machine, PATIENCE, Report, Server, wait_until};

const CONNECTIONS: &str = "1000";
/// How long each mode lasts, in seconds: beyond the time that a head may take.
const LENGTH: u64 = 30;
/// What is answered at length, in bytes.
const LARGE: usize = 16 << 20;
const URL: &str = "http://127.0.0.1:9090";

/// A way of being slow.
struct Slowness {
    name: &'static str,
    /// The service of this program takes the daemon's place.
    ours: bool,
    path: &'static str,
    options: &'static [&'static str],
}

const MODES: [Slowness; 4] = [
    Slowness { name: "slow headers (-H)", ours: false, path: "/", options: &["-H", "-i", "5"] },
    Slowness {
        name: "slow body (-B)",
        ours: false,
        path: "/",
        options: &["-B", "-i", "5", "-s", "100000"],
    },
    Slowness {
        name: "slow body (-B) that is read",
        ours: true,
        path: "/length",
        options: &["-B", "-i", "5", "-s", "100000"],
    },
    Slowness {
        name: "slow read (-X) of 16 MiB",
        ours: true,
        path: "/large",
        options: &["-X", "-n", "1", "-z", "32", "-w", "512", "-y", "1024"],
    },
];

fn main() -> ExitCode {
    if env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    if Command::new("slowhttptest").arg("-h").output().is_err() {
        eprintln!("slowhttptest is missing (Debian: apt-get install slowhttptest)");
        return ExitCode::from(2);
    }
    let Some(machine) = Machine::boot() else { return ExitCode::from(2) };
    machine.install();
    let this = env::current_exe().expect("a program has a path");
    machine.copy_in(this, "/usr/local/bin/slow_clients");
    println!(
        "| {CONNECTIONS} connections for {LENGTH} s | held at once | normal requests | unanswered | median | slowest \
         | memory before | peak | sockets' in the kernel |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    let unanswered: usize = MODES.iter().map(|mode| run(&machine, mode)).sum();
    if unanswered == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Answers at length, and reads bodies, with the daemon's limits.
fn serve() -> ExitCode {
    let large = Bytes::from(vec![b'x'; LARGE]);
    let router = Router::new()
        .route("/length", post(|body: Bytes| async move { format!("{}\n", body.len()) }))
        .route("/large", get(move || async move { large }))
        .fallback(|| async { "Hello\n" });
    lockstepd::Daemon::new("slow")
        .server("public", "127.0.0.1:9090", router)
        .admin("127.0.0.1:9091")
        .run()
}

/// Runs one mode in a process of its own; answers how many normal requests went unanswered.
fn run(machine: &Machine, mode: &Slowness) -> usize {
    let program = if mode.ours {
        "[Service]\nExecStart=\nExecStart=/usr/local/bin/slow_clients serve\n"
    } else {
        ""
    };
    machine.write("/etc/systemd/system/lockstepd.service.d/program.conf", program);
    machine.sh("systemctl daemon-reload; systemctl restart lockstepd").ok();
    let resident = || machine.memory("lockstepd").expect("the daemon runs");
    let load =
        Load { clients: 8, ..Load::on(Server::Tcp(SocketAddr::from(([127, 0, 0, 1], 9090)))) };
    let control = Control::default();
    let (report, before, held, kernel) = thread::scope(|scope| {
        let crowd = scope.spawn(|| machine.in_network(|| load.run(&control)));
        wait_until("a warm server", PATIENCE, || control.answers() >= 500);
        let before = resident().resident;
        let slow = scope.spawn(|| attack(machine, mode));
        let (mut held, mut kernel) = (0, 0);
        while !slow.is_finished() {
            held = held.max(connections(machine));
            kernel = kernel.max(socket_memory());
            thread::sleep(Duration::from_millis(250));
        }
        slow.join().expect("slowhttptest can be run");
        control.stop();
        let report = crowd.join().expect("the crowd does not panic");
        (report, before, held.saturating_sub(load.clients), kernel)
    });
    let Report { answers, failures, median, slowest, .. } = &report;
    println!(
        "| {} | {held} | {answers} | **{}** | {:.2} ms | {:.0} ms | {:.1} MiB | {:.1} MiB | {:.0} MiB |",
        mode.name,
        failures.len(),
        median.as_secs_f64() * 1e3,
        slowest.as_secs_f64() * 1e3,
        mib(before),
        mib(resident().peak),
        mib(kernel),
    );
    for failure in failures.iter().take(10) {
        println!("    {failure}");
    }
    failures.len()
}

fn attack(machine: &Machine, mode: &Slowness) {
    let url = format!("{URL}{}", mode.path);
    let length = LENGTH.to_string();
    let options = ["-c", CONNECTIONS, "-r", "500", "-l", &length, "-u", &url];
    let arguments = [mode.options, &options].concat();
    // It says by its exit code what it thinks of the server; here the normal client judges.
    let _ = machine.run_for(Duration::from_secs(LENGTH) + PATIENCE, "slowhttptest", &arguments);
}

/// How many connections the public server has open, as it tells itself.
fn connections(machine: &Machine) -> usize {
    let metrics = machine.get("http://127.0.0.1:9091/metrics");
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix("lockstepd_connections{server=\"public\"} "));
    value.and_then(|value| value.parse().ok()).expect("the metric is there")
}

/// What the buffers of all TCP sockets of the machine take, of both ends, in KiB.
///
/// # Source
/// proc(5) `/proc/net/sockstat`; `mem` is in pages.
fn socket_memory() -> u64 {
    let sockets = fs::read_to_string("/proc/net/sockstat").expect("the kernel counts its sockets");
    let words = sockets.lines().find_map(|line| line.strip_prefix("TCP: "));
    let pages = words.and_then(|words| words.rsplit(' ').next()?.parse::<u64>().ok());
    pages.expect("the kernel counts their pages") * rustix::param::page_size() as u64 / 1024
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
