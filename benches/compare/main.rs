//! lockstepd beside others, in one interleaved run.
//!
//! ```text
//! cargo bench --bench compare                           everything, as a table in Markdown
//! cargo bench --bench compare -- pipelined restart      these figures only
//! cargo bench --bench compare -- --rounds 9 --seconds 4 more often, and longer
//! ```
//!
//! The server has one processor and the load generator another. Time on a processor is the kernel's own
//! reckoning (schedstat) of all threads of the server; a cell is the median of the rounds, with the lowest
//! and the highest. A peer that is not installed is left out, and so is its column. It exits with 1 if
//! something could not be measured; a target that is missed is marked.

#[path = "../support/mod.rs"]
mod support;
#[path = "../../tests/support/mod.rs"]
mod systemd;

mod activation;
mod lifetime;
mod memory;
mod peers;
mod restart;
mod server;
mod service;
mod table;
mod throughput;
mod units;
mod wrk;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use peers::{PEERS, Peer, Program};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Processor, Trouble};
use table::{Row, markdown};

/// A figure: its name, and what measures it.
type Figure = (&'static str, fn(&Setting) -> Result<Vec<Row>, Trouble>);

const FIGURES: [Figure; 11] = [
    ("keep-alive", throughput::keep_alive),
    ("pipelined", throughput::pipelined),
    ("close", throughput::close),
    ("memory", memory::measure),
    ("start", lifetime::start),
    ("cold-start", activation::cold_start),
    ("stop", lifetime::stop),
    ("stop-under-systemd", service::stop),
    ("restart", restart::restart),
    ("log", service::log),
    ("sandbox", service::sandbox),
];

#[derive(Debug, Parser)]
struct Options {
    /// How often each server has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..1000))]
    rounds: u16,
    /// How long a turn under load is.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..1000))]
    seconds: u16,
    /// What Cargo says.
    #[arg(long, hide = true)]
    bench: bool,
    /// What to measure; everything if nothing is named.
    #[arg(value_parser = FIGURES.map(|(name, _)| name))]
    figures: Vec<String>,
}

/// How measuring is done, and of what.
#[derive(Clone, Debug)]
struct Setting {
    rounds: usize,
    duration: Duration,
    programs: Vec<Program>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if Processor::available() < 2 {
        eprintln!("a server and its load need two processors");
        return ExitCode::from(1);
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Refused, it shows when descriptors run out.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });

    let mut complete = true;
    let mut programs = Vec::new();
    for peer in PEERS {
        match peer.program() {
            Ok(program) => programs.push(program),
            Err(trouble) => {
                eprintln!("without {peer}: {trouble}");
                complete = false;
            }
        }
    }
    let setting = Setting {
        rounds: options.rounds.into(),
        duration: Duration::from_secs(options.seconds.into()),
        programs,
    };
    let mut rows = Vec::new();
    for (name, measure) in FIGURES {
        if !options.figures.is_empty() && options.figures.iter().all(|figure| figure != name) {
            continue;
        }
        let begin = Instant::now();
        // A machine that does not do as it is told panics.
        let measured = catch_unwind(AssertUnwindSafe(|| measure(&setting)))
            .unwrap_or_else(|_| Err("see above".into()));
        match measured {
            Ok(measured) => rows.extend(measured),
            Err(trouble) => {
                eprintln!("could not measure {name}: {trouble}");
                complete = false;
            }
        }
        eprintln!("{name}: {:.0} s", begin.elapsed().as_secs_f64());
    }
    println!("{}", markdown(&rows));
    if complete { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

// === impl Setting ===

impl Setting {
    fn program(&self, peer: Peer) -> Result<&Program, Trouble> {
        let program = self.programs.iter().find(|program| program.peer == peer);
        program.ok_or_else(|| format!("needs {peer}").into())
    }
}
