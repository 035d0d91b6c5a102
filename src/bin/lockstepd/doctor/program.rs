//! The program that a unit starts, and the configuration that it has there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstepd::{Address, Daemon};

use super::findings::Findings;
use super::service::Needs;
use super::unit_file::{Assignment, Unit, words};
use crate::arguments;
use crate::command::Command;
use crate::config::{Config, Environment};

/// What a unit starts.
#[derive(Debug)]
pub(super) struct Program {
    /// The file that is executed.
    pub(super) path: Option<PathBuf>,
    /// Its configuration, if it is lockstepd and can be understood.
    pub(super) config: Option<Config>,
}

// === impl Program ===

impl Program {
    /// Finds out what a unit starts.
    pub(super) fn of(unit: &Unit, findings: &mut Findings) -> Self {
        let Some(start) = unit.last("Service", "ExecStart") else {
            findings.error(format!("{}: there is no ExecStart=", unit.name));
            return Self { path: None, config: None };
        };
        let line = unit.expanded(start.value.trim_start_matches(['@', '-', ':', '+', '!']));
        let words = words(&line);
        let Some(path) = words.first().map(PathBuf::from) else {
            return Self { path: None, config: None };
        };
        if path.is_absolute() && !path.exists() {
            findings.error(format!(
                "{}: there is no {} (install it, or correct ExecStart=)",
                start.place(),
                path.display()
            ));
        }
        let is_lockstepd = path.file_name().is_some_and(|name| name == "lockstepd");
        let config = is_lockstepd.then(|| config(unit, start, &words, findings)).flatten();
        Self { path: Some(path), config }
    }

    /// What counts for the unit: of another program what the library does by default.
    pub(super) fn needs(&self, sockets: &[String]) -> Needs {
        let Some(config) = &self.config else {
            let (stop, connections) = (Daemon::DRAIN_TIMEOUT, None);
            return Needs { hand_over: true, stop, connections, own_listeners: 0 };
        };
        let own = own_listeners(config, sockets).map(|(_, addresses)| addresses.len()).sum();
        Needs {
            hand_over: config.hand_over,
            stop: config.lame_duck.saturating_add(config.drain_timeout).max(Duration::from_secs(1)),
            connections: config.limits.connections,
            own_listeners: own,
        }
    }
}

/// The configuration that the daemon has under the unit.
fn config(
    unit: &Unit,
    start: &Assignment,
    words: &[String],
    findings: &mut Findings,
) -> Option<Config> {
    let arguments = match arguments::parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let error = error.to_string();
            let told = error.lines().next().unwrap_or_default();
            findings.error(format!("{}: {told} (the service ends with 2)", start.place()));
            return None;
        }
    };
    if !matches!(arguments.command, Command::Run) {
        findings.error(format!(
            "{}: this does not serve (set ExecStart= without a command)",
            start.place()
        ));
    }
    let environment = environment(unit, findings);
    match Config::load(&environment, arguments.config.as_deref(), &arguments.flags) {
        Ok(config) => {
            for warning in &config.warnings {
                findings.warning(format!("{}: {warning}", unit.name));
            }
            Some(config)
        }
        Err(error) => {
            for line in error.to_string().lines() {
                findings.error(line);
            }
            None
        }
    }
}

/// The variables that a unit sets.
fn environment(unit: &Unit, findings: &mut Findings) -> Environment {
    let set = unit.all("Service", "Environment").into_iter();
    let mut lines: Vec<_> = set.flat_map(|line| words(&unit.expanded(&line.value))).collect();
    for file in unit.all("Service", "EnvironmentFile") {
        let path = unit.expanded(file.value.trim_start_matches('-'));
        match fs::read_to_string(Path::new(&path)) {
            Ok(text) => {
                let is_set = |line: &&str| !line.trim_start().starts_with(['#', ';']);
                lines.extend(text.lines().filter(is_set).map(|line| words(line).join(" ")));
            }
            Err(_) if file.value.starts_with('-') => {}
            Err(error) => findings.error(format!("{}: cannot read {path}: {error}", file.place())),
        }
    }
    let pairs = lines.iter().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The servers for which systemd passes no socket, each with the addresses that it binds itself.
pub(super) fn own_listeners<'a>(
    config: &'a Config,
    sockets: &'a [String],
) -> impl Iterator<Item = (&'static str, Vec<Address>)> + 'a {
    config.servers().into_iter().filter(|(name, _)| !sockets.iter().any(|socket| socket == name))
}
