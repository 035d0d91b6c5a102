//! What a proxy keeps in memory for clients that are idle.

use super::{Program, Proxy};
use crate::{
    Setting,
    memory::look,
    support::{Application, LOAD, Trouble},
    table::{Row, Samples, Target, grouped},
};

const CONNECTIONS: [usize; 2] = [1_000, 10_000];

/// How many times each proxy is looked at; memory hardly varies.
const ROUNDS: usize = 3;

/// Those that have a connection to the application for each client, and systemd-socket-proxyd two pipes besides, may
/// not have ten thousand where the limit is 20,000.
const PAIRED_CONNECTIONS: usize = 1_000;

#[expect(clippy::cast_precision_loss, reason = "thousands")]
pub(crate) fn memory(setting: &Setting) -> Result<Vec<Row<Proxy>>, Trouble> {
    let application = Application::start(&setting.application, LOAD)?;
    // lockstepd without a proxy is what lockstepd with it is compared with.
    let ours = setting.proxies.iter().find(|program| program.proxy == Proxy::Lockstepd);
    let alone = ours.map(|ours| Program { proxy: Proxy::Nothing, ..ours.clone() });
    let programs: Vec<_> = setting.proxies.iter().cloned().chain(alone).collect();
    let columns = || programs.iter().map(|program| (program.proxy, Samples::default())).collect();
    let mut rows: [Vec<_>; 2] = [columns(), columns()];
    for _ in 0..ROUNDS.min(setting.rounds) {
        for (at, Program { proxy, .. }) in programs.iter().enumerate() {
            for (columns, connections) in rows.iter_mut().zip(CONNECTIONS) {
                let is_paired = matches!(proxy, Proxy::Hyper | Proxy::SocketProxyd);
                if is_paired && connections > PAIRED_CONNECTIONS {
                    continue;
                }
                columns[at].1.attempt(*proxy, || {
                    let server = programs[at].start(&application)?;
                    let memory = look(&server, &[connections])?;
                    Ok((memory[1] - memory[0]) / connections as f64)
                });
            }
        }
    }
    let row = |(columns, connections): (Vec<_>, usize)| {
        let connections = grouped(&connections.to_string());
        let row = Row::new(format!("bytes per idle client, of {connections}"), columns);
        match (row.median(Proxy::Lockstepd), row.median(Proxy::Nothing)) {
            (Some(with), Some(without)) => {
                row.judge("bytes more than lockstepd alone", with - without, Target::AtMost(100.0))
            }
            _ => row,
        }
    };
    Ok(rows.into_iter().zip(CONNECTIONS).map(row).collect())
}
