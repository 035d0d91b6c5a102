//! packaging/lockstepd.toml: every setting at its default, with what there is to say of it.

use super::sections::SECTIONS;
use super::{assert_current, wrapped};
use crate::config::Settings;
use crate::config::setting::Default;

const HEAD: &str = "\
# lockstepd's configuration, see lockstepd.toml(5). A setting that has a default is shown with it: uncomment a line to
# change it. One that has none is shown with an example, indented.
# A flag outranks the environment (LOCKSTEPD_DRAIN_TIMEOUT, LOCKSTEPD_LOG_LEVEL, …), which outranks this file; files
# that are dropped into the directory lockstepd.toml.d beside it, as *.toml, outrank it too. An unknown setting is an
# error: the daemon does not start (exit code 78).
# `lockstepd check` reads all of it as a start would, and `lockstepd config` shows what came of it. `systemctl reload
# lockstepd` applies a change, unless it says here that it needs a restart.
";

fn text() -> String {
    let mut text = HEAD.to_owned();
    for (section, about) in SECTIONS {
        text.push('\n');
        for line in wrapped(about, 118) {
            text += &format!("# {line}\n");
        }
        if !section.is_empty() {
            text += &format!("[{section}]\n");
        }
        for setting in Settings::table().filter(|setting| setting.section() == section) {
            text.push('\n');
            for line in wrapped(&setting.manual(), 118) {
                text += &format!("# {line}\n");
            }
            let (indent, value) = match setting.default {
                Default::To(value) => ("", value),
                Default::None(_, example) => ("   ", example),
            };
            text += &format!("#{indent}{} = {}\n", setting.name(), setting.in_file(value));
        }
    }
    text
}

#[test]
fn the_configuration_file_shows_every_setting() {
    assert_current("packaging/lockstepd.toml", &text());
}
