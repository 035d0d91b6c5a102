//! What the documentation promises of the package: its dependencies, the Rust they need, its scripts.

#[path = "../support/mod.rs"]
mod support;

mod api;
mod catalog;
mod completions;
mod documents;
mod manual;
mod packages;
mod rooms;
mod units;

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

const DOCUMENTATION: &str = include_str!("../../src/lib.rs");
const LIBRARY_PAGE: &str = include_str!("../../docs/library.md");

/// What cargo prints.
#[track_caller]
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--locked", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo can be executed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("cargo prints text")
}

fn metadata() -> Value {
    let platform = "--filter-platform=x86_64-unknown-linux-gnu";
    let text = cargo(&["metadata", "--format-version=1", platform]);
    serde_json::from_str(&text).expect("it is JSON")
}

/// The cells of a table's row that begins with `first`.
#[track_caller]
fn row(first: &str) -> Vec<&'static str> {
    let begin = format!("//! | {first} |");
    let line = DOCUMENTATION.lines().find(|line| line.starts_with(&begin));
    let line = line.unwrap_or_else(|| panic!("no row begins with {first}"));
    line.trim_start_matches("//! ").trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_documented_numbers_of_dependencies_are_true() {
    let page = LIBRARY_PAGE.split_whitespace().collect::<Vec<_>>().join(" ");
    for feature in ["", "axum", "log", "admin", "metrics", "proxy", "http2", "daemon", "tls"] {
        let name = if feature.is_empty() { "none".to_owned() } else { format!("`{feature}`") };
        let documented = *row(&name).last().expect("a row has cells");
        let tree = cargo(&[
            "tree",
            "--edges=normal",
            "--prefix=none",
            "--target=x86_64-unknown-linux-gnu",
            "--no-default-features",
            "--features",
            feature,
        ]);
        let packages: BTreeSet<_> =
            tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
        let others = packages.iter().filter(|package| !package.starts_with("lockstepd ")).count();
        assert_eq!(others.to_string(), documented, "feature {name}: {packages:#?}");
        let told = match feature {
            "" => format!("{others} without features"),
            _ => format!("{others} with {name}"),
        };
        assert!(feature == "daemon" || page.contains(&told), "docs/library.md: {told}");
    }
}

#[test]
fn every_direct_dependency_is_justified_in_the_documentation() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("there are packages");
    let this = packages.iter().find(|package| package["name"] == "lockstepd");
    let dependencies = this.and_then(|this| this["dependencies"].as_array());
    let dependencies = dependencies.expect("there are dependencies").iter();
    let begin = DOCUMENTATION.find("# Dependencies").expect("there is such a section");
    let rows = DOCUMENTATION[begin..].lines().skip(1).take_while(|line| !line.contains("# "));
    let firsts: Vec<_> = rows.filter_map(|line| line.split('|').nth(1)).collect();
    let text = firsts.join(",").replace('\\', "");
    let documented: BTreeSet<_> = text.split([',', ' ']).collect();
    for dependency in dependencies.filter(|dependency| dependency["kind"].is_null()) {
        let name = dependency["name"].as_str().expect("a dependency has a name");
        assert!(documented.contains(name), "{name} is not among {documented:?}");
    }
}

/// Those that the feature `tls` needs a newer Rust for, and which.
const NEWER: (&[&str], [u32; 2]) = (&["s2n-tls", "s2n-tls-sys", "s2n-tls-tokio"], [1, 91]);

#[test]
fn no_dependency_needs_a_newer_rust_than_we_say() {
    let version = |text: &str| -> Vec<u32> {
        text.split('.').map(|part| part.parse().expect("a version is of numbers")).collect()
    };
    let ours = version(env!("CARGO_PKG_RUST_VERSION"));
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("there are packages");
    let newer: Vec<_> = packages
        .iter()
        .filter_map(|package| Some((&package["name"], package["rust_version"].as_str()?)))
        .filter(|(name, needs)| {
            let (of_tls, with_tls) = NEWER;
            let is_of_tls = of_tls.iter().any(|newer| *name == newer);
            &version(needs)[..2] > if is_of_tls { &with_tls[..] } else { &ours[..] }
        })
        .collect();
    assert!(newer.is_empty(), "ours is {ours:?}, but {newer:?}");
}
