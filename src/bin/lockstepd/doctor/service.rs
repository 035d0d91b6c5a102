//! What the unit of a service needs, whatever program it runs.

use std::process::Command;
use std::time::Duration;

use super::findings::Findings;
use super::unit_file::Unit;

/// What systemd has where a unit does not say it (`systemd-system.conf(5)`).
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(90);
const DEFAULT_DESCRIPTORS: u64 = 524_288;

/// What the daemon needs besides its connections: listeners, log, systemd.
const OTHER_DESCRIPTORS: u64 = 64;

/// How long a stop takes at most, besides the lame duck and drain times: bodies that still come, and a margin.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// What systemd learnt when: a setting, a value that it needs to have, and the version.
const SINCE: [(&str, Option<&str>, u32); 4] = [
    ("Type", Some("notify-reload"), 253),
    ("FileDescriptorStorePreserve", None, 254),
    ("RestartSteps", None, 254),
    ("RestartMaxDelaySec", None, 254),
];

/// What of the configuration counts for the unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub(super) hand_over: bool,
    pub(super) stop: Duration,
    /// If it was set.
    pub(super) connections: Option<usize>,
    /// Addresses that the daemon binds itself.
    pub(super) own_listeners: usize,
}

/// The version of systemd, if it is there.
pub(super) fn systemd_version() -> Option<u32> {
    let output = Command::new("systemctl").arg("--version").output().ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout))
}

fn version_in(text: &str) -> Option<u32> {
    let version = text.strip_prefix("systemd ")?;
    version.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// Looks at the service's own unit.
pub(super) fn check(unit: &Unit, needs: Needs, version: Option<u32>, findings: &mut Findings) {
    check_type(unit, findings);
    check_start(unit, findings);
    check_store(unit, needs, findings);
    check_stop(unit, needs, findings);
    check_restart(unit, findings);
    check_descriptors(unit, needs, findings);
    for (key, value, since) in SINCE {
        let Some(assignment) = unit.last("Service", key) else { continue };
        let counts = value.is_none_or(|value| value == assignment.value);
        if let Some(version) = version.filter(|version| counts && *version < since) {
            findings.error(format!(
                "{}: {key}={} needs systemd {since}, and this is {version} (take the drop-in away)",
                assignment.place(),
                assignment.value
            ));
        }
    }
}

fn check_type(unit: &Unit, findings: &mut Findings) {
    let name = &unit.name;
    let kind = unit.last("Service", "Type");
    match kind.map(|assignment| assignment.value.as_str()) {
        Some("notify" | "notify-reload") => {}
        Some(other) => findings.error(format!(
            "{}: Type={other} has systemd believe that the service is ready before it serves, and drop its stored \
             connections (set Type=notify)",
            kind.map(super::unit_file::Assignment::place).unwrap_or_default()
        )),
        None => findings.error(format!("{name}: Type= is not set, and systemd is told nothing (set Type=notify)")),
    }
    let reloads = kind.is_some_and(|kind| kind.value == "notify-reload");
    if !reloads && unit.last("Service", "ExecReload").is_none() {
        findings.warning(format!(
            "{name}: `systemctl reload` is refused (set ExecReload=/bin/kill -HUP $MAINPID)"
        ));
    }
}

fn check_start(unit: &Unit, findings: &mut Findings) {
    let starts = unit.all("Service", "ExecStart");
    if let [_, second, ..] = starts[..] {
        findings.error(format!(
            "{}: a second ExecStart=, which systemd refuses (write an empty ExecStart= before it)",
            second.place()
        ));
    }
    for line in unit.all("Service", "LoadCredential") {
        let value = unit.expanded(&line.value);
        let Some((name, source)) = value.split_once(':') else { continue };
        if source.starts_with('/') && !std::path::Path::new(source).exists() {
            findings.error(format!(
                "{}: there is no {source} for the credential {name} (the start ends with 243/CREDENTIALS)",
                line.place()
            ));
        }
    }
}

fn check_store(unit: &Unit, needs: Needs, findings: &mut Findings) {
    if !needs.hand_over {
        return;
    }
    // One descriptor carries all connections.
    let needed = 1 + needs.own_listeners;
    let name = &unit.name;
    let assignment = unit.last("Service", "FileDescriptorStoreMax");
    let max = assignment.and_then(|assignment| assignment.value.parse::<usize>().ok()).unwrap_or(0);
    if max < needed {
        let place = assignment.map_or_else(|| name.clone(), super::unit_file::Assignment::place);
        findings.error(format!(
            "{place}: FileDescriptorStoreMax= is {max}, and {needed} are needed: a restart closes connections (set \
             FileDescriptorStoreMax=16)"
        ));
    }
}

fn check_stop(unit: &Unit, needs: Needs, findings: &mut Findings) {
    let set = unit.all_of("Service", &["TimeoutStopSec", "TimeoutSec"]).pop();
    let timeout = match set {
        Some(assignment) => time_span(&assignment.value),
        None => Some(DEFAULT_STOP_TIMEOUT),
    };
    let needed = needs.stop.saturating_add(STOP_MARGIN);
    if let Some(timeout) = timeout.filter(|timeout| *timeout < needed) {
        let place = set.map_or_else(|| unit.name.clone(), super::unit_file::Assignment::place);
        findings.warning(format!(
            "{place}: systemd gives a stop {}, and lame_duck and drain_timeout let it take {}: requests are cut off \
             unless the daemon can ask for more time all along (systemctl edit, and TimeoutStopSec={}s; or shorten them)",
            humantime::format_duration(timeout),
            humantime::format_duration(needs.stop),
            needed.as_secs(),
        ));
    }
    if let Some(mode) = unit.last("Service", "KillMode").filter(|mode| mode.value == "none") {
        findings.error(format!(
            "{}: KillMode=none leaves processes behind (set KillMode=mixed)",
            mode.place()
        ));
    }
}

fn check_restart(unit: &Unit, findings: &mut Findings) {
    let name = &unit.name;
    let restarts = unit.last("Service", "Restart").is_some_and(|restart| restart.value != "no");
    if !restarts {
        findings
            .warning(format!("{name}: nothing restarts it after a crash (set Restart=on-failure)"));
    }
    let prevented = unit.all("Service", "RestartPreventExitStatus");
    let is_prevented = prevented.iter().any(|prevented| {
        prevented.value.split_whitespace().any(|code| matches!(code, "78" | "CONFIG"))
    });
    if restarts && !is_prevented {
        findings.warning(format!(
            "{name}: a configuration that cannot be used is tried again for ever (set RestartPreventExitStatus=2 78)"
        ));
    }
    if unit.last("Service", "WatchdogSec").is_none() {
        findings
            .warning(format!("{name}: nothing restarts a daemon that hangs (set WatchdogSec=30s)"));
    }
}

fn check_descriptors(unit: &Unit, needs: Needs, findings: &mut Findings) {
    let set = unit.last("Service", "LimitNOFILE");
    // The hard limit stands behind the colon; the daemon makes it the soft one.
    let value = set.map(|limit| limit.value.rsplit(':').next().unwrap_or_default());
    let limit = match value {
        Some(text) => size(text),
        None => Some(DEFAULT_DESCRIPTORS),
    };
    let Some(limit) = limit else { return };
    let place = set.map_or_else(|| unit.name.clone(), super::unit_file::Assignment::place);
    let room = limit.saturating_sub(OTHER_DESCRIPTORS);
    if let Some(connections) = needs.connections.filter(|connections| *connections as u64 > room) {
        findings.error(format!(
            "{place}: LimitNOFILE= lets the service have {limit} descriptors, and max_connections is {connections} (set \
             LimitNOFILE={})",
            (connections as u64).saturating_add(OTHER_DESCRIPTORS)
        ));
    }
}

/// A number as systemd writes it, in steps of 1024; none for one without an end, or that it does not understand.
fn size(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(|character: char| character.is_ascii_uppercase());
    let steps = ["", "K", "M", "G", "T"].iter().position(|end| *end == &text[number.len()..])?;
    number.parse::<u64>().ok()?.checked_mul(1 << (10 * steps))
}

/// A time as systemd writes it; none for one without an end.
///
/// # Source
/// `systemd.time(7)`.
fn time_span(text: &str) -> Option<Duration> {
    if text == "infinity" {
        return None;
    }
    match text.parse() {
        Ok(0) => None,
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok().filter(|time| !time.is_zero()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_span_is_read_as_systemd_reads_it() {
        for (text, seconds) in [
            ("30", Some(30)),
            ("1min 30s", Some(90)),
            ("2min", Some(120)),
            ("infinity", None),
            ("0", None),
        ] {
            assert_eq!(time_span(text).map(|time| time.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn a_number_may_have_a_suffix() {
        for (text, number) in [
            ("1024", Some(1024)),
            ("64K", Some(65_536)),
            ("1M", Some(1 << 20)),
            ("infinity", None),
            ("é", None),
        ] {
            assert_eq!(size(text), number, "{text}");
        }
    }

    #[test]
    fn the_version_is_the_number_behind_the_name() {
        assert_eq!(version_in("systemd 252 (252.39-1~deb12u1)\n+PAM"), Some(252));
        assert_eq!(version_in("systemd 258~rc1 (258~rc1)"), Some(258));
        assert_eq!(version_in("busybox"), None);
    }
}
