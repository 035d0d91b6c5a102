//! What a server keeps in memory for connections with TLS that are idle.

use std::{thread::sleep, time::Duration};

use super::{Program, Speaker, clients::USUAL};
use crate::{
    Setting,
    support::Trouble,
    table::{Row, Samples, Target, grouped},
};

const CONNECTIONS: [usize; 2] = [1_000, 8_000];

/// How long a server may take to put things away.
const SETTLING: Duration = Duration::from_millis(500);

/// How many times each server is looked at; memory hardly varies.
const ROUNDS: usize = 3;

pub(crate) fn memory(setting: &Setting) -> Vec<Row<Speaker>> {
    let columns =
        || setting.speakers.iter().map(|program| (program.speaker, Samples::default())).collect();
    let mut rows: [Vec<_>; 2] = [columns(), columns()];
    for _ in 0..ROUNDS.min(setting.rounds) {
        for (at, program) in setting.speakers.iter().enumerate() {
            for (columns, connections) in rows.iter_mut().zip(CONNECTIONS) {
                columns[at].1.attempt(program.speaker, || each(program, connections));
            }
        }
    }
    let row = |(columns, connections): (Vec<_>, usize)| {
        let connections = grouped(&connections.to_string());
        let row = Row::new(format!("bytes per idle connection, of {connections}"), columns);
        match row.median(Speaker::Lockstepd) {
            Some(ours) => row.judge("bytes", ours, Target::AtMost(1_536.0)),
            None => row,
        }
    };
    rows.into_iter().zip(CONNECTIONS).map(row).collect()
}

/// What a new server keeps for each of so many connections that have had an answer.
#[expect(clippy::cast_precision_loss, reason = "bytes of a process's memory are far below 2^52")]
fn each(program: &Program, connections: usize) -> Result<f64, Trouble> {
    let server = program.start()?;
    sleep(SETTLING);
    let before = server.memory()?;
    let mut clients = program.clients(server.port, USUAL)?;
    clients.hold(connections)?;
    sleep(SETTLING);
    Ok((server.memory()? as f64 - before as f64) / connections as f64)
}
