//! User instructions, as callgrind counts them.

use std::{fs, process::Command};

use crate::{
    profile::Profile,
    run::{self, Run},
    support::{Trouble, require, target},
};

/// Instructions per request.
pub(crate) fn per_request(run: Run<'_>) -> Result<f64, Trouble> {
    let [once, twice] = run.lowest_two(instructions)?;
    Ok(run::per_request(once, twice))
}

/// How many instructions a run takes.
fn instructions(run: Run<'_>, requests: usize) -> Result<u64, Trouble> {
    let counts = counted(run, requests)?;
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.and_then(|total| total.trim().parse().ok());
    total.ok_or_else(|| "callgrind wrote no total".into())
}

/// Where the instructions of a run go.
pub(crate) fn profile(run: Run<'_>, requests: usize) -> Result<Profile, Trouble> {
    Ok(Profile::parse(&counted(run, requests)?))
}

/// What callgrind writes about a run.
fn counted(run: Run<'_>, requests: usize) -> Result<String, Trouble> {
    let file = target().join("tmp").join(format!("callgrind.{}", std::process::id()));
    let mut valgrind = Command::new(require("valgrind", "valgrind")?);
    valgrind
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", file.display()));
    let counted = run.under(valgrind, requests).and_then(|()| Ok(fs::read_to_string(&file)?));
    // Nothing has been written if valgrind did not run.
    let _ = fs::remove_file(&file);
    counted
}
