//! How many connections of one request a server has in a second of its processor, handshakes included.

use std::iter;

use super::{
    Program, Speaker,
    clients::{Clients, Dialect, Kind, USUAL},
};
use crate::{
    Setting,
    server::Server,
    support::Trouble,
    table::{Row, Samples, Target},
};

/// How browsers connect; servers without ML-KEM take X25519.
const HYBRID: Dialect = Dialect { version: "1.3", exchange: "hybrid" };

const OLD: Dialect = Dialect { version: "1.2", exchange: "classic" };

pub(crate) fn handshakes(setting: &Setting) -> Result<Vec<Row<Speaker>>, Trouble> {
    let start = |program: &Program| Ok((program.speaker, program.start()?));
    let servers: Vec<_> = setting.speakers.iter().map(start).collect::<Result<_, Trouble>>()?;
    let row = |what, dialect, kind| -> Result<_, Trouble> {
        let row = Row::new(what, measure(&servers, dialect, kind, setting)?);
        Ok(row.against(Speaker::Nginx, Target::AtLeast(0.9)))
    };
    Ok(vec![
        row("connections per CPU-second, full handshake, TLS 1.3", USUAL, Kind::Full)?,
        row("… resumed", USUAL, Kind::Resumed)?,
        row("… full, with ML-KEM where the server has it", HYBRID, Kind::Full)?,
        row("… full, TLS 1.2", OLD, Kind::Full)?,
    ])
}

/// All servers stay up, and take turns.
fn measure(
    servers: &[(Speaker, Server)],
    dialect: Dialect,
    kind: Kind,
    setting: &Setting,
) -> Result<Vec<(Speaker, Samples)>, Trouble> {
    let clients = |(speaker, server): &(Speaker, Server)| {
        let program = setting.speakers.iter().find(|program| program.speaker == *speaker);
        program.ok_or("no program")?.clients(server.port, dialect)
    };
    let mut clients: Vec<Clients> = servers.iter().map(clients).collect::<Result<_, Trouble>>()?;
    let mut columns: Vec<_> =
        servers.iter().map(|(speaker, _)| (*speaker, Samples::default())).collect();
    for is_first in [true].into_iter().chain(iter::repeat(false)).take(setting.rounds) {
        for (((speaker, server), clients), (_, samples)) in
            servers.iter().zip(&mut clients).zip(&mut columns)
        {
            samples.attempt(*speaker, || {
                if is_first {
                    // Memory is fetched and grown before it counts.
                    clients.connect(kind, 1)?;
                }
                let before = server.time();
                let connections = clients.connect(kind, setting.duration.as_secs().max(1))?;
                let time = server.time().saturating_sub(before);
                #[expect(clippy::cast_precision_loss, reason = "thousands")]
                Ok(connections as f64 / time.as_secs_f64())
            });
        }
    }
    Ok(columns)
}
