//! How many requests a server answers over TLS in a second of its processor.

use std::time::Duration;

use super::{Program, Speaker};
use crate::{
    Setting, h2load,
    server::Server,
    support::Trouble,
    table::{Row, Samples, Target},
    wrk::{self, Answered, Way},
};

/// Loads a server for so long.
type Load = fn(&Server, Duration) -> Result<Answered, Trouble>;

pub(crate) fn keep_alive(setting: &Setting) -> Result<Vec<Row<Speaker>>, Trouble> {
    let load: Load =
        |server, duration| wrk::load(Way::Secured, server.port, duration, || server.time());
    let row = "requests per CPU-second, 64 kept connections with TLS";
    Ok(vec![measure(row, load, setting)?])
}

pub(crate) fn http2(setting: &Setting) -> Result<Vec<Row<Speaker>>, Trouble> {
    let one: Load = |server, duration| h2load::load(1, server.port, duration, || server.time());
    let many: Load = |server, duration| h2load::load(100, server.port, duration, || server.time());
    Ok(vec![
        measure("requests per CPU-second, HTTP/2 with TLS, 64 connections", one, setting)?,
        measure("… with 100 streams each", many, setting)?,
    ])
}

/// All servers stay up, and take turns.
fn measure(what: &str, load: Load, setting: &Setting) -> Result<Row<Speaker>, Trouble> {
    let start = |program: &Program| {
        let server = program.start()?;
        // Memory is fetched and grown before it counts.
        load(&server, Duration::from_secs(1))?;
        Ok((program.speaker, server, Samples::default()))
    };
    let mut servers: Vec<_> = setting.speakers.iter().map(start).collect::<Result<_, Trouble>>()?;
    for _ in 0..setting.rounds {
        for (speaker, server, samples) in &mut servers {
            samples.attempt(*speaker, || Ok(load(server, setting.duration)?.per_second()));
        }
    }
    let columns = servers.into_iter().map(|(speaker, _, samples)| (speaker, samples)).collect();
    Ok(Row::new(what, columns).against(Speaker::Nginx, Target::AtLeast(1.0)))
}
