//! Prometheus' own tool for metrics and rules.

use std::{
    env,
    io::Write,
    process::{Command, Stdio},
};

use super::host::skip;

/// How to get it.
const REMEDY: &str = "Debian: apt-get install --no-install-recommends prometheus";

/// Whether there is a promtool; says so if not.
///
/// # Panics
/// Instead of saying so if `LOCKSTEPD_REQUIRE_PROMTOOL` is set (and not to 0).
pub(crate) fn has_promtool() -> bool {
    let is_there = Command::new("promtool").arg("--version").output().is_ok();
    if !is_there {
        let required = env::var("LOCKSTEPD_REQUIRE_PROMTOOL").unwrap_or_default();
        assert!(
            matches!(required.as_str(), "" | "0"),
            "there is no promtool, and LOCKSTEPD_REQUIRE_PROMTOOL is set: {REMEDY}"
        );
        skip(&format!("no promtool ({REMEDY})"));
    }
    is_there
}

/// Runs it with `input`; answers whether it succeeded, and all that it said.
#[track_caller]
pub(crate) fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was there a moment ago");
    // One that reads files does not wait for it.
    let _ = promtool.stdin.take().expect("it was asked for").write_all(input.as_bytes());
    let output = promtool.wait_with_output().expect("it can be waited for");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
