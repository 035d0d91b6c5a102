//! Services of a machine that differ in what is compared, and in nothing else.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use crate::{
    Setting,
    peers::Peer,
    server::time,
    support::{SERVER, Trouble, source},
    systemd::Machine,
    table::Samples,
    wrk::{Answered, Way, load},
};

/// A service and its socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) peer: Peer,
    /// In the sandbox of `packaging/lockstepd.service`.
    pub(crate) sandboxed: bool,
    /// The access log.
    pub(crate) log: &'static str,
}

/// How the names of the threads begin that word and write the log.
const WRITERS: &str = "log";

/// The access log's default.
pub(crate) const ERRORS: &str = "errors";

// === impl Unit ===

impl Unit {
    /// Boots a machine with these units, their sockets open.
    pub(crate) fn boot(units: &[Self], setting: &Setting) -> Result<Machine, Trouble> {
        let machine = Machine::boot().ok_or("no machine with systemd can be had")?;
        for unit in units {
            let program = setting.program(unit.peer)?;
            machine.copy_in(&program.path, unit.path());
            unit.install(&machine)?;
        }
        machine.systemctl(&["daemon-reload"]).ok();
        for unit in units {
            machine.systemctl(&["start", &format!("{}.socket", unit.name)]).ok();
        }
        Ok(machine)
    }

    pub(crate) fn service(&self) -> String {
        format!("{}.service", self.name)
    }

    /// Loads the service for a while, and looks at the time of the threads that are not the log's.
    pub(crate) fn load(&self, machine: &Machine, setting: &Setting) -> Result<Answered, Trouble> {
        let pid = machine.main_pid(&self.service()).ok_or("a service does not run")?;
        let serving = || time(pid, |thread| !thread.starts_with(WRITERS));
        machine.in_network(|| load(Way::KeepAlive, self.port, setting.duration, serving))
    }

    /// What these take for a request, in microseconds of their serving threads, in turns.
    pub(crate) fn take_turns(
        units: &[Self],
        machine: &Machine,
        setting: &Setting,
    ) -> Result<Vec<Samples>, Trouble> {
        let warm = Setting { duration: Duration::from_secs(1), ..setting.clone() };
        for unit in units {
            machine.systemctl(&["start", &unit.service()]).ok();
            unit.load(machine, &warm)?;
        }
        let mut samples = vec![Samples::default(); units.len()];
        for _ in 0..setting.rounds {
            for (unit, samples) in units.iter().zip(&mut samples) {
                samples.add(unit.load(machine, setting)?.each());
            }
        }
        Ok(samples)
    }

    /// A counter of lockstepd's.
    pub(crate) fn counter(&self, machine: &Machine, name: &str) -> Result<f64, Trouble> {
        let pid = machine.main_pid(&self.service()).ok_or("a service does not run")?;
        let mut admin = UnixStream::connect(format!("/proc/{pid}/root{}", self.admin()))?;
        admin
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut metrics = String::new();
        admin.read_to_string(&mut metrics)?;
        let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        metrics.lines().find_map(value).ok_or_else(|| format!("/metrics has no {name}").into())
    }

    fn admin(&self) -> String {
        format!("/tmp/{}.sock", self.name)
    }

    fn path(&self) -> &'static str {
        match self.peer {
            Peer::Go => "/usr/local/bin/peer-go",
            Peer::Epoll => "/usr/local/bin/peer-epoll",
            _ => "/usr/local/bin/lockstepd",
        }
    }

    fn install(&self, machine: &Machine) -> Result<(), Trouble> {
        let Self { name, port, sandboxed, log, .. } = self;
        let shipped = |file| std::fs::read_to_string(source("packaging").join(file));
        let socket = shipped("lockstepd.socket")?
            .replace("ListenStream=0.0.0.0:9090", &format!("ListenStream=127.0.0.1:{port}"));
        machine.write(&format!("/etc/systemd/system/{name}.socket"), socket);
        let service = if *sandboxed {
            let ours = "Sockets=lockstepd.socket lockstepd-admin.socket";
            shipped("lockstepd.service")?.replace(ours, &format!("Sockets={name}.socket"))
        } else {
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nLimitNOFILE=524288\n".to_owned()
        };
        machine.write(&format!("/etc/systemd/system/{name}.service"), service);
        let kind = if self.peer == Peer::Lockstepd { "notify" } else { "simple" };
        let (path, processor, admin) = (self.path(), SERVER.number(), self.admin());
        machine.write(
            &format!("/etc/systemd/system/{name}.service.d/compare.conf"),
            format!(
                "[Service]
Type={kind}
WatchdogSec=0
ExecStart=
ExecStart={path}
ExecStopPost=
CPUAffinity={processor}
Environment=LOCKSTEPD_ADMIN=unix:{admin} LOCKSTEPD_ACCESS_LOG={log}
"
            ),
        );
        Ok(())
    }
}
