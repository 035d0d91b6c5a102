//! The source has rooms, and each uses only what the map in the documentation of the library lets it use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::DOCUMENTATION;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// What may be used in every room: what stands in `lib.rs` itself.
const EVERYWHERE: [&str; 2] = ["BoxError", "prometheus_client"];

/// The map: each room, and what it may use.
fn rooms() -> BTreeMap<&'static str, Vec<&'static str>> {
    let (_, map) = DOCUMENTATION.split_once("//! # Map").expect("there is a map");
    let rows = map.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let cells = rows.map(|row| row.trim_end_matches(" |").split(" | ").collect::<Vec<_>>());
    cells
        .map(|cells| match *cells {
            [room, _, uses] => (room.trim_end_matches('`'), uses.split(", ").collect()),
            _ => panic!("a row of the map has three cells: {cells:?}"),
        })
        .collect()
}

pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    paths
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The first names of the paths that begin with `crate::`, comments apart; an empty one stands for what would
/// hide them: braces, another name for the crate, and a way up by two steps.
fn used(source: &str) -> Vec<String> {
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    // A comment has a space before it, and a URL in a string has none.
    let code = lines.map(|line| line.split(" //").next().unwrap_or_default());
    let code = code.collect::<Vec<_>>().join("\n");
    let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
    let paths = code.split("crate::").skip(1);
    let names = paths.map(|path| path.chars().take_while(is_name).collect());
    let hiding = ["super::super::", "crate as ", "crate ::"];
    names.chain(hiding.iter().flat_map(|way| code.matches(way)).map(|_| String::new())).collect()
}

#[test]
fn every_room_of_the_map_is_a_folder_and_every_folder_a_room() {
    let documented: Vec<_> = rooms().into_keys().collect();
    let entries = fs::read_dir(SOURCE).expect("the folder can be read").flatten();
    let mut folders: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("names are UTF-8"))
        // The program, and pages of the documentation.
        .filter(|name| !["bin", "guide"].contains(&&**name))
        .collect();
    folders.sort_unstable();
    assert_eq!(documented, folders);
}

#[test]
fn no_room_uses_what_its_row_of_the_map_does_not_name() {
    for (room, allowed) in &rooms() {
        let folder = Path::new(SOURCE).join(room);
        // The model of a connection has a whole hand-over in it.
        let files = rust_files(&folder)
            .into_iter()
            .filter(|file| !file.starts_with(folder.join("connection/model")));
        for file in files {
            let source = fs::read_to_string(&file).expect("the file can be read");
            for name in used(&source) {
                assert!(
                    name == *room
                        || allowed.contains(&&*name)
                        || allowed.contains(&"all")
                        || EVERYWHERE.contains(&&*name),
                    "{} uses {name}, which `{room}` may not",
                    file.display(),
                );
            }
        }
    }
}

#[test]
fn whatever_a_room_may_use_stands_below_it() {
    let (_, map) = DOCUMENTATION.split_once("//! # Map").expect("there is a map");
    let rooms = rooms();
    let place = |room: &str| map.find(&format!("| `{room}` |")).expect("it is in the map");
    for (room, uses) in &rooms {
        for used in uses.iter().filter(|used| rooms.contains_key(**used)) {
            assert!(place(room) < place(used), "{room} may use {used}, which stands above it");
        }
    }
}

#[test]
fn uses_are_found_in_code_and_not_in_comments() {
    let source =
        "//! [`crate::admin`]\nuse crate::log::flush;\nlet x = crate::daemon::Y; // crate::http";
    assert_eq!(used(source), ["log", "daemon"]);
    assert_eq!(used("use crate::{log, http};"), [""]);
    assert_eq!(used("let x = (\"http://x\", crate::daemon::Y);"), ["daemon"]);
    assert_eq!(used("super::super::daemon::Y"), [""]);
    assert_eq!(used("use crate as ours;"), [""]);
}
