//! The manual page lockstepd.toml(5).

use clap_mangen::roff::{Roff, bold, roman};

use super::roff::{finished, see_also, tagged};
use super::sections::SECTIONS;
use super::{DATE, assert_current};
use crate::config::Settings;

const ABOUT: [&str; 5] = [
    "The daemon reads /etc/lockstepd/lockstepd.toml, or the file that --config or LOCKSTEPD_CONFIG names, and then each \
     file *.toml in the directory of the same name with .d behind it, in the order of their names. What is read later \
     outranks what was read before; a list takes the place of the one before it. The format is TOML.",
    "A setting is taken from its flag, else from its variable, else from these files, else it has its default. A flag \
     has the name of the variable, in lower case, without LOCKSTEPD_ and with hyphens: LOCKSTEPD_DRAIN_TIMEOUT is \
     --drain-timeout. In variables and flags a list is separated by commas; an empty variable is an empty list.",
    "A time is written as a text: \"20s\", \"1m 30s\", \"100ms\".",
    "An unknown setting or section is an error, and so is a value that cannot be understood: the daemon does not start \
     (exit code 78), and a reload changes nothing. All mistakes are told at once, each with its line and column. An \
     unknown variable that begins with LOCKSTEPD_ is a warning.",
    "lockstepd check validates everything as a start in the same environment would, and lockstepd config shows what \
     came of it, with the source of each value. Variables that a unit sets are not in the environment of a shell. \
     systemctl reload lockstepd applies a change, unless it says here that it needs a restart.",
];

fn page() -> String {
    let mut page = Roff::new();
    let version = concat!("lockstepd ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["LOCKSTEPD.TOML", "5", DATE, version, "File Formats Manual"]);
    page.control("SH", ["NAME"]).text([roman("lockstepd.toml - configuration of lockstepd")]);
    page.control("SH", ["SYNOPSIS"]);
    page.control("nf", []);
    page.text([roman("/etc/lockstepd/lockstepd.toml")]);
    page.text([roman("/etc/lockstepd/lockstepd.toml.d/*.toml")]);
    page.control("fi", []);
    page.control("SH", ["DESCRIPTION"]);
    for (at, paragraph) in ABOUT.into_iter().enumerate() {
        if at > 0 {
            page.control("PP", []);
        }
        page.text([roman(paragraph)]);
    }
    for (section, about) in SECTIONS {
        let title = match section {
            "" => "SETTINGS BEFORE ANY SECTION".to_owned(),
            section => format!("[{section}]"),
        };
        page.control("SH", [title.as_str()]).text([roman(about)]);
        for setting in Settings::table().filter(|setting| setting.section() == section) {
            let tag = [bold(setting.name()), roman(" = "), roman(setting.value)];
            let default = setting.default_in_words();
            let text =
                format!("{} Default: {default}. Variable: {}.", setting.manual(), setting.variable);
            tagged(&mut page, tag, &text);
        }
    }
    see_also(
        &mut page,
        &[
            ("lockstepd", "8"),
            ("lockstepd.service", "8"),
            ("systemd.socket", "5"),
            ("systemd.exec", "5"),
        ],
    );
    finished(&page.render())
}

#[test]
fn the_manual_of_the_file_shows_every_setting() {
    assert_current("packaging/man/lockstepd.toml.5", &page());
}
