//! What clients that others wrote see of upgrades in place: over HTTP/2, over TLS with HTTP/1.1, and in handshakes.
//!
//! ```text
//! cargo bench --bench clients --features tls               everything, as a table in Markdown
//! cargo bench --bench clients --features tls -- Go curl    rows with one of these words
//! ```
//!
//! Each row is a program, written with somebody else's library as it is configured by default, that asks while the
//! daemon gets SIGUSR2 20 times, every 0.75 s. Nothing here asks again what has failed: what the library repeats by
//! itself is in the last column. With HTTP/2 that decides, and the table tells how. It exits with 1 if a request of
//! HTTP/1.1 has failed, or one of its connections was not kept.
//!
//! What libraries need is installed below `target/clients`, by pip and npm. A row that cannot be had says why.

#[path = "../../tests/support/mod.rs"]
mod launched;
#[path = "../support/mod.rs"]
mod support;

mod calls;
mod curl;
mod program;
mod report;
mod server;

use std::{
    env,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use program::{Place, Program};
use report::Report;
use server::{Server, Speech};
use support::Trouble;

/// One program, and whom it asks.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    speech: Speech,
    program: Program,
    /// What the library does by itself with a request that was not answered.
    repeats: &'static str,
}

/// How many clients a program has that keep connections, or share some.
const CLIENTS: u64 = 32;
/// How many make handshakes without a pause.
const CONNECTING: u64 = 8;
const ROUNDS: u32 = 20;
const PACE: Duration = Duration::from_millis(750);
/// Before the first upgrade, when a virtual machine has to start, and behind the last one.
const SETTLING: Duration = Duration::from_secs(2);

const UNEXECUTED: &str = "what was not executed";

const ROWS: [Row; 22] = [
    Row::new("Go net/http, GET", Speech::Http2, Program::Go("h2", "GET"), UNEXECUTED),
    Row::new("Go net/http, POST", Speech::Http2, Program::Go("h2", "POST"), UNEXECUTED),
    Row::new(
        "Go net/http, POST without GetBody",
        Speech::Http2,
        Program::Go("h2", "STREAM"),
        "what was not executed and not begun",
    ),
    Row::new("Node http2", Speech::Http2, Program::Node("http2"), "nothing"),
    Row::new("Node undici", Speech::Http2, Program::Node("undici"), "nothing"),
    Row::new("Python httpx", Speech::Http2, Program::Python("httpx"), "nothing"),
    Row::new("Java java.net.http", Speech::Http2, Program::Java("HTTP_2"), "GET"),
    Row::new("curl, GET", Speech::Http2, Program::Curl("--http2", "GET"), UNEXECUTED),
    Row::new("curl, POST", Speech::Http2, Program::Curl("--http2", "POST"), UNEXECUTED),
    Row::new("h2load", Speech::Http2, Program::H2load, "nothing"),
    Row::new("grpc-go", Speech::Grpc, Program::GrpcGo, UNEXECUTED),
    Row::new("grpcio (C++)", Speech::Grpc, Program::Python("grpc"), UNEXECUTED),
    Row::new("grpc-js", Speech::Grpc, Program::Node("grpc"), UNEXECUTED),
    Row::new("tonic", Speech::Grpc, Program::Tonic, "nothing"),
    Row::new(
        "Go net/http, POST without GetBody",
        Speech::Kept,
        Program::Go("h1", "STREAM"),
        "nothing",
    ),
    Row::new("Python http.client", Speech::Kept, Program::Python("http.client"), "nothing"),
    Row::new("Python requests", Speech::Kept, Program::Python("requests"), "nothing"),
    Row::new("Node https", Speech::Kept, Program::Node("https"), "nothing"),
    Row::new("Java java.net.http", Speech::Kept, Program::Java("HTTP_1_1"), "GET"),
    Row::new(
        "curl, POST",
        Speech::Kept,
        Program::Curl("--http1.1", "POST"),
        "over another connection",
    ),
    Row::new("Go net/http, full", Speech::Handshakes, Program::Go("new", "STREAM"), "nothing"),
    Row::new(
        "Go net/http, resumed",
        Speech::Handshakes,
        Program::Go("resumed", "STREAM"),
        "nothing",
    ),
];

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [first, address] = &words[..]
        && first == calls::ARGUMENT
    {
        return calls::main(address);
    }
    match table(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::from(2)
        }
    }
}

/// Prints the rows with one of these words, and then what failures say; answers whether all is as expected.
fn table(words: &[String]) -> Result<bool, Trouble> {
    let place = Place::new()?;
    let mut is_good = true;
    let mut failures = Vec::new();
    println!(
        "| client | over | requests | failed | connections | slowest answer | it repeats by itself |"
    );
    println!("|---|---|---|---|---|---|---|");
    for row in ROWS.iter().filter(|row| row.is_meant(words)) {
        let Row { name, speech, repeats, .. } = row;
        match row.run(&place) {
            Ok(report) => {
                println!("| {name} | {speech} | {report} | {repeats} |");
                is_good &= speech.allows(&report);
                for (what, times) in report.most_frequent() {
                    failures.push(format!("- {name}, {speech}: {times} × {what}"));
                }
            }
            Err(trouble) => println!("| {name} | {speech} | – | – | – | – | {trouble} |"),
        }
    }
    println!("\nThe most frequent failures:\n{}", failures.join("\n"));
    Ok(is_good)
}

// === impl Row ===

impl Row {
    const fn new(
        name: &'static str,
        speech: Speech,
        program: Program,
        repeats: &'static str,
    ) -> Self {
        Self { name, speech, program, repeats }
    }

    fn is_meant(&self, words: &[String]) -> bool {
        let name = format!("{} {}", self.name, self.speech);
        words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
    }

    /// Lets the program ask while the daemon is replaced again and again.
    fn run(&self, place: &Place) -> Result<Report, Trouble> {
        let mut server = Server::start(self.speech, place)?;
        let asking = self.program.start(&server, place)?;
        thread::sleep(SETTLING);
        let begin = Instant::now();
        for round in 1..=ROUNDS {
            server.upgrade();
            thread::sleep((PACE * round).saturating_sub(begin.elapsed()));
        }
        thread::sleep(SETTLING / 4);
        let report = asking.end()?;
        server.stop();
        Ok(report)
    }
}
