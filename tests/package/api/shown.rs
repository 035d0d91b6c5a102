//! Whatever is public is shown in an example: of its own, of something else, in `examples`, the guide, the README or
//! a page in `docs`.

use std::fs;
use std::path::Path;

use super::items::{Entry, Kind};
use super::of_the_library;
use crate::DOCUMENTATION;

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// Code that a reader sees.
struct Example {
    /// The item whose documentation has it.
    of: Option<String>,
    code: String,
}

/// The blocks of Rust in a text of Markdown.
fn blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines().map(|line| line.strip_prefix(' ').unwrap_or(line));
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let code: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            if ["", "no_run", "rust"].contains(&language) {
                blocks.push(code.join("\n"));
            }
        }
    }
    blocks
}

fn examples(api: &[Entry]) -> Vec<Example> {
    let files = |folder: &str| {
        let entries = fs::read_dir(Path::new(PACKAGE).join(folder)).expect("there is the folder");
        let paths = entries.map(|entry| entry.expect("the folder can be read").path());
        let files = paths.filter(|path| path.is_file());
        files.map(|path| fs::read_to_string(path).expect("it can be read")).collect::<Vec<_>>()
    };
    let root: String = DOCUMENTATION
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let readme = fs::read_to_string(Path::new(PACKAGE).join("README.md")).expect("it is there");
    let pages = [files("src/guide"), files("docs"), vec![root, readme]].into_iter().flatten();
    let elsewhere = files("examples").into_iter().chain(pages.flat_map(|page| blocks(&page)));
    let own = api.iter().flat_map(|entry| {
        let blocks = blocks(&entry.docs).into_iter();
        blocks.map(|code| Example { of: Some(entry.owner.clone()), code })
    });
    own.chain(elsewhere.map(|code| Example { of: None, code })).collect()
}

/// Tells whether code has this in it, and not as a part of a longer name.
fn has(code: &str, text: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(text).any(|(at, _)| {
        let is_begin = !text.starts_with(is_name) || !code[..at].ends_with(is_name);
        is_begin && !code[at + text.len()..].starts_with(is_name)
    })
}

/// Tells whether an example shows it. A method counts as shown by a call of its name where its type is named, too,
/// or is what the documentation is of: what a value is, text does not tell.
fn is_shown(entry: &Entry, example: &Example) -> bool {
    let owner = &entry.owner;
    let is_of_owner = example.of.as_ref() == Some(owner);
    match &entry.kind {
        Kind::Type | Kind::Trait | Kind::Crate => has(&example.code, owner),
        Kind::Constant(name) | Kind::Function(name) => {
            has(&example.code, &format!("{owner}::{name}"))
        }
        Kind::Method(name) => {
            let called = has(&example.code, &format!(".{name}"));
            let named = has(&example.code, &format!("{owner}::{name}"));
            let implements = has(&example.code, &format!("impl {owner} for"));
            let implemented = implements && has(&example.code, &format!("fn {name}"));
            named || implemented || (called && (is_of_owner || has(&example.code, owner)))
        }
        Kind::Part | Kind::Implementation => true,
    }
}

/// What no example shows.
fn not_shown(api: &[Entry], examples: &[Example]) -> Vec<String> {
    api.iter()
        .filter(|entry| blocks(&entry.docs).is_empty())
        .filter(|entry| !examples.iter().any(|example| is_shown(entry, example)))
        .map(|entry| entry.line.clone())
        .collect()
}

#[test]
fn everything_public_is_shown_in_an_example() {
    let api = of_the_library();
    let missing = not_shown(&api, &examples(&api));
    assert!(missing.is_empty(), "write an example for each of these:\n{}", missing.join("\n"));
}

#[test]
fn an_example_shows_what_it_names_and_calls() {
    let entry = |kind, docs: &str| Entry {
        owner: "Daemon".to_owned(),
        kind,
        line: String::new(),
        docs: docs.to_owned(),
    };
    let method = || Kind::Method("run".to_owned());
    let is_shown = |kind, code: &str| {
        let example = Example { of: None, code: code.to_owned() };
        not_shown(&[entry(kind, "")], &[example]).is_empty()
    };
    assert!(is_shown(method(), "Daemon::new().run()"));
    assert!(!is_shown(method(), "Daemon::new().run_until()"));
    assert!(!is_shown(method(), "Monitor::new().run()"));
    assert!(is_shown(Kind::Function("new".to_owned()), "Daemon::new(\"shop\")"));
    assert!(!is_shown(Kind::Function("new".to_owned()), "Reload::new()"));
    assert!(!is_shown(Kind::Type, "SpawnedDaemon"));
    let own = entry(method(), " Runs it.\n\n ```no_run\n daemon.run()\n ```\n");
    assert!(not_shown(&[own], &[]).is_empty());
    let other = entry(method(), "```text\nnothing\n```\n");
    assert_eq!(not_shown(&[other], &[]).len(), 1);
}
