//! journald's limit of lines per unit, which drops lines and tells nobody of us.

use std::time::Duration;

use crate::{
    restart::{public, under_load},
    support::{Load, Machine, PATIENCE, wait_until},
};

/// What journald of a machine is told, but for its rate limit: that is left as it is by default.
const DEFAULTS: &str = "[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\n";

/// The most that journald takes of a unit in 30 s by default: 10,000 lines, times 4 if there are 4 GB of room.
const LIMIT: u64 = 40_000;

#[test]
fn the_journals_limit_drops_no_line_of_the_packaged_unit() {
    let Some(machine) = machine() else { return };
    let load = Load {
        clients: 16,
        think: Duration::from_millis(2),
        requests: vec![b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()],
        ..Load::on(public())
    };
    let report = under_load(&machine, &load, |control| {
        wait_until("more requests than the limit", PATIENCE, || {
            control.answers() > LIMIT + LIMIT / 4
        });
    });
    assert!(report.failures.is_empty(), "{report}\n{:#?}", report.failures);
    let metrics = machine.get("http://localhost:9091/metrics");
    let mut lines = metrics.lines();
    let lost = lines.find_map(|line| line.strip_prefix("lockstepd_log_lines_lost_total "));
    let lost: u64 = lost.expect("it is always told").parse().unwrap();
    // The stop writes what is in the queue.
    machine.systemctl(&["stop", "lockstepd.service"]).ok();
    let count = "journalctl --sync; journalctl --unit=lockstepd PATH=/x --output=cat | wc -l";
    let kept: u64 = machine.sh(count).ok().trim().parse().unwrap();
    let asked = report.answers;
    assert!(kept + lost >= asked, "of {asked} lines {kept} are kept, {lost} counted as lost");
}

#[test]
fn every_unit_of_the_system_lifts_the_journals_limit() {
    let Some(machine) = machine() else { return };
    let make = "cd /etc/systemd/system; \
                sh /usr/src/lockstepd/packaging/make-units.sh shop /usr/local/bin/lockstepd public=8080";
    machine.sh(make).ok();
    machine.systemctl(&["daemon-reload"]).ok();
    for unit in ["lockstepd.service", "lockstepd@a.service", "shop.service"] {
        let limit = [("LogRateLimitIntervalUSec", "1s"), ("LogRateLimitBurst", "1000000")];
        machine.assert_properties(unit, &limit);
    }
}

/// A machine whose journald has its default limit, with the daemon that logs every request.
fn machine() -> Option<Machine> {
    let conf = "/etc/systemd/journald.conf.d/machine.conf";
    let machine = Machine::boot_with(|root| root.write(conf, DEFAULTS))?;
    machine.install();
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/test.conf",
        "[Service]\nEnvironment=LOCKSTEPD_ACCESS_LOG=all\n",
    );
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "lockstepd.socket", "lockstepd-admin.socket"]).ok();
    Some(machine)
}
