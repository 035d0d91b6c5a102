//! lockstepd beside others, in one interleaved run.
//!
//! ```text
//! cargo bench --bench compare                           everything, as a table in Markdown
//! cargo bench --bench compare -- pipelined restart      these figures only
//! cargo bench --bench compare -- proxy                  lockstepd as a proxy only, or proxy-latency and so on
//! cargo bench --bench compare -- tls                    lockstepd with TLS only, or tls-memory and so on
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
mod bulk;
mod growth;
mod h2load;
mod lifetime;
mod memory;
mod paced;
mod peers;
mod proxy;
mod restart;
mod server;
mod service;
mod table;
mod tail;
mod throughput;
mod tls;
mod units;
mod wrk;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use peers::{PEERS, Peer, Program};
use proxy::Proxy;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Application, Processor, Trouble};
use table::{Column, Row, markdown};
use tls::Speaker;

/// A figure: its name, and what measures it.
type Figure<C> = (&'static str, fn(&Setting) -> Result<Vec<Row<C>>, Trouble>);

const FIGURES: [Figure<Peer>; 14] = [
    ("keep-alive", throughput::keep_alive),
    ("pipelined", throughput::pipelined),
    ("close", throughput::close),
    ("tail", tail::tail),
    ("bulk", bulk::bulk),
    ("memory", memory::measure),
    ("start", lifetime::start),
    ("cold-start", activation::cold_start),
    ("stop", lifetime::stop),
    ("stop-under-systemd", service::stop),
    ("restart", restart::restart),
    ("growth", growth::growth),
    ("log", service::log),
    ("sandbox", service::sandbox),
];

const PROXY_FIGURES: [Figure<Proxy>; 5] = [
    ("proxy-keep-alive", proxy::keep_alive),
    ("proxy-post", proxy::post),
    ("proxy-latency", proxy::latency),
    ("proxy-memory", proxy::memory),
    ("proxy-bulk", proxy::bulk),
];

const TLS_FIGURES: [Figure<Speaker>; 5] = [
    ("tls-handshakes", tls::handshakes),
    ("tls-keep-alive", tls::keep_alive),
    ("tls-http2", tls::http2),
    ("tls-memory", |setting| Ok(tls::memory(setting))),
    ("tls-restart", tls::restart),
];

/// Stand for all of [`PROXY_FIGURES`], and of [`TLS_FIGURES`].
const GROUPS: [&str; 2] = ["proxy", "tls"];

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
    #[arg(value_parser = names())]
    figures: Vec<String>,
}

/// How measuring is done, and of what.
#[derive(Clone, Debug)]
struct Setting {
    rounds: usize,
    duration: Duration,
    programs: Vec<Program>,
    proxies: Vec<proxy::Program>,
    speakers: Vec<tls::Program>,
    /// What the proxies stand before.
    application: PathBuf,
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

    let mut setting = Setting {
        rounds: options.rounds.into(),
        duration: Duration::from_secs(options.seconds.into()),
        programs: Vec::new(),
        proxies: Vec::new(),
        speakers: Vec::new(),
        application: PathBuf::new(),
    };
    let chosen = options.choose(FIGURES);
    let chosen_of_proxies = options.choose(PROXY_FIGURES);
    let chosen_of_speakers = options.choose(TLS_FIGURES);
    let mut complete = true;
    if !chosen.is_empty() {
        complete &= setting.find_programs() & table(&chosen, &setting);
    }
    if !chosen_of_proxies.is_empty() {
        complete &= setting.find_proxies() & table(&chosen_of_proxies, &setting);
    }
    if !chosen_of_speakers.is_empty() {
        complete &= setting.find_speakers() & table(&chosen_of_speakers, &setting);
    }
    if complete { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Measures and prints these figures; tells whether all could be measured.
fn table<C: Column>(figures: &[Figure<C>], setting: &Setting) -> bool {
    let mut complete = true;
    let mut rows = Vec::new();
    for (name, measure) in figures {
        let begin = Instant::now();
        // A machine that does not do as it is told panics.
        let measured = catch_unwind(AssertUnwindSafe(|| measure(setting)))
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
    println!("{}\n", markdown(&rows));
    complete && rows.iter().all(Row::is_complete)
}

/// What can be chosen.
fn names() -> Vec<&'static str> {
    let figures = FIGURES.map(|(name, _)| name);
    let proxy_figures = PROXY_FIGURES.map(|(name, _)| name);
    let tls_figures = TLS_FIGURES.map(|(name, _)| name);
    figures.into_iter().chain(GROUPS).chain(proxy_figures).chain(tls_figures).collect()
}

// === impl Options ===

impl Options {
    fn choose<C, const COUNT: usize>(&self, figures: [Figure<C>; COUNT]) -> Vec<Figure<C>> {
        let is_chosen = |name: &str| {
            let is_in = |group: &str| {
                let rest = name.strip_prefix(group);
                GROUPS.contains(&group) && rest.is_some_and(|rest| rest.starts_with('-'))
            };
            let is_named = |figure: &String| figure == name || is_in(figure);
            self.figures.is_empty() || self.figures.iter().any(is_named)
        };
        figures.into_iter().filter(|(name, _)| is_chosen(name)).collect()
    }
}

// === impl Setting ===

impl Setting {
    /// Finds what can be compared; tells whether nothing is missing.
    fn find_programs(&mut self) -> bool {
        for peer in PEERS {
            match peer.program() {
                Ok(program) => self.programs.push(program),
                Err(trouble) => eprintln!("without {peer}: {trouble}"),
            }
        }
        self.programs.len() == PEERS.len()
    }

    /// The same for proxies, and what they stand before.
    fn find_proxies(&mut self) -> bool {
        let found = Application::program().and_then(|application| {
            self.application = application;
            proxy::Program::all(&self.application)
        });
        match found {
            Ok((proxies, missing)) => {
                for missing in &missing {
                    eprintln!("{missing}");
                }
                self.proxies = proxies;
                missing.is_empty()
            }
            Err(trouble) => {
                eprintln!("without proxies: {trouble}");
                false
            }
        }
    }

    /// The same for those that speak TLS.
    fn find_speakers(&mut self) -> bool {
        match tls::Program::all() {
            Ok((speakers, missing)) => {
                for missing in &missing {
                    eprintln!("{missing}");
                }
                self.speakers = speakers;
                missing.is_empty()
            }
            Err(trouble) => {
                eprintln!("without TLS: {trouble}");
                false
            }
        }
    }

    fn program(&self, peer: Peer) -> Result<&Program, Trouble> {
        let program = self.programs.iter().find(|program| program.peer == peer);
        program.ok_or_else(|| format!("needs {peer}").into())
    }
}
