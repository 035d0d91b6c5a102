//! How long servers take to start and to stop.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    Setting,
    peers::{Peer, Program},
    server::Server,
    support::{Client, LOAD, Priority, Trouble, answer},
    table::{Row, Samples, Target},
};

/// A start is short: it can be seen more often.
const STARTS: usize = 4;

const CONNECTIONS: usize = 64;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn start(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let columns = take_turns(setting, STARTS * setting.rounds, |program| {
        let (command, port) = program.command()?;
        let begin = Instant::now();
        let mut server = Server::start(command, port)?;
        answer(&mut server.child, port).map_err(|error| format!("{}: {error}", program.peer))?;
        Ok(begin.elapsed())
    })?;
    let row = Row::new("exec to first answer, ms", columns);
    Ok(vec![row.against(Peer::Go, Target::AtMost(0.45)).against(Peer::Nginx, Target::AtMost(0.25))])
}

pub(crate) fn stop(setting: &Setting) -> Result<Vec<Row>, Trouble> {
    let columns = take_turns(setting, setting.rounds, |program| {
        let mut server = program.start()?;
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = Client::connect(server.port)?;
            client.ask(1)?;
            clients.push(client);
        }
        // They are to be idle.
        thread::sleep(Duration::from_millis(100));
        let begin = Instant::now();
        server.child.terminate();
        server.child.wait(PATIENCE)?;
        Ok(begin.elapsed())
    })?;
    // Where nobody takes them over, lockstepd lets idle connections linger for a second on purpose.
    Ok(vec![Row::new("SIGTERM to exit with 64 idle connections, standalone, ms", columns)])
}

/// Times each peer so often, one after the other, from the load generator's processor.
fn take_turns(
    setting: &Setting,
    times: usize,
    measure: impl Fn(&Program) -> Result<Duration, Trouble> + Sync,
) -> Result<Vec<(Peer, Samples)>, Trouble> {
    let turns = || {
        LOAD.take(Priority::Child)?;
        let mut columns: Vec<_> =
            setting.programs.iter().map(|program| (program.peer, Samples::default())).collect();
        for _ in 0..times {
            for (program, (_, samples)) in setting.programs.iter().zip(&mut columns) {
                samples.add(measure(program)?.as_secs_f64() * 1000.0);
            }
        }
        Ok(columns)
    };
    // A thread of its own, so that only it has to stay on that processor.
    thread::scope(|scope| scope.spawn(turns).join().unwrap_or_else(|_| Err("panicked".into())))
}
