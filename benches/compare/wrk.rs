//! Load from wrk, and how many requests a server answers in a second of its processor.

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

use crate::support::{Child, LOAD, Trouble, require, target};

/// How wrk uses its 64 connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    KeepAlive,
    /// 16 requests at once.
    Pipelined,
    /// A connection for each request.
    Close,
    /// A body of 1 KiB with each request.
    Post,
    /// With TLS.
    Secured,
}

/// What wrk saw, and what that took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) requests: f64,
    pub(crate) time: Duration,
}

const PIPELINE: &str = "local requests
init = function() requests = string.rep(wrk.format(), 16) end
request = function() return requests end
";

const POST: &str = "wrk.method = 'POST'
wrk.body = string.rep('x', 1024)
";

/// Loads the server on `port` for `duration`, and looks at its `time` before and after.
pub(crate) fn load(
    way: Way,
    port: u16,
    duration: Duration,
    time: impl Fn() -> Duration,
) -> Result<Answered, Trouble> {
    let mut wrk = Command::new(require("wrk", "wrk")?);
    // wrk reckons in whole seconds.
    wrk.args(["-t1", "-c64", &format!("-d{}", duration.as_secs().max(1))]);
    match way {
        Way::KeepAlive | Way::Secured => {}
        Way::Pipelined => script(&mut wrk, "pipeline", PIPELINE)?,
        Way::Post => script(&mut wrk, "post", POST)?,
        Way::Close => {
            wrk.args(["-H", "Connection: close"]);
        }
    }
    let scheme = if way == Way::Secured { "https" } else { "http" };
    wrk.arg(format!("{scheme}://127.0.0.1:{port}/")).stdout(Stdio::piped());
    let before = time();
    let mut child = Child::start(wrk, LOAD)?;
    let mut report = String::new();
    child.stdout().expect("its output is a pipe").read_to_string(&mut report)?;
    child.wait(Duration::from_secs(10))?;
    let time = time().saturating_sub(before);
    requests(&report)
        .filter(|requests| *requests > 0.0 && time > Duration::ZERO)
        .filter(|_| !report.contains("Non-2xx") && !report.contains("Socket errors"))
        .map(|requests| Answered { requests, time })
        .ok_or_else(|| format!("wrk could not measure:\n{report}").into())
}

fn script(wrk: &mut Command, name: &str, text: &str) -> Result<(), Trouble> {
    let file = target().join(format!("tmp/{name}.lua"));
    fs::write(&file, text)?;
    wrk.arg("-s").arg(file);
    Ok(())
}

fn requests(report: &str) -> Option<f64> {
    let line = report.lines().find(|line| line.contains(" requests in "))?;
    line.split_whitespace().next()?.parse().ok()
}

// === impl Answered ===

impl Answered {
    /// Requests per second of the server's processor.
    pub(crate) fn per_second(self) -> f64 {
        self.requests / self.time.as_secs_f64()
    }

    /// Microseconds of the server's processor per request.
    pub(crate) fn each(self) -> f64 {
        self.time.as_secs_f64() * 1e6 / self.requests
    }
}
