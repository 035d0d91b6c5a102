//! The first answer of a service that systemd starts because somebody asks.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Setting,
    peers::Peer,
    support::{Client, Trouble},
    table::{Row, Samples, Target},
    units::{ERRORS, Unit},
};

/// A start is short: it can be seen more often.
const STARTS: usize = 3;

const SETTLING: Duration = Duration::from_millis(100);

pub(crate) fn cold_start(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let unit = |name, port, peer, sandboxed| Unit { name, port, peer, sandboxed, log: ERRORS };
    let units = [
        unit("plain", 9101, Peer::Lockstepd, false),
        unit("plain-go", 9102, Peer::Go, false),
        unit("plain-epoll", 9103, Peer::Epoll, false),
        unit("sandboxed", 9104, Peer::Lockstepd, true),
        unit("sandboxed-go", 9105, Peer::Go, true),
        unit("sandboxed-epoll", 9106, Peer::Epoll, true),
    ];
    let machine = Unit::boot(&units, setting)?;
    let mut samples = units.map(|_| Samples::default());
    for round in 0..STARTS * setting.rounds {
        for (unit, samples) in units.iter().zip(&mut samples) {
            let took = machine.in_network(|| {
                let begin = Instant::now();
                Client::connect(unit.port)?.ask(1)?;
                Ok::<_, std::io::Error>(begin.elapsed())
            })?;
            machine.systemctl(&["stop", &unit.service()]).ok();
            // systemd tidies up behind the one before the next has its turn.
            sleep(SETTLING);
            // At the first start the program is read from the disk.
            if round > 0 {
                samples.add(took.as_secs_f64() * 1000.0);
            }
        }
    }
    let mut columns = units.map(|unit| unit.peer).into_iter().zip(samples);
    // The floor is what systemd takes, whatever it starts.
    let mut row = |what| {
        let row = Row::new(what, columns.by_ref().take(3).collect());
        row.against(Peer::Go, Target::AtMost(0.6))
    };
    Ok(vec![row("first answer of a socket-activated start, ms"), row("… in lockstepd's sandbox")])
}
