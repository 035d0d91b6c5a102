//! How long the slowest answers take at a fixed rate: at half and at nine tenths of what each server can do.
//!
//! What it can do is what wrk gets out of it, measured just before. An answer counts from when its request was due. All
//! that takes part comes before whatever else the machine does, or that would be what is measured. What does so may
//! have 95 % of a processor: where the client's row comes near that, its own lateness is in the figures.

use std::{fs, time::Duration};

use crate::{
    Setting,
    paced::{Pace, Place},
    peers::Peer,
    proxy::as_client,
    server::Server,
    support::{Trouble, come_first},
    table::{Row, Samples},
    wrk::{Way, load},
};

const SERVERS: [Peer; 3] = [Peer::Lockstepd, Peer::Go, Peer::Nginx];

const CONNECTIONS: usize = 64;

/// Percent of a server's own capacity.
const SHARES: [u32; 2] = [50, 90];

/// Which of a thousand answers, the fastest first.
const RANKS: [(&str, usize); 3] = [("median", 500), ("99 %", 990), ("99.9 %", 999)];

pub(crate) fn tail(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let mut servers = Vec::new();
    for peer in SERVERS {
        let server = setting.program(peer)?.start()?;
        // Memory is fetched and grown before it counts.
        load(Way::KeepAlive, server.port, setting.duration, || server.time())?;
        server.child.come_first()?;
        servers.push((peer, server));
    }
    let columns = || -> Vec<_> { SERVERS.map(|peer| (peer, Samples::default())).into() };
    let mut capacities = columns();
    let mut busy = SHARES.map(|_| columns());
    let mut taken = SHARES.map(|_| RANKS.map(|_| columns()));
    for _ in 0..setting.rounds {
        for (at, (peer, server)) in servers.iter().enumerate() {
            let capacity = capacity(server, setting)?;
            capacities[at].1.add(capacity);
            for ((share, taken), busy) in SHARES.into_iter().zip(&mut taken).zip(&mut busy) {
                let mut client = Duration::ZERO;
                let mut latencies = Vec::new();
                taken[0][at].1.attempt(*peer, || {
                    let rate = capacity * f64::from(share) / 100.0;
                    (latencies, client) = paced(rate, server.port, setting)?;
                    Ok(microseconds(&latencies, RANKS[0].1))
                });
                busy[at].1.add(client.as_secs_f64() / setting.duration.as_secs_f64() * 100.0);
                for ((_, rank), columns) in RANKS.into_iter().zip(taken).skip(1) {
                    if !latencies.is_empty() {
                        columns[at].1.add(microseconds(&latencies, rank));
                    }
                }
            }
        }
    }
    let mut rows =
        vec![Row::new("requests/s, 64 connections that always ask: its capacity", capacities)];
    for ((share, taken), busy) in SHARES.into_iter().zip(taken).zip(busy) {
        for ((name, _), columns) in RANKS.into_iter().zip(taken) {
            rows.push(Row::new(format!("µs to an answer at {share} % of that, {name}"), columns));
        }
        rows.push(Row::new("… % of the client's processor meanwhile", busy));
    }
    Ok(rows)
}

/// How many requests a server answers in a second, whatever its processor could do beyond what wrk asks.
fn capacity(server: &Server, setting: &Setting) -> Result<f64, Trouble> {
    let answered = as_client(|| {
        // So does wrk, which this thread starts.
        come_first()?;
        load(Way::KeepAlive, server.port, setting.duration, || server.time())
    })?;
    Ok(answered.requests / setting.duration.as_secs_f64())
}

/// How long each answer took from when its request was due, the fastest first; and how long the client was on its
/// processor.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of requests")]
fn paced(rate: f64, port: u16, setting: &Setting) -> Result<(Vec<Duration>, Duration), Trouble> {
    let rate = (rate as u32).max(1);
    let pace = Pace { rate, connections: CONNECTIONS, duration: setting.duration };
    let (mut latencies, client) = as_client(|| {
        come_first()?;
        let before = own_time()?;
        let latencies = pace.run(&Place::Tcp(port))?;
        Ok((latencies, own_time()?.saturating_sub(before)))
    })?;
    latencies.sort_unstable();
    Ok((latencies, client))
}

/// How long this thread has been on a processor.
fn own_time() -> Result<Duration, Trouble> {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = statistics.split_whitespace().next().ok_or("no time in schedstat")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

fn microseconds(sorted: &[Duration], rank: usize) -> f64 {
    let at = (sorted.len() * rank / 1000).min(sorted.len() - 1);
    sorted[at].as_secs_f64() * 1e6
}
