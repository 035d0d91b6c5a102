//! One run of the daemon under a tool that counts.

use std::{path::Path, process::Command, time::Duration};

use crate::support::{Application, Child, Load, SERVER, Trouble, answer, free_ports, get};

/// How many connections there are at most where time passes slowly: among 64 under callgrind, each would
/// be idle for so long that it is parked now and then, as among 3,000 natively.
const SLOW_MOTION: usize = 8;

/// A multiple of all loads' rounds, and enough for a difference to be exact to a few parts in a thousand.
pub(crate) const REQUESTS: usize = 5_120;

/// How often each run is repeated.
const TIMES: usize = 3;

/// What is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) program: &'a Path,
    pub(crate) load: Load,
    /// The application that the daemon passes requests on to.
    pub(crate) application: Option<&'a Path>,
}

// === impl Run ===

impl Run<'_> {
    /// With so few connections that none idles for longer than it would among many at full speed.
    pub(crate) fn in_slow_motion(mut self) -> Self {
        self.load.connections = self.load.connections.min(SLOW_MOTION);
        self
    }

    /// What `count` finds for [`REQUESTS`] and for twice as many.
    ///
    /// A busy machine only adds to what is counted, such as connections that are parked because the
    /// client was not given a processor: the lowest of several counts is what there is without.
    pub(crate) fn lowest_two<C: Ord>(
        self,
        count: impl Fn(Self, usize) -> Result<C, Trouble>,
    ) -> Result<[C; 2], Trouble> {
        let lowest = |requests| -> Result<C, Trouble> {
            let mut lowest = count(self, requests)?;
            for _ in 1..TIMES {
                lowest = lowest.min(count(self, requests)?);
            }
            Ok(lowest)
        };
        Ok([lowest(REQUESTS)?, lowest(2 * REQUESTS)?])
    }

    /// Starts the daemon under `tool`, sends it the requests, and waits until both have ended.
    pub(crate) fn under(self, mut tool: Command, requests: usize) -> Result<(), Trouble> {
        let [public, admin] = free_ports()?;
        tool.arg(self.program)
            .args(["--config", "/dev/null", "--log-level", "warn"])
            .args(["--public", &format!("127.0.0.1:{public}")])
            .args(["--admin", &format!("127.0.0.1:{admin}")]);
        let application =
            self.application.map(|program| Application::start(program, SERVER)).transpose()?;
        if let Some(application) = &application {
            tool.arg("--public-proxy").arg(format!("unix:{}", application.socket().display()));
        }
        let mut child = Child::start(tool, SERVER)?;
        answer(&mut child, public)?;
        self.load.run(public, requests)?;
        // A signal would have to be sent past the tool.
        get(admin, "/listener?stop=measured")?;
        let status = child.wait(Duration::from_secs(30))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the daemon ended with {status}").into())
        }
    }
}

/// What a count grows by for each request, from [`REQUESTS`] to twice as many.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn per_request(once: u64, twice: u64) -> f64 {
    (twice as f64 - once as f64) / REQUESTS as f64
}
