//! How many requests a proxy passes on in a second of its processor.

use std::time::Duration;

use super::{Proxy, start};
use crate::{
    Setting,
    support::Trouble,
    table::{Row, Samples, Target},
    wrk::{Way, load},
};

pub(crate) fn keep_alive(setting: &Setting) -> Result<Vec<Row<Proxy>>, Trouble> {
    measure("requests per CPU-second, 64 kept connections", Way::KeepAlive, setting)
}

pub(crate) fn post(setting: &Setting) -> Result<Vec<Row<Proxy>>, Trouble> {
    measure("… with a body of 1 KiB", Way::Post, setting)
}

/// All proxies stay up, and take turns.
fn measure(what: &str, way: Way, setting: &Setting) -> Result<Vec<Row<Proxy>>, Trouble> {
    let (servers, _application) = start(setting)?;
    let mut columns: Vec<_> =
        servers.iter().map(|(proxy, _)| (*proxy, Samples::default())).collect();
    for (_, server) in &servers {
        // Memory is fetched and grown before it counts.
        let _ = load(way, server.port, Duration::from_secs(1), || server.time());
    }
    for _ in 0..setting.rounds {
        for ((proxy, server), (_, samples)) in servers.iter().zip(&mut columns) {
            samples.attempt(*proxy, || {
                Ok(load(way, server.port, setting.duration, || server.time())?.per_second())
            });
        }
    }
    Ok(vec![
        Row::new(what, columns)
            .against(Proxy::Nginx, Target::AtLeast(1.0))
            .against(Proxy::Caddy, Target::AtLeast(2.5)),
    ])
}
