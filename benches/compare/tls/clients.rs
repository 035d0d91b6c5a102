//! The clients' program, and what it is told to do.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use crate::support::{Child, LOAD, Trouble};

/// Which handshake clients make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Full,
    Resumed,
}

/// What clients speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    pub(super) version: &'static str,
    pub(super) exchange: &'static str,
}

/// Clients of one server, which wait for what they are to do.
#[derive(Debug)]
pub(super) struct Clients {
    orders: ChildStdin,
    reports: BufReader<ChildStdout>,
    _child: Child,
}

/// What all servers know.
pub(super) const USUAL: Dialect = Dialect { version: "1.3", exchange: "classic" };

// === impl Clients ===

impl Clients {
    /// Starts `program` for the server on a port.
    pub(super) fn start(program: &Path, port: u16, dialect: Dialect) -> Result<Self, Trouble> {
        let mut command = Command::new(program);
        command.args([&port.to_string(), dialect.version, dialect.exchange]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Child::start_with_input(command, LOAD)?;
        let (orders, reports) = (child.stdin(), child.stdout());
        let reports = BufReader::new(reports.expect("its output is a pipe"));
        Ok(Self { orders: orders.expect("its input is a pipe"), reports, _child: child })
    }

    /// Connects for so many seconds, again and again; answers how many connections there were.
    pub(super) fn connect(&mut self, kind: Kind, seconds: u64) -> Result<usize, Trouble> {
        let kind = if kind == Kind::Full { "full" } else { "resumed" };
        self.order(&format!("{kind} {seconds}"))
    }

    /// Has so many connections, each of which has got an answer.
    pub(super) fn hold(&mut self, connections: usize) -> Result<(), Trouble> {
        self.order(&format!("hold {connections}")).map(drop)
    }

    /// Asks on each connection that is held.
    pub(super) fn ask(&mut self) -> Result<(), Trouble> {
        self.order("ask").map(drop)
    }

    fn order(&mut self, order: &str) -> Result<usize, Trouble> {
        writeln!(self.orders, "{order}")?;
        let mut report = String::new();
        self.reports.read_line(&mut report)?;
        report.trim().parse().map_err(|_| format!("clients cannot {order}: see above").into())
    }
}
