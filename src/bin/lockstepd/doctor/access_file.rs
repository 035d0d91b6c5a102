//! Whether the sandbox of a unit lets the daemon write its access log.

use std::path::{Path, PathBuf};

use super::findings::Findings;
use super::sandbox::check_seen;
use super::unit_file::Unit;
use crate::config::Config;

/// The directories that systemd makes for a service, and where.
const OWN: [(&str, &str); 4] = [
    ("LogsDirectory", "/var/log"),
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("RuntimeDirectory", "/run"),
];

/// Looks at the file of the access log, if there is one.
pub(super) fn check(unit: &Unit, config: &Config, findings: &mut Findings) {
    let Some(file) =
        config.settings.log.access_file.as_ref().filter(|_| config.access_file.is_some())
    else {
        return;
    };
    let path = Path::new("/").join(file);
    // A stream that the service was given, or a device.
    if ["/dev", "/proc"].iter().any(|directory| path.starts_with(directory)) {
        return;
    }
    let told = findings.0.len();
    check_seen(unit, "the access log", &path, findings);
    if findings.0.len() > told || may_write(unit, &path) {
        return;
    }
    findings.error(format!(
        "{}: the sandbox lets nothing be written to {}, the access log (set LogsDirectory=lockstepd, and have it in \
         /var/log/lockstepd: see drop-ins/access-file.conf)",
        unit.name,
        path.display()
    ));
}

/// Tells whether a path is one of those that a unit leaves open to be written to.
fn may_write(unit: &Unit, path: &Path) -> bool {
    let protection = unit.last("Service", "ProtectSystem").map(|it| it.value.as_str());
    // With DynamicUser= systemd takes it for strict.
    if protection != Some("strict") && !unit.is_on("DynamicUser") {
        return true;
    }
    let own = OWN.iter().flat_map(|(key, base)| {
        let lines = unit.all("Service", key).into_iter();
        let names = lines.flat_map(|line| line.value.split_whitespace());
        let directories = names.map(|name| Path::new(base).join(unit.expanded(first(name))));
        directories.collect::<Vec<_>>()
    });
    let opened = unit.all_of("Service", &["ReadWritePaths", "BindPaths"]).into_iter();
    let opened = opened.flat_map(|line| line.value.split_whitespace());
    let opened = opened.map(|opened| {
        let parts = opened.trim_start_matches(['-', '+']).splitn(3, ':');
        PathBuf::from(unit.expanded(parts.take(2).last().unwrap_or_default()))
    });
    own.chain(opened).any(|open| path.starts_with(open))
}

/// What stands before a colon, behind which is a link's name.
fn first(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}
