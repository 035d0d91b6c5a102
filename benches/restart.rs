//! The restart experiment: what clients see of `systemctl restart`, under a real systemd.
//!
//! `cargo bench --bench restart` prints, for clients that keep their connections and never retry:
//! requests, failures, and the slowest answer, over 20 restarts within 15 s, at a thinking pace and at
//! full load; then how long a restart takes with 0, 1,000 and 10,000 idle connections, all of which have
//! to answer afterwards. It exits with 1 if a request failed.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use support::{Control, Load, Machine, PATIENCE, Server, wait_until};

const ROUNDS: u32 = 20;
/// 20 restarts fit into 15 s with this between their beginnings.
const PACE: Duration = Duration::from_millis(750);
const PUBLIC: ([u8; 4], u16) = ([127, 0, 0, 1], 9090);

fn main() -> ExitCode {
    let Some(machine) = Machine::boot() else { return ExitCode::from(2) };
    machine.install();
    machine.run("systemctl", &["start", "lockstepd"]).ok();
    let address = SocketAddr::from(PUBLIC);
    let thinking = Load::on(Server::Tcp(address));
    let full = Load { clients: 64, think: Duration::ZERO, ..thinking.clone() };
    let mut failures = 0;
    println!("{ROUNDS} restarts of systemd {}:", machine.systemd_version());
    for (name, load) in
        [("32 clients, thinking 0-20 ms", thinking), ("64 clients, full load", full)]
    {
        failures += restarts(&machine, name, &load);
    }
    println!("idle connections:");
    for connections in [0, 1_000, 10_000] {
        failures += idle(&machine, address, connections);
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Restarts under load; answers how many requests failed.
fn restarts(machine: &Machine, name: &str, load: &Load) -> usize {
    let control = Control::default();
    let begin = Instant::now();
    let report = thread::scope(|scope| {
        let crowd = scope.spawn(|| machine.in_network(|| load.run(&control)));
        wait_until("the first answers", PATIENCE, || control.answers() >= load.clients as u64);
        for round in 1..=ROUNDS {
            machine.run("systemctl", &["restart", "lockstepd"]).ok();
            thread::sleep((PACE * round).saturating_sub(begin.elapsed()));
        }
        control.stop();
        crowd.join().expect("the crowd does not panic")
    });
    println!("  {name}: {report}, in {:.1} s", begin.elapsed().as_secs_f64());
    for failure in report.failures.iter().take(10) {
        println!("    {failure}");
    }
    report.failures.len()
}

/// Restarts with idle connections; answers how many of them did not answer afterwards.
fn idle(machine: &Machine, address: SocketAddr, connections: usize) -> usize {
    machine.in_network(|| {
        let connect = |_| TcpStream::connect(address).expect("the limit of descriptors allows it");
        let clients: Vec<_> = (0..connections).map(connect).collect();
        let mut failed = clients.iter().filter(|client| ask(client).is_err()).count();
        let mut took = Vec::new();
        for _ in 0..5 {
            let begin = Instant::now();
            machine.run("systemctl", &["restart", "lockstepd"]).ok();
            took.push(begin.elapsed());
        }
        failed += clients.iter().filter(|client| ask(client).is_err()).count();
        took.sort();
        println!(
            "  {connections:>6}: {failed} failed; systemctl restart took {:.0} ms (median of 5, {:.0} to {:.0})",
            millis(took[2]),
            millis(took[0]),
            millis(took[4]),
        );
        failed
    })
}

fn ask(mut client: &TcpStream) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut answer = [0; 1024];
    let mut read = 0;
    while !answer[..read].ends_with(b"running...\n") {
        match client.read(&mut answer[read..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => read += length,
        }
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
