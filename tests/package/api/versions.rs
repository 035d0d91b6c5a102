//! The crates that the public API names are those of a table in the documentation, with the versions of `Cargo.toml`.

use std::collections::{BTreeMap, BTreeSet};

use super::{lines, of_the_library};
use crate::{DOCUMENTATION, metadata};

/// The table: each crate, and the version that it says.
fn table() -> BTreeMap<&'static str, &'static str> {
    let (_, section) = DOCUMENTATION.split_once("//! # Versions").expect("there is a section");
    let lines = section.lines().skip(1).take_while(|line| !line.starts_with("//! # "));
    lines
        .filter_map(|line| line.strip_prefix("//! | `"))
        .map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
            let (name, version) = (cells.next(), cells.next());
            (name.expect("a row has cells"), version.expect("a row has a version"))
        })
        .collect()
}

/// The crates that lines of the snapshot name, but for the standard library.
fn named(snapshot: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    for (at, _) in snapshot.match_indices("::") {
        let before = &snapshot[..at];
        let begin = before.rfind(|c| !is_name(c)).map_or(0, |index| index + 1);
        let is_first = !before[..begin].ends_with("::");
        let name = &before[begin..];
        if is_first && name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "std" {
            names.insert(name);
        }
    }
    let reexports = snapshot.lines().filter_map(|line| line.split_once("pub use "));
    names.extend(reexports.map(|(_, name)| name));
    names
}

#[test]
fn the_crates_in_the_public_api_are_those_of_the_table() {
    let snapshot = lines(&of_the_library());
    assert_eq!(named(&snapshot), table().into_keys().collect());
}

#[test]
fn the_versions_of_the_table_are_those_that_cargo_is_told() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("there are packages");
    let this = packages.iter().find(|package| package["name"] == "lockstepd");
    let dependencies = this.and_then(|this| this["dependencies"].as_array());
    let dependencies = dependencies.expect("there are dependencies");
    for (name, documented) in table() {
        let package = name.replace('_', "-");
        let dependency = dependencies
            .iter()
            .find(|dependency| dependency["kind"].is_null() && dependency["name"] == *package);
        let dependency = dependency.unwrap_or_else(|| panic!("{package} is no dependency"));
        let required = dependency["req"].as_str().expect("a dependency has a version");
        // What is compatible: the first number that is not zero, and those before it.
        let mut compatible = Vec::new();
        for number in required.trim_start_matches('^').split('.') {
            compatible.push(number);
            if number != "0" {
                break;
            }
        }
        assert_eq!(documented, compatible.join("."), "{name} is required as {required}");
    }
}

#[test]
fn crates_are_told_from_types_and_modules() {
    let snapshot = "pub fn Daemon::x(http::Request<axum::Router>) -> std::io::Error where S::Error: \
         hyper::service::Service\n#[cfg(feature = \"metrics\")] pub use prometheus_client\n";
    let expected = ["axum", "http", "hyper", "prometheus_client"];
    assert_eq!(named(snapshot), expected.into());
}
