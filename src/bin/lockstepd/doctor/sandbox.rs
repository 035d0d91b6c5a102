//! What the sandbox of a unit hides or forbids that the daemon needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lockstepd::{AccessLog, Address};

use super::access_file;
use super::findings::Findings;
use super::program::{Program, own_listeners};
use super::unit_file::Unit;
use crate::config::Config;

/// Looks at what the service may see and do.
pub(super) fn check(unit: &Unit, program: &Program, sockets: &[String], findings: &mut Findings) {
    let name = &unit.name;
    for key in ["RootDirectory", "RootImage"] {
        if let Some(root) = unit.last("Service", key) {
            findings.warning(format!(
                "{}: what is in {} was not looked at",
                root.place(),
                root.value
            ));
            return;
        }
    }
    if let Some(path) = &program.path {
        check_seen(unit, "the program", path, findings);
    }
    let Some(config) = &program.config else { return };
    for file in files(config) {
        // systemd puts credentials where the service sees them.
        if file.starts_with(unit.expanded("%d")) {
            continue;
        }
        check_seen(unit, "the daemon reads it", &file, findings);
        let is_key = config.tls.keys.iter().flatten().any(|key| *key == file);
        check_readable(unit, &file, is_key, findings);
    }
    access_file::check(unit, config, findings);
    check_network(unit, config, sockets, findings);
    if !config.admin_users.is_empty() && unit.is_on("PrivateUsers") {
        findings.error(format!(
            "{name}: PrivateUsers=yes hides who a client is, and admin.users needs to know (set PrivateUsers=no, or \
             leave admin.users empty)"
        ));
    }
    let to_journal = config.access_log == AccessLog::All && config.access_file.is_none();
    if to_journal && unit.last("Service", "LogRateLimitBurst").is_none() {
        findings.warning(format!(
            "{name}: with log.access = \"all\" journald drops lines above its own limit without a word (set \
             LogRateLimitIntervalSec=1s and LogRateLimitBurst=1000000)"
        ));
    }
}

/// The files that the daemon reads.
fn files(config: &Config) -> Vec<PathBuf> {
    let tls = &config.tls;
    let lists = tls.certificates.iter().chain(&tls.keys).flatten();
    let authorities = tls.client_authorities.iter().chain(&tls.admin_authorities);
    config.files.iter().chain(lists).chain(authorities).cloned().collect()
}

/// Finds out whether a path is hidden.
pub(super) fn check_seen(unit: &Unit, what: &str, path: &Path, findings: &mut Findings) {
    if is_bound(unit, path) {
        return;
    }
    let is_in =
        |directories: &[&str]| directories.iter().any(|directory| path.starts_with(directory));
    let (name, path_shown) = (&unit.name, path.display());
    let home = unit.last("Service", "ProtectHome").map(|home| home.value.as_str());
    if matches!(home, Some("yes" | "true" | "on" | "1" | "tmpfs"))
        && is_in(&["/home", "/root", "/run/user"])
    {
        findings.error(format!(
            "{name}: ProtectHome= hides {path_shown}, {what} (move it, to /etc or /opt for example)"
        ));
    }
    if unit.is_on("PrivateTmp") && is_in(&["/tmp", "/var/tmp"]) {
        findings.error(format!("{name}: PrivateTmp=yes hides {path_shown}, {what} (move it, to /etc or /opt for example)"));
    }
    for hidden in unit
        .all("Service", "InaccessiblePaths")
        .into_iter()
        .chain(unit.all("Service", "TemporaryFileSystem"))
    {
        let mut paths = hidden.value.split_whitespace();
        if let Some(hiding) = paths.find(|hidden| {
            path.starts_with(
                hidden.trim_start_matches(['-', '+']).split(':').next().unwrap_or_default(),
            )
        }) {
            findings.error(format!("{}: {hiding} hides {path_shown}, {what}", hidden.place()));
        }
    }
}

/// Tells whether a path is brought back into what is hidden.
fn is_bound(unit: &Unit, path: &Path) -> bool {
    let lines = unit.all_of("Service", &["BindPaths", "BindReadOnlyPaths"]).into_iter();
    lines.flat_map(|line| line.value.split_whitespace()).any(|bound| {
        let mut parts = bound.trim_start_matches('-').split(':');
        let source = parts.next().unwrap_or_default();
        path.starts_with(parts.next().unwrap_or(source))
    })
}

/// Finds out whether a user that exists only while the service runs can read a file.
fn check_readable(unit: &Unit, path: &Path, is_key: bool, findings: &mut Findings) {
    if !unit.is_on("DynamicUser") {
        return;
    }
    for directory in path.ancestors().skip(1) {
        let is_closed =
            fs::metadata(directory).is_ok_and(|it| it.permissions().mode() & 0o001 == 0);
        if is_closed && !is_bound(unit, path) {
            findings.error(format!(
                "{}: the service's user (DynamicUser=yes) cannot enter {}, where {} is (chmod o+x)",
                unit.name,
                directory.display(),
                path.display()
            ));
            return;
        }
    }
    let Ok(metadata) = fs::metadata(path) else { return };
    let mode = metadata.permissions().mode();
    let groups = unit.all_of("Service", &["Group", "SupplementaryGroups"]);
    let may_be_in_group = mode & 0o040 != 0 && !groups.is_empty();
    if mode & 0o004 == 0 && !may_be_in_group {
        // A key that everybody can read is refused.
        let remedy = if is_key { "pass it" } else { "chmod o+r, or if it is secret pass it" };
        findings.error(format!(
            "{}: the service's user (DynamicUser=yes) cannot read {} ({remedy} with LoadCredential=)",
            unit.name,
            path.display()
        ));
    }
}

/// Finds out whether the daemon can listen and connect as its configuration has it.
fn check_network(unit: &Unit, config: &Config, sockets: &[String], findings: &mut Findings) {
    let name = &unit.name;
    let may_use_ip = may_use_ip(unit);
    let is_ip = |address: &Address| !matches!(address, Address::Unix(_));
    for (server, addresses) in own_listeners(config, sockets) {
        if !addresses.iter().any(is_ip) {
            continue;
        }
        if unit.is_on("PrivateNetwork") || !may_use_ip {
            findings.error(format!(
                "{name}: no socket unit has \"{server}\", and the service has no network to bind {} in (add its socket \
                 unit to Sockets=, or see drop-ins/no-sockets.conf)",
                shown(&addresses)
            ));
        }
    }
    let application = config.application.as_ref().filter(|application| is_ip(application));
    if let Some(application) = application {
        let denied = unit.all("Service", "IPAddressDeny");
        let allowed = unit.all("Service", "IPAddressAllow");
        let everything = ["any", "0.0.0.0/0", "::/0"];
        let mut denied = denied.iter().flat_map(|line| line.value.split_whitespace());
        let is_denied = denied.any(|network| everything.contains(&network)) && allowed.is_empty();
        if unit.is_on("PrivateNetwork") || !may_use_ip || is_denied {
            findings.error(format!(
                "{name}: the service has no network, and the application is at {application} (see \
                 drop-ins/tcp-application.conf, or have it listen on a Unix socket)"
            ));
        }
    }
}

/// Tells whether the service may have sockets of IP.
fn may_use_ip(unit: &Unit) -> bool {
    let mut may = None;
    for line in unit.all("Service", "RestrictAddressFamilies") {
        // With ~ the families are those that are forbidden.
        let forbidden = line.value.strip_prefix('~');
        let families = forbidden.unwrap_or(&line.value);
        let is_named = families.split_whitespace().any(|family| family.starts_with("AF_INET"));
        may = Some(match may {
            Some(may) if !is_named => may,
            _ => is_named == forbidden.is_none(),
        });
    }
    may.unwrap_or(true)
}

fn shown(addresses: &[Address]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}
