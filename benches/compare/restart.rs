//! How long `systemctl restart` takes with connections that are to go on.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Setting,
    support::{Client, Trouble},
    systemd::Machine,
    table::{Row, Samples, Target, grouped},
};

const CONNECTIONS: [usize; 3] = [0, 1_000, 10_000];
const SETTLING: Duration = Duration::from_millis(500);
const PORT: u16 = 9090;

pub(crate) fn restart(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let machine = Machine::with_sockets().ok_or("no machine with systemd can be had")?;
    machine.activate();
    let mut samples = CONNECTIONS.map(|_| Samples::default());
    for _ in 0..setting.rounds {
        for (connections, samples) in CONNECTIONS.into_iter().zip(&mut samples) {
            samples.add(machine.in_network(|| once(&machine, connections))?);
            // The daemon closes what the clients have closed before the next restart.
            sleep(SETTLING);
        }
    }
    let none = samples[0].median();
    Ok(CONNECTIONS
        .into_iter()
        .zip(samples)
        .map(|(connections, samples)| {
            let more = samples.median() - none;
            let row = Row::of_ours(
                format!(
                    "systemctl restart with {} idle connections, ms",
                    grouped(&connections.to_string())
                ),
                samples,
            );
            match connections {
                10_000 => row.judge("none, ms more:", more, Target::AtMost(150.0)),
                _ => row,
            }
        })
        .collect())
}

/// Milliseconds for a restart, which all of so many connections survive.
pub(crate) fn once(machine: &Machine, connections: usize) -> Result<f64, Trouble> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut client = Client::of_crowd(PORT)?;
        client.ask(1)?;
        clients.push(client);
    }
    let begin = Instant::now();
    machine.systemctl(&["restart", "lockstepd"]).ok();
    let took = begin.elapsed();
    for client in &mut clients {
        client.ask(1).map_err(|error| format!("a connection was lost: {error}"))?;
    }
    Ok(took.as_secs_f64() * 1000.0)
}
