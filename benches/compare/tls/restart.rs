//! How long `systemctl restart` takes with connections that are to go on, with TLS and without.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use super::{Program, Speaker, clients::USUAL};
use crate::{
    Setting,
    restart::once,
    support::Trouble,
    systemd::Machine,
    table::{Row, Samples, Target, grouped},
};

const CONNECTIONS: usize = 10_000;
const SETTLING: Duration = Duration::from_millis(500);
const PORT: u16 = 9443;

const SOCKET: &str = "[Socket]
FileDescriptorName=public-tls
Service=lockstepd.service
ListenStream=127.0.0.1:9443
Backlog=4096
NoDelay=yes
KeepAlive=yes
";

/// As root it can read the key, without `LoadCredential=`, which not every container allows.
const SERVICE: &str = "[Service]
Sockets=lockstepd-tls.socket
DynamicUser=no
User=root
Environment=LOCKSTEPD_TLS_CERTIFICATES=/etc/lockstepd-tls.pem LOCKSTEPD_TLS_KEYS=/etc/lockstepd-tls.key
";

pub(crate) fn restart(setting: &Setting) -> Result<Vec<Row<Speaker>>, Trouble> {
    let ours = setting.speakers.iter().find(|program| program.speaker == Speaker::Lockstepd);
    let ours = ours.ok_or("needs lockstepd with TLS")?;
    let machine = boot(ours)?;
    let mut samples = [Samples::default(), Samples::default()];
    for _ in 0..setting.rounds {
        samples[0].add(machine.in_network(|| once(&machine, CONNECTIONS))?);
        // The daemon closes what the clients have closed before the next restart.
        sleep(SETTLING);
        samples[1].add(machine.in_network(|| once_secured(&machine, ours))?);
        sleep(SETTLING);
    }
    let plain = samples[0].median();
    let connections = grouped(&CONNECTIONS.to_string());
    let row = |samples, how| {
        Row::of_ours(
            format!("systemctl restart with {connections} idle connections{how}, ms"),
            samples,
        )
    };
    let [without, with] = samples;
    let ratio = with.median() / plain;
    Ok(vec![
        row(without, ""),
        row(with, " with TLS").judge("without TLS", ratio, Target::AtMost(1.5)),
    ])
}

/// A machine on which the daemon speaks TLS.
fn boot(ours: &Program) -> Result<Machine, Trouble> {
    let machine = Machine::with_sockets().ok_or("no machine with systemd can be had")?;
    machine.copy_in(&ours.path, "/usr/local/bin/lockstepd");
    machine.copy_in(&ours.certificate, "/etc/lockstepd-tls.pem");
    machine.copy_in(&ours.key, "/etc/lockstepd-tls.key");
    machine.write("/etc/systemd/system/lockstepd-tls.socket", SOCKET);
    machine.write("/etc/systemd/system/lockstepd.service.d/tls.conf", SERVICE);
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "lockstepd-tls.socket"]).ok();
    machine.activate();
    Ok(machine)
}

/// Milliseconds for a restart, which all of so many connections survive.
fn once_secured(machine: &Machine, ours: &Program) -> Result<f64, Trouble> {
    let mut clients = ours.clients(PORT, USUAL)?;
    clients.hold(CONNECTIONS)?;
    let begin = Instant::now();
    machine.systemctl(&["restart", "lockstepd"]).ok();
    let took = begin.elapsed();
    clients.ask()?;
    Ok(took.as_secs_f64() * 1000.0)
}
