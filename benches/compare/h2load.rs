//! Load of HTTP/2 over TLS from h2load.

use std::{
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    support::{Child, LOAD, Trouble, require},
    wrk::Answered,
};

/// Loads the server on `port` for `duration` over 64 connections with so many `streams` each, and looks at its `time`
/// before and after.
pub(crate) fn load(
    streams: u32,
    port: u16,
    duration: Duration,
    time: impl Fn() -> Duration,
) -> Result<Answered, Trouble> {
    let mut h2load = Command::new(require("h2load", "nghttp2-client")?);
    h2load.args(["-t1", "-c64", &format!("-m{streams}"), "--npn-list=h2"]);
    // It reckons in whole seconds.
    h2load.arg(format!("-D{}", duration.as_secs().max(1)));
    h2load.arg(format!("https://localhost:{port}/")).stdout(Stdio::piped());
    let before = time();
    let mut child = Child::start(h2load, LOAD)?;
    let mut report = String::new();
    child.stdout().expect("its output is a pipe").read_to_string(&mut report)?;
    child.wait(Duration::from_secs(10))?;
    let time = time().saturating_sub(before);
    answers(&report)
        .filter(|requests| *requests > 0.0 && time > Duration::ZERO)
        .filter(|_| report.contains("Application protocol: h2\n"))
        .map(|requests| Answered { requests, time })
        .ok_or_else(|| format!("h2load could not measure:\n{report}").into())
}

/// How many requests were answered, if all that ended were, with 200.
fn answers(report: &str) -> Option<f64> {
    let figure = |begin: &str, name: &str| -> Option<f64> {
        let line = report.lines().find_map(|line| line.strip_prefix(begin))?;
        let figure = line.split(',').find_map(|part| part.trim().strip_suffix(name))?;
        figure.trim().parse().ok()
    };
    let succeeded = figure("requests: ", " succeeded")?;
    let failed = figure("requests: ", " failed")? + figure("requests: ", " errored")?;
    let others = ["3xx", "4xx", "5xx"].into_iter().map(|name| figure("status codes: ", name));
    let others: f64 = others.sum::<Option<f64>>()?;
    (failed + others == 0.0).then_some(succeeded)
}
