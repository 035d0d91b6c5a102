//! The example `limits`, and what its metrics say.

use std::{collections::HashMap, net::TcpListener};

use crate::support::{Daemon, Launch, PATIENCE, ask, example, wait_until};

/// The running example, whose service reads bodies, answers at length and panics.
pub(crate) struct Program {
    pub(crate) daemon: Daemon,
    pub(crate) public: String,
    pub(crate) admin: String,
}

/// All samples of a server's metrics, by name and labels as they are written.
#[derive(Clone, Debug)]
pub(crate) struct Samples(HashMap<String, f64>);

// === impl Program ===

impl Program {
    /// With this time for everything that a client may be slow at once it has begun to speak.
    pub(crate) fn with_limits(time: &str) -> Self {
        Self::with_first_byte(time, "60s")
    }

    /// With another time for a client to begin.
    pub(crate) fn with_first_byte(time: &str, first: &str) -> Self {
        let ip = Launch::address();
        // Both at once: one that is closed may be given out again.
        let probes = [(); 2]
            .map(|()| TcpListener::bind(format!("{ip}:0")).expect("loopback has free ports"));
        let [public, admin] =
            probes.map(|probe| probe.local_addr().expect("it is bound").to_string());
        let launch = Launch::program(example("limits")).args([&public, &admin, time, first]);
        Self { daemon: launch.start(), public, admin }
    }
}

// === impl Samples ===

impl Samples {
    /// What the admin server at `address` shows now.
    #[track_caller]
    pub(crate) fn of(address: &str) -> Self {
        let answer = ask(address, "GET", "/metrics");
        assert_eq!(answer.status, 200);
        let text = answer.text();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let parse = |line: &str| {
            let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
            (name.to_owned(), value.parse().expect("a value is a number"))
        };
        Self(samples.map(parse).collect())
    }

    /// A sample's value; zero if it is not there yet.
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Waits until a sample has a value of at least this.
    #[track_caller]
    pub(crate) fn wait_for(address: &str, name: &str, value: f64) {
        let mut last = 0.0;
        wait_until(&format!("{name} is {value}"), PATIENCE, || {
            last = Self::of(address).value(name);
            last >= value
        });
        assert!((last - value).abs() < 0.5, "{name} is {last} instead of {value}");
    }
}
