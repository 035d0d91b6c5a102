//! `lockstepd config`: what a start would have, and where each setting comes from.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::setting::Default;
use crate::config::{Config, Settings};

/// Writes the configuration to standard output, in the form of the file; defaults are comments in it.
pub(crate) fn show(config: &Config) -> ExitCode {
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    match io::stdout().lock().write_all(text(config).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // `lockstepd config | head` has what it wants.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write the configuration to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}

fn text(config: &Config) -> String {
    let mut lines =
        vec!["# What a start in this environment has, and where it comes from.".to_owned()];
    let read = |file: &std::path::PathBuf| format!("# read {}", file.display());
    lines.extend(config.files.iter().map(read));
    let mut section = "";
    for setting in Settings::table() {
        if setting.section() != section {
            section = setting.section();
            lines.push(format!("\n[{section}]"));
        }
        let name = setting.name();
        lines.push(match (config.settings.chosen(setting), setting.default) {
            (Some(chosen), _) => format!("{name} = {} # {}", chosen.value, chosen.origin),
            // It depends on another setting.
            (None, Default::To(_))
                if (section, name) == ("log", "access") && config.access_file.is_some() =>
            {
                format!("#{name} = {} # default with access_file", setting.in_file("all"))
            }
            (None, Default::To(value)) => format!("#{name} = {} # default", setting.in_file(value)),
            (None, Default::None(words, _)) => format!("#{name} # default: {words}"),
        });
    }
    lines.join("\n") + "\n"
}
