//! System calls, as strace counts them.

use std::{collections::BTreeMap, fs, process::Command};

use crate::run::{self, Run};
use crate::support::{Trouble, require, target};

/// System calls per request: all of them, and those that matter by name.
pub(crate) fn per_request(run: Run<'_>) -> Result<(f64, String), Trouble> {
    let [(_, once), (_, twice)] = run.lowest_two(count)?;
    let mut by_name: Vec<_> = twice
        .iter()
        .map(|(name, count)| (run::per_request(once.get(name).copied().unwrap_or(0), *count), name))
        .collect();
    by_name.sort_by(|one, other| other.0.total_cmp(&one.0));
    let total = by_name.iter().map(|(count, _)| count).sum();
    let listed = by_name.iter().filter(|(count, _)| *count >= 0.001);
    let listed: Vec<_> = listed.map(|(count, name)| format!("{name} {count:.3}")).collect();
    Ok((total, listed.join(", ")))
}

/// All calls, and each by its name.
fn count(run: Run<'_>, requests: usize) -> Result<(u64, BTreeMap<String, u64>), Trouble> {
    let file = target().join("tmp").join(format!("strace.{}", std::process::id()));
    let mut strace = Command::new(require("strace", "strace")?);
    strace.args(["-f", "-c", "-U", "name,calls", "-o"]).arg(&file);
    // strace detaches from what it traces when it is killed.
    strace.args(["setpriv", "--pdeathsig", "KILL", "--"]);
    let counted = run.under(strace, requests).and_then(|()| Ok(fs::read_to_string(&file)?));
    // Nothing has been written if strace did not run.
    let _ = fs::remove_file(&file);
    let counts: BTreeMap<_, _> = counted?.lines().filter_map(line).collect();
    if counts.is_empty() {
        Err("strace counted nothing".into())
    } else {
        Ok((counts.values().sum(), counts))
    }
}

fn line(line: &str) -> Option<(String, u64)> {
    let (name, calls) = line.trim().split_once(char::is_whitespace)?;
    (name != "total").then(|| Some((name.to_owned(), calls.trim().parse().ok()?)))?
}
