//! How memory and restarts grow with the number of idle connections, as far as the limit of descriptors goes.

use std::{thread::sleep, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    Setting, memory,
    peers::Peer,
    restart,
    support::Trouble,
    systemd::Machine,
    table::{Row, Samples, grouped},
};

const CONNECTIONS: [usize; 6] = [1_000, 3_000, 10_000, 19_000, 30_000, 100_000];

/// Descriptors that are not connections, at most.
const OTHERS: usize = 500;

/// The daemon closes what the clients have closed before the next restart.
const SETTLING: Duration = Duration::from_secs(1);

/// How many times there is a look; a round is long, and memory hardly varies.
const ROUNDS: usize = 3;

#[expect(clippy::cast_precision_loss, reason = "a number of connections")]
pub(crate) fn growth(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let limit = descriptors();
    let (sizes, beyond): (Vec<_>, Vec<_>) =
        CONNECTIONS.into_iter().partition(|connections| connections + OTHERS <= limit);
    if !beyond.is_empty() {
        eprintln!("without {beyond:?} connections: a process may have {limit} descriptors");
    }
    let mut per_connection = vec![Samples::default(); sizes.len()];
    let mut restarts = vec![Samples::default(); sizes.len()];
    let machine = Machine::with_sockets().ok_or("no machine with systemd can be had")?;
    machine.activate();
    for _ in 0..ROUNDS.min(setting.rounds) {
        let memory = memory::look(&setting.program(Peer::Lockstepd)?.start()?, &sizes)?;
        for (at, connections) in sizes.iter().enumerate() {
            per_connection[at].add((memory[at + 1] - memory[0]) / *connections as f64);
        }
        for (connections, samples) in sizes.iter().zip(&mut restarts) {
            samples.add(machine.in_network(|| restart::once(&machine, *connections))?);
            sleep(SETTLING);
        }
    }
    let mut rows = Vec::new();
    let bytes = |connections| format!("bytes per idle connection, of {connections}");
    let restart = |connections| format!("systemctl restart with {connections}, ms");
    let number = |connections: &usize| grouped(&connections.to_string());
    for (connections, samples) in sizes.iter().zip(per_connection) {
        rows.push(Row::of_ours(bytes(number(connections)), samples));
    }
    let first = restarts[0].median();
    for (connections, samples) in sizes.iter().zip(restarts) {
        let more = samples.median() - first;
        let row = Row::of_ours(restart(number(connections)), samples);
        rows.push(match connections - sizes[0] {
            0 => row,
            others => row.note("µs for each connection more:", more * 1e3 / others as f64),
        });
    }
    Ok(rows)
}

/// How many descriptors a process may have; as many as are wanted, where that may be raised.
fn descriptors() -> usize {
    let most = CONNECTIONS[CONNECTIONS.len() - 1] + OTHERS;
    let wanted = u64::try_from(most).ok();
    // Refused without CAP_SYS_RESOURCE, it shows in what the limit is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted });
    let current = getrlimit(Resource::Nofile).current;
    current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(most)
}
