//! The tables of settings in docs/configuration.md.

use std::fmt::Write;
use std::fs;

use super::assert_current;
use super::sections::SECTIONS;
use crate::config::Settings;
use crate::config::setting::Default;

const PAGE: &str = "docs/configuration.md";
const BEGIN: &str = "<!-- settings, made of the program -->\n";
const END: &str = "<!-- end of settings -->\n";

fn tables() -> String {
    let mut text = String::new();
    for (section, about) in SECTIONS {
        let title = if section.is_empty() {
            "Before any section".to_owned()
        } else {
            format!("`[{section}]`")
        };
        write!(
            text,
            "\n### {title}\n\n{about}\n\n| setting | variable | default | |\n|---|---|---|---|\n"
        )
        .expect("a text takes everything");
        for setting in Settings::table().filter(|setting| setting.section() == section) {
            let reload = if setting.reload { " ↻" } else { "" };
            let default = match setting.default {
                Default::To(value) => format!("`{}`", setting.in_file(value)),
                Default::None(words, _) => words.to_owned(),
            };
            let more =
                if setting.more.is_empty() { String::new() } else { format!(" {}", setting.more) };
            writeln!(
                text,
                "| `{}`{reload} | `{}` | {default} | {}.{more} |",
                setting.key, setting.variable, setting.help
            )
            .expect("a text takes everything");
        }
    }
    text + "\n"
}

#[test]
fn the_documentation_shows_every_setting() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(file).expect("there is such a page");
    let (head, rest) = page.split_once(BEGIN).expect("it says where settings begin");
    let (_, tail) = rest.split_once(END).expect("it says where settings end");
    assert_current(PAGE, &format!("{head}{BEGIN}{}{END}{tail}", tables()));
}
