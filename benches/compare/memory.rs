//! What a server keeps in memory, at rest and for connections that are idle.

use std::{thread::sleep, time::Duration};

use crate::{
    Setting,
    peers::Peer,
    server::Server,
    support::{Client, Trouble},
    table::{Row, Samples, Target, grouped},
};

const CONNECTIONS: [usize; 2] = [1_000, 8_000];

/// How long a server may take to put things away.
const SETTLING: Duration = Duration::from_millis(500);

/// How many times each server is looked at; memory hardly varies.
const ROUNDS: usize = 3;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let mut rested = Vec::new();
    let mut per_connection = CONNECTIONS.map(|_| Vec::new());
    for program in &setting.programs {
        rested.push((program.peer, Samples::default()));
        for columns in &mut per_connection {
            columns.push((program.peer, Samples::default()));
        }
    }
    for _ in 0..ROUNDS.min(setting.rounds) {
        for (at, program) in setting.programs.iter().enumerate() {
            let memory = look(&program.start()?, &CONNECTIONS)?;
            rested[at].1.add(memory[0] / f64::from(1 << 20));
            for (row, connections) in CONNECTIONS.into_iter().enumerate() {
                #[expect(clippy::cast_precision_loss, reason = "thousands")]
                per_connection[row][at].1.add((memory[row + 1] - memory[0]) / connections as f64);
            }
        }
    }
    let resident = Row::new("resident memory after one answer, MiB", rested);
    let mut rows = vec![resident.against(Peer::Go, Target::AtMost(0.5))];
    for (columns, connections) in per_connection.into_iter().zip(CONNECTIONS) {
        let row = Row::new(
            format!("bytes per idle connection, of {}", grouped(&connections.to_string())),
            columns,
        );
        let ours = row.median(Peer::Lockstepd);
        rows.push(match ours {
            Some(ours) => row.judge("bytes", ours, Target::AtMost(600.0)),
            None => row,
        });
    }
    Ok(rows)
}

/// A server's memory with no connection, and with each number of `connections` that have been answered.
#[expect(clippy::cast_precision_loss, reason = "bytes of a process's memory are far below 2^52")]
pub(crate) fn look(server: &Server, connections: &[usize]) -> Result<Vec<f64>, Trouble> {
    sleep(SETTLING);
    let mut memory = vec![server.memory()? as f64];
    let mut clients = Vec::new();
    for &connections in connections {
        while clients.len() < connections {
            let mut client = Client::of_crowd(server.port)?;
            client.ask(1)?;
            clients.push(client);
        }
        sleep(SETTLING);
        memory.push(server.memory()? as f64);
    }
    Ok(memory)
}
