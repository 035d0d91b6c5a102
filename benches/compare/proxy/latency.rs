//! What a proxy adds to the time until the answer, at a rate that all can bear.
//!
//! All that takes part comes before whatever else the machine does, or that would be what is measured.

use std::time::Duration;

use super::{Proxy, as_client, start};
use crate::{
    Setting,
    paced::{Pace, Place},
    support::{Trouble, come_first},
    table::{Row, Samples, Target, grouped},
    wrk::{Way, load},
};

const CONNECTIONS: usize = 64;

/// Which of a hundred answers, the fastest first.
const RANKS: [(&str, usize); 2] = [("median", 50), ("99 %", 99)];

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of requests")]
pub(crate) fn latency(setting: &Setting) -> Result<Vec<Row<Proxy>>, Trouble> {
    let (servers, application) = start(setting)?;
    let second = Duration::from_secs(1);
    let mut capacity = f64::INFINITY;
    for (_, server) in &servers {
        let answered = load(Way::KeepAlive, server.port, second, || server.time())?;
        capacity = capacity.min(answered.per_second());
    }
    // Half of what the slowest can do in a second of its processor, in round numbers.
    let rate = ((capacity / 200.0) as u32 * 100).max(100);
    for child in servers.iter().map(|(_, server)| &server.child).chain([application.child()]) {
        child.come_first()?;
    }
    let mut places: Vec<_> =
        servers.iter().map(|(proxy, server)| (*proxy, Place::Tcp(server.port))).collect();
    // What the proxies add is reckoned from the round's figure without one.
    places.insert(0, (Proxy::Nothing, Place::Unix(application.socket())));

    let columns =
        || -> Vec<_> { places.iter().map(|(proxy, _)| (*proxy, Samples::default())).collect() };
    let mut taken = RANKS.map(|_| columns());
    let mut added = RANKS.map(|_| columns());
    let pace = Pace { rate, connections: CONNECTIONS, duration: setting.duration };
    for _ in 0..setting.rounds {
        let mut alone = [f64::NAN; RANKS.len()];
        for (at, (proxy, place)) in places.iter().enumerate() {
            let mut each = [f64::NAN; RANKS.len()];
            let samples = &mut taken[0][at].1;
            samples.attempt(*proxy, || {
                let mut latencies = as_client(|| {
                    come_first()?;
                    pace.run(place)
                })?;
                latencies.sort_unstable();
                each = RANKS.map(|(_, rank)| microseconds(&latencies, rank));
                Ok(each[0])
            });
            if each[0].is_nan() {
                continue;
            }
            taken[1][at].1.add(each[1]);
            if *proxy == Proxy::Nothing {
                alone = each;
            } else {
                for rank in 0..RANKS.len() {
                    added[rank][at].1.add(each[rank] - alone[rank]);
                }
            }
        }
    }
    let mut rows = Vec::new();
    for ((taken, added), (name, _)) in taken.into_iter().zip(added).zip(RANKS) {
        let rate = grouped(&rate.to_string());
        rows.push(Row::new(format!("µs to an answer at {rate} requests/s, {name}"), taken));
        let row = Row::new(format!("… added by the proxy, {name}"), added);
        rows.push(row.against(Proxy::Nginx, Target::AtMost(1.0)));
    }
    Ok(rows)
}

fn microseconds(sorted: &[Duration], rank: usize) -> f64 {
    let at = (sorted.len() * rank / 100).min(sorted.len() - 1);
    sorted[at].as_secs_f64() * 1e6
}
