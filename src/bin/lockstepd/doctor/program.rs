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

/// What may stand before the program in `ExecStart=`.
const PREFIXES: [char; 6] = ['@', '-', ':', '+', '!', '|'];

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
        let command = start.value.trim_start_matches(PREFIXES);
        let prefixes = &start.value[..start.value.len() - command.len()];
        let mut words = words(&unit.expanded(command));
        // With @ the name that the program is told comes behind it.
        if prefixes.contains('@') && words.len() > 1 {
            words.remove(1);
        }
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
        let config = is_lockstepd.then(|| {
            let environment = environment(unit, findings);
            if !prefixes.contains(':') {
                words = with_variables(&words, &environment);
            }
            config(unit, start, &words, &environment, findings)
        });
        let config = config.flatten();
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
    environment: &Environment,
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
    let file = arguments.config.or_else(|| environment.file());
    if let Some(file) = file.as_ref().filter(|file| file.starts_with(unit.expanded("%d"))) {
        let file = file.display();
        findings.warning(format!("{}: {file} is a credential, and was not looked at", unit.name));
        return None;
    }
    match Config::load(environment, file.as_deref(), &arguments.flags) {
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

/// Puts the values of variables into a command line: `${NAME}` is one word or a part of it, `$NAME` several words.
fn with_variables(words: &[String], environment: &Environment) -> Vec<String> {
    let value = |name: &str| {
        let value = environment.get(name).map(|value| value.to_string_lossy().into_owned());
        value.unwrap_or_default()
    };
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
    };
    let mut expanded = Vec::new();
    for word in words {
        if let Some(name) = word.strip_prefix('$').filter(|name| is_name(name)) {
            expanded.extend(value(name).split_whitespace().map(str::to_owned));
            continue;
        }
        let (mut whole, mut rest) = (String::new(), word.as_str());
        while let Some((before, after)) = rest.split_once('$') {
            whole += before;
            let braces = after.strip_prefix('{').and_then(|after| after.split_once('}'));
            rest = if let Some((name, after)) = braces.filter(|(name, _)| is_name(name)) {
                whole += &value(name);
                after
            } else {
                whole.push('$');
                after.strip_prefix('$').unwrap_or(after)
            };
        }
        expanded.push(whole + rest);
    }
    expanded
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_for_their_values_as_in_systemd() {
        let environment: Environment = [("A", "1 2"), ("B", "x")].into_iter().collect();
        let words = ["/p", "$A", "${A}", "y${B}z$$", "$NONE", "${NONE}", "a$b"].map(str::to_owned);
        let expected = ["/p", "1", "2", "1 2", "yxz$", "", "a$b"];
        assert_eq!(with_variables(&words, &environment), expected);
    }
}
