//! The figures that are kept in the repository, and what has become of them.

use std::{collections::BTreeMap, fs, process::Command};

use serde::{Deserialize, Serialize};

use crate::support::Trouble;

/// What each load costs.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Figures {
    date: String,
    toolchain: String,
    cost: BTreeMap<String, Cost>,
}

/// What a request costs.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Cost {
    pub(crate) instructions: f64,
    pub(crate) syscalls: f64,
}

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cost/figures.toml");
const HEAD: &str = "# What a request costs. Written by `cargo bench --bench cost -- --store`.\n";

/// More than this is a regression.
const GROWTH: f64 = 1.05;

// === impl Figures ===

impl Figures {
    pub(crate) fn new() -> Result<Self, Trouble> {
        Ok(Self {
            date: said("date", &["-u", "+%F"])?,
            toolchain: said("rustc", &["--version"])?,
            cost: BTreeMap::new(),
        })
    }

    pub(crate) fn add(&mut self, load: &str, cost: Cost) {
        let Cost { instructions, syscalls } = cost;
        let rounded = Cost {
            instructions: instructions.round(),
            syscalls: (syscalls * 1000.0).round() / 1000.0,
        };
        self.cost.insert(load.to_owned(), rounded);
    }

    pub(crate) fn stored() -> Result<Self, Trouble> {
        let text =
            fs::read_to_string(PATH).map_err(|error| format!("cannot read {PATH}: {error}"))?;
        Ok(toml::from_str(&text).map_err(|error| format!("{PATH}: {error}"))?)
    }

    pub(crate) fn store(&self) -> Result<(), Trouble> {
        Ok(fs::write(PATH, format!("{HEAD}{}", toml::to_string(self)?))?)
    }

    /// Prints what has changed since `stored`; tells whether that is acceptable.
    pub(crate) fn compare(&self, stored: &Self) -> bool {
        println!("\nagainst {} ({}):", stored.date, stored.toolchain);
        let mut acceptable = true;
        for (load, now) in &self.cost {
            let Some(before) = stored.cost.get(load) else {
                println!("{load:<24} is new: store it");
                acceptable = false;
                continue;
            };
            for (what, now, before) in [
                ("instructions", now.instructions, before.instructions),
                ("system calls", now.syscalls, before.syscalls),
            ] {
                let grown = now > before * GROWTH;
                acceptable &= !grown;
                println!(
                    "{load:<24} {what} {now:>9.2} for {before:>9.2}, {:+.1} %{}",
                    (now / before - 1.0) * 100.0,
                    if grown { ": TOO MUCH" } else { "" },
                );
            }
        }
        acceptable
    }
}

/// What a command prints.
fn said(program: &str, arguments: &[&str]) -> Result<String, Trouble> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
