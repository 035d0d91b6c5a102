//! Settings in environment variables.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use super::mistakes::Mistakes;
use super::nearest::nearest;
use super::settings::{Origin, Settings};

/// The variable with the name of the configuration file.
pub(crate) const FILE: &str = "LOCKSTEPD_CONFIG";

/// What the names of all settings' variables begin with.
const PREFIX: &str = "LOCKSTEPD_";

/// The variables that the library uses itself.
const OF_THE_LIBRARY: [&str; 2] = ["LOCKSTEPD_CHECK", "LOCKSTEPD_UPGRADE_FD"];

/// The variables that a process has.
#[derive(Debug)]
pub(crate) struct Environment(BTreeMap<String, OsString>);

// === impl Environment ===

impl Environment {
    /// Those of this process. One whose name is not valid UTF-8 is no setting.
    pub(crate) fn of_this_process() -> Self {
        Self(
            env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&OsString> {
        self.0.get(name)
    }

    /// The name of the configuration file; empty is as good as none.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.get(FILE).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Sets what variables say.
    pub(super) fn read(&self, settings: &mut Settings, mistakes: &mut Mistakes) {
        for setting in Settings::table() {
            let name = setting.variable;
            let Some(value) = self.get(name) else { continue };
            let origin = Origin::Variable(name);
            let result = match value.to_str() {
                Some(text) => settings.set_text(setting, text, origin),
                None => Err("not valid UTF-8".to_owned()),
            };
            if let Err(why) = result {
                mistakes.add(format!("{name}: {why}"));
            }
        }
    }

    /// Sets what the variable says that all programs with such a log read. The log tells if it cannot be understood.
    pub(super) fn read_rust_log(&self, settings: &mut Settings) {
        const NAME: &str = "RUST_LOG";
        let level = Settings::table().find(|setting| setting.key == "log.level");
        if let (Some(level), Some(text)) = (level, self.get(NAME).and_then(|text| text.to_str())) {
            // The library has the default of what is not understood here.
            let _ = settings.set_text(level, text, Origin::Variable(NAME));
        }
    }

    /// A warning for each variable with the prefix that is no setting.
    pub(super) fn warnings(&self) -> Vec<String> {
        let known = Settings::table().map(|setting| setting.variable).chain([FILE]);
        let known: Vec<_> = known.collect();
        let unknown = self.0.keys().filter(|name| {
            name.starts_with(PREFIX)
                && !known.contains(&name.as_str())
                && !OF_THE_LIBRARY.contains(&name.as_str())
        });
        let warning = |name: &String| {
            // What all of them begin with makes none of them alike.
            let rest = |name| str::strip_prefix(name, PREFIX).unwrap_or(name);
            let remedy = match nearest(rest(name), known.iter().copied().map(rest)) {
                Some(near) => format!("did you mean {PREFIX}{near}?"),
                None => "see --help".to_owned(),
            };
            format!("{name} is no setting, and has no effect ({remedy})")
        };
        unknown.map(warning).collect()
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        Self(variables.map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_like_none_but_for_the_prefix_was_not_meant() {
        for (name, meant) in [
            ("LOCKSTEPD_LINGR", "(did you mean LOCKSTEPD_LINGER?)"),
            ("LOCKSTEPD_PUBLIC_LISTEN", "(did you mean LOCKSTEPD_PUBLIC?)"),
            ("LOCKSTEPD_VERSION", "(see --help)"),
            ("LOCKSTEPD_RELEASE", "(see --help)"),
            ("LOCKSTEPD_", "(see --help)"),
        ] {
            let environment: Environment = [(name, "")].into_iter().collect();
            let warnings = environment.warnings();
            assert!(warnings.len() == 1 && warnings[0].ends_with(meant), "{warnings:?}");
        }
    }
}
