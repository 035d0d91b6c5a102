//! What a service costs under systemd: its access log, its sandbox, and its end.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, pidfd_send_signal},
};

use crate::{
    Setting,
    peers::Peer,
    support::{Client, Trouble},
    systemd::{Machine, pidfd},
    table::{Row, Samples, Target},
    units::{ERRORS, Unit},
};

/// Idle connections at the end.
const CONNECTIONS: usize = 64;

pub(crate) fn log(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let unit = |name, port, log| Unit { name, port, peer: Peer::Lockstepd, sandboxed: true, log };
    let units = [unit("off", 9101, "off"), unit("errors", 9102, ERRORS), unit("all", 9103, "all")];
    let machine = Unit::boot(&units, setting)?;
    let samples = Unit::take_turns(&units, &machine, setting)?;
    let counter = |name| units[2].counter(&machine, name);
    let answered = "lockstepd_requests_total{server=\"public\",method=\"GET\",status=\"200\"}";
    let lost = counter("lockstepd_log_lines_lost_total")? / counter(answered)? * 100.0;
    let off = samples[0].median();
    Ok(units
        .into_iter()
        .zip(samples)
        .map(|(unit, samples)| {
            let ratio = samples.median() / off;
            let row = Row::of_ours(
                format!("CPU µs per request in the serving threads, access log {}", unit.log),
                samples,
            );
            match unit.log {
                "all" => {
                    row.judge("off", ratio, Target::AtMost(1.1)).note("% of lines lost:", lost)
                }
                _ => row,
            }
        })
        .collect())
}

pub(crate) fn sandbox(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let unit =
        |name, port, sandboxed| Unit { name, port, peer: Peer::Lockstepd, sandboxed, log: ERRORS };
    let units = [unit("plain", 9101, false), unit("sandboxed", 9102, true)];
    let machine = Unit::boot(&units, setting)?;
    let samples = Unit::take_turns(&units, &machine, setting)?;
    let plain = samples[0].median();
    Ok(units
        .into_iter()
        .zip(samples)
        .map(|(unit, samples)| {
            let ratio = samples.median() / plain;
            let row =
                Row::of_ours(format!("CPU µs per request under systemd, {}", unit.name), samples);
            if unit.sandboxed { row.note("plain", ratio) } else { row }
        })
        .collect())
}

pub(crate) fn stop(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let unit = |name, port, peer| Unit { name, port, peer, sandboxed: true, log: ERRORS };
    let units = [unit("ours", 9101, Peer::Lockstepd), unit("go", 9102, Peer::Go)];
    let machine = Unit::boot(&units, setting)?;
    let mut samples = units.map(|_| Samples::default());
    for _ in 0..setting.rounds {
        for (unit, samples) in units.iter().zip(&mut samples) {
            samples.add(machine.in_network(|| stop_once(&machine, unit))?);
            machine.systemctl(&["stop", &unit.service()]).ok();
        }
    }
    let columns = units.map(|unit| unit.peer).into_iter().zip(samples).collect();
    let row = Row::new("SIGTERM to exit with 64 idle connections, under systemd, ms", columns);
    Ok(vec![row.against(Peer::Go, Target::AtMost(0.5))])
}

/// Milliseconds from the signal to the end of the process.
fn stop_once(machine: &Machine, unit: &Unit) -> Result<f64, Trouble> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = Client::connect(unit.port)?;
        client.ask(1)?;
        clients.push(client);
    }
    // They are to be idle.
    sleep(Duration::from_millis(100));
    let pid = machine.main_pid(&unit.service()).ok_or("a service does not run")?;
    let process = pidfd(pid)?;
    let begin = Instant::now();
    pidfd_send_signal(&process, Signal::TERM)?;
    poll(&mut [PollFd::new(&process, PollFlags::IN)], None)?;
    Ok(begin.elapsed().as_secs_f64() * 1000.0)
}
