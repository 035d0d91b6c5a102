//! What the sandbox of a unit hides or forbids that the daemon needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lockstepd::{AccessLog, Address};

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
        if file.starts_with("/run/credentials") {
            continue;
        }
        check_seen(unit, "the daemon reads it", &file, findings);
        check_readable(unit, &file, findings);
    }
    check_network(unit, config, sockets, findings);
    if !config.admin_users.is_empty() && unit.is_on("PrivateUsers") {
        findings.error(format!(
            "{name}: PrivateUsers=yes hides who a client is, and admin.users needs to know (set PrivateUsers=no, or \
             leave admin.users empty)"
        ));
    }
    if config.access_log == AccessLog::All && unit.last("Service", "LogRateLimitBurst").is_none() {
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
fn check_seen(unit: &Unit, what: &str, path: &Path, findings: &mut Findings) {
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

/// Finds out whether a user that exists only while the service runs can read a file.
fn check_readable(unit: &Unit, path: &Path, findings: &mut Findings) {
    if !unit.is_on("DynamicUser") {
        return;
    }
    let Ok(metadata) = fs::metadata(path) else { return };
    if metadata.permissions().mode() & 0o004 == 0 {
        findings.error(format!(
            "{}: the service's user (DynamicUser=yes) cannot read {} (chmod o+r; a secret belongs into LoadCredential=)",
            unit.name,
            path.display()
        ));
    }
}

/// Finds out whether the daemon can listen and connect as its configuration has it.
fn check_network(unit: &Unit, config: &Config, sockets: &[String], findings: &mut Findings) {
    let name = &unit.name;
    let families: Vec<_> = unit
        .all("Service", "RestrictAddressFamilies")
        .into_iter()
        .flat_map(|line| line.value.split_whitespace())
        .collect();
    let may_use_ip =
        families.is_empty() || families.iter().any(|family| family.starts_with("AF_INET"));
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
        if unit.is_on("PrivateNetwork") || !may_use_ip || (!denied.is_empty() && allowed.is_empty())
        {
            findings.error(format!(
                "{name}: the service has no network, and the application is at {application} (see \
                 drop-ins/tcp-application.conf, or have it listen on a Unix socket)"
            ));
        }
    }
}

fn shown(addresses: &[Address]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}
