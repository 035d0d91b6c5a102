//! How many requests a server answers in a second of its processor.

use std::time::Duration;

use crate::{
    Setting,
    peers::Peer,
    support::Trouble,
    table::{Row, Samples, Target},
    wrk::{Way, load},
};

pub(crate) fn keep_alive(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let row = measure("requests per CPU-second, 64 kept connections", Way::KeepAlive, setting)?;
    Ok(vec![
        row.against(Peer::Go, Target::AtLeast(2.2))
            .against(Peer::Nginx, Target::AtLeast(1.0))
            .against(Peer::Epoll, Target::AtLeast(0.8)),
    ])
}

pub(crate) fn pipelined(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let row = measure("… 16-deep pipelined", Way::Pipelined, setting)?;
    Ok(vec![
        row.against(Peer::Go, Target::AtLeast(10.0)).against(Peer::Nginx, Target::AtLeast(4.0)),
    ])
}

pub(crate) fn close(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let row = measure("… a connection per request", Way::Close, setting)?;
    Ok(vec![row.against(Peer::Go, Target::AtLeast(1.4)).against(Peer::Nginx, Target::AtLeast(1.0))])
}

/// All servers stay up, and take turns.
fn measure(what: &str, way: Way, setting: &Setting) -> Result<Row, Trouble> {
    let mut servers = Vec::new();
    for program in &setting.programs {
        let server = program.start()?;
        // Memory is fetched and grown before it counts.
        load(way, server.port, Duration::from_secs(1), || server.time())?;
        servers.push((program.peer, server, Samples::default()));
    }
    for _ in 0..setting.rounds {
        for (_, server, samples) in &mut servers {
            let answered = load(way, server.port, setting.duration, || server.time())?;
            samples.add(answered.per_second());
        }
    }
    let columns = servers.into_iter().map(|(peer, _, samples)| (peer, samples)).collect();
    Ok(Row::new(what, columns))
}
