//! Documents that are made of the command line and the settings' descriptions, and held to them by tests.
#![expect(clippy::format_push_string, reason = "documents are short, and made in tests alone")]

mod completions;
mod configuration_file;
mod manual;
mod roff;
mod sections;
mod settings_manual;
mod tables;

use std::fs;
use std::path::Path;

/// The day on the manual pages.
const DATE: &str = "2026-11-28";

/// With this variable a test writes what it would otherwise compare.
const WRITE: &str = "LOCKSTEPD_WRITE_DOCUMENTS";

/// Fails unless the file at `path` in the repository is `text`.
#[track_caller]
fn assert_current(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, text).expect("the repository can be written");
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    let different = written.lines().zip(text.lines()).find(|(written, made)| written != made);
    assert!(
        written == text,
        "{path} is not what the program says of itself: {different:?} (write it: {WRITE}=1 cargo test --features tls \
         --bin lockstepd)"
    );
}

/// Breaks a text into lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one");
        if line.is_empty() {
            *line = word.to_owned();
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            *line += &format!(" {word}");
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
