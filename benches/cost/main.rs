//! What a request costs, exactly: user instructions and system calls.
//!
//! ```text
//! cargo bench --bench cost                compares with benches/cost/figures.toml; 1 if a figure has grown
//! cargo bench --bench cost -- --store     writes that file
//! cargo bench --bench cost -- --profile   prints where the instructions go, by crate and function
//! ```
//!
//! Names of loads after that (`keep-alive`) choose among them; a profile without is of the first.
//!
//! Each figure is the difference of two runs, of N and of 2 N requests, so that start and stop cancel
//! out, and the lowest of three, so that a busy machine does not count. The daemon has one processor, and
//! so one worker thread, and the client shares it; the application of the loads that are proxied does as well.

#[path = "../support/mod.rs"]
mod support;

mod callgrind;
mod figures;
mod profile;
mod run;
mod strace;

use std::{env, process::ExitCode};

use figures::{Cost, Figures};
use run::{REQUESTS, Run};
use support::{Application, Load, Priority, SERVER, Trouble, daemon, daemon_with_lines};

/// What is counted: a name, how connections are used, and who answers.
type Counted = (&'static str, Load, By);

/// Who answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum By {
    Itself,
    /// The daemon is a proxy.
    Application,
}

const KEPT: Load = Load { connections: 64, depth: 1, close: false, body: 0 };

const LOADS: [Counted; 6] = [
    ("keep-alive", KEPT, By::Itself),
    ("keep-alive-alone", Load { connections: 1, ..KEPT }, By::Itself),
    ("pipelined-16", Load { depth: 16, ..KEPT }, By::Itself),
    ("connection-per-request", Load { close: true, ..KEPT }, By::Itself),
    ("proxied", KEPT, By::Application),
    ("proxied-post", Load { body: 1024, ..KEPT }, By::Application),
];

fn main() -> ExitCode {
    // Cargo adds --bench.
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let (options, names): (Vec<_>, Vec<_>) =
        arguments.iter().map(String::as_str).partition(|argument| argument.starts_with('-'));
    let done = chosen(&names).and_then(|loads| match options[..] {
        [] => compare(&loads),
        // The file has all of them.
        ["--store"] if names.is_empty() => store(&loads),
        ["--profile"] if names.is_empty() => profile(&LOADS[..1]),
        ["--profile"] => profile(&loads),
        _ => Err("usage: cargo bench --bench cost [-- --store | [--profile] [LOAD]...]".into()),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::from(2)
        }
    }
}

/// The loads of these names, all if there are none.
fn chosen(names: &[&str]) -> Result<Vec<Counted>, Trouble> {
    if let Some(unknown) = names.iter().find(|name| LOADS.iter().all(|(load, ..)| load != *name)) {
        let known = LOADS.map(|(load, ..)| load).join(", ");
        return Err(format!("no load is named {unknown}; there are {known}").into());
    }
    let is_chosen = |(load, ..): &Counted| names.is_empty() || names.contains(load);
    Ok(LOADS.into_iter().filter(is_chosen).collect())
}

/// Tells whether nothing costs more than it did.
fn compare(loads: &[Counted]) -> Result<bool, Trouble> {
    let stored = Figures::stored()?;
    Ok(measure(loads)?.compare(&stored))
}

fn store(loads: &[Counted]) -> Result<bool, Trouble> {
    measure(loads)?.store()?;
    Ok(true)
}

fn measure(loads: &[Counted]) -> Result<Figures, Trouble> {
    let program = daemon()?;
    let application = Application::program()?;
    take_processor()?;
    let mut figures = Figures::new()?;
    for &(name, load, by) in loads {
        let application = (by == By::Application).then_some(&*application);
        let run = Run { program: &program, load, application };
        let instructions = callgrind::per_request(run.in_slow_motion())?;
        let (syscalls, by_name) = strace::per_request(run)?;
        println!(
            "{name:<24} {instructions:>8.0} instructions {syscalls:>7.3} system calls: {by_name}"
        );
        figures.add(name, Cost { instructions, syscalls });
    }
    Ok(figures)
}

fn profile(loads: &[Counted]) -> Result<bool, Trouble> {
    let program = daemon_with_lines()?;
    let application = Application::program()?;
    take_processor()?;
    for &(name, load, by) in loads {
        let application = (by == By::Application).then_some(&*application);
        let run = Run { program: &program, load, application }.in_slow_motion();
        let [once, twice] =
            [REQUESTS, 2 * REQUESTS].map(|requests| callgrind::profile(run, requests));
        println!(
            "{name}: instructions per request\n\n{}",
            twice?.minus(&once?).per_request(REQUESTS)
        );
    }
    Ok(true)
}

/// The client shares the daemon's processor and comes first: all requests of a round are there when the
/// daemon has its turn. With a processor of its own, timing would decide how many it finds at once.
fn take_processor() -> Result<(), Trouble> {
    Ok(SERVER.take(Priority::Client)?)
}
