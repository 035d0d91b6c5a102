//! The manual pages: that formatters have nothing to say about them, and that they leave nothing out.

use std::{fs, path::PathBuf, process::Command};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/man");

fn pages() -> Vec<PathBuf> {
    let entries = fs::read_dir(DIRECTORY).expect("it is there").map(|entry| entry.unwrap().path());
    let pages: Vec<_> = entries.collect();
    assert_eq!(pages.len(), 3, "{pages:?}");
    pages
}

/// What a formatter says about all pages; none where it is not installed.
fn complaints(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).args(pages()).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("!!! SKIPPED: {program} cannot be executed: {error}");
            let is_required = std::env::var_os("LOCKSTEPD_REQUIRE_MANDOC").is_some();
            assert!(!is_required, "{program} is required (apt-get install groff mandoc)");
            return None;
        }
    };
    let said = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn mandoc_has_nothing_to_say_about_the_manual() {
    if let Some(said) = complaints("mandoc", &["-Tlint"]) {
        assert_eq!(said, "");
    }
}

#[test]
fn groff_has_nothing_to_say_about_the_manual() {
    if let Some(said) = complaints("groff", &["-man", "-ww", "-z", "-Tutf8"]) {
        assert_eq!(said, "");
    }
}

#[test]
fn the_manual_of_the_units_names_every_drop_in() {
    let page = fs::read_to_string(format!("{DIRECTORY}/lockstepd.service.8")).unwrap();
    let page = page.replace('\\', "");
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/drop-ins");
    for entry in fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(page.contains(&format!("\n.B {name}\n")), "{name}");
    }
}
