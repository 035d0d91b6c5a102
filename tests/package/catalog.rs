//! packaging/catalog: what `journalctl -x` says of each event, and that it says nothing that is not so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::rooms::rust_files;

const CATALOG: &str = include_str!("../../packaging/catalog/lockstepd.catalog");
const IDS: &str = include_str!("../../src/log/message_id.rs");
const PAGE: &str = include_str!("../../docs/logging.md");
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// An entry of the catalog.
struct Entry {
    headers: BTreeMap<&'static str, &'static str>,
    text: &'static str,
}

/// The entries by their `MESSAGE_ID`s.
fn entries() -> BTreeMap<&'static str, Entry> {
    let mut entries = BTreeMap::new();
    for entry in CATALOG.split("\n-- ").skip(1) {
        let (id, rest) = entry.split_once('\n').expect("an entry has lines");
        let (headers, text) = rest.split_once("\n\n").unwrap_or((rest, ""));
        let headers = headers
            .lines()
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line} is no header")));
        let before = entries.insert(id, Entry { headers: headers.collect(), text: text.trim() });
        assert!(before.is_none(), "{id} is there twice");
    }
    entries
}

/// The `MESSAGE_ID`s of the source by the names of their constants.
fn ids() -> BTreeMap<&'static str, &'static str> {
    let constants = IDS.lines().filter_map(|line| line.strip_prefix("pub(crate) const "));
    constants
        .map(|line| {
            let (name, value) = line.split_once(": &str = ").expect("all are strings");
            (name, value.trim_matches(['"', ';']))
        })
        .collect()
}

/// The fields that an entry names, those that journald adds left out.
fn named(entry: &Entry) -> BTreeSet<String> {
    let is_name =
        |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let subject = entry.headers["Subject"];
    let parts = subject.split('@').skip(1).chain(entry.text.split('@').skip(1));
    parts.filter(is_name).filter(|name| !name.starts_with('_')).map(str::to_owned).collect()
}

/// For each constant, the fields of each event that is logged with it.
#[derive(Default)]
struct Events(Vec<(String, BTreeSet<String>)>);

impl<'ast> Visit<'ast> for Events {
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        if item.path.segments.first().is_some_and(|first| first.ident == "tracing") {
            self.0.extend(event(item.tokens.clone()));
        }
        visit::visit_macro(self, item);
    }
}

/// The constant and the fields of an event, if it has a `MESSAGE_ID`.
fn event(tokens: TokenStream) -> Option<(String, BTreeSet<String>)> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(it) if it.as_char() == ',');
    let mut id = None;
    let mut fields = BTreeSet::new();
    for argument in tokens.split(is_comma) {
        let mut words = argument.iter().filter_map(|token| match token {
            TokenTree::Ident(ident) => Some(ident.to_string()),
            _ => None,
        });
        match words.next() {
            Some(name) if name == "message_id" => id = words.next_back(),
            Some(name) => _ = fields.insert(name.to_uppercase()),
            None => {}
        }
    }
    Some((id?, fields))
}

fn events() -> Vec<(String, BTreeSet<String>)> {
    let mut events = Events::default();
    for file in rust_files(Path::new(SOURCE)) {
        let text = fs::read_to_string(&file).expect("the file can be read");
        let parsed =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        events.visit_file(&parsed);
    }
    events.0
}

#[test]
fn the_catalog_has_an_entry_for_each_message_id_and_none_is_left_over() {
    let of_source: BTreeSet<_> = ids().into_values().collect();
    assert!(of_source.len() > 10, "{of_source:?}");
    let of_catalog: BTreeSet<_> = entries().into_keys().collect();
    assert_eq!(of_catalog, of_source);
    let (_, table) = PAGE.split_once("| `journalctl MESSAGE_ID=…` |").expect("there is a table");
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| `"));
    let of_readme: BTreeSet<_> = rows.map(|row| row.split('`').next().unwrap()).collect();
    assert_eq!(of_readme, of_source);
}

#[test]
fn every_entry_says_what_happened_and_what_can_be_done() {
    for (id, Entry { headers, text }) in entries() {
        let names: Vec<_> = headers.keys().copied().collect();
        assert_eq!(names, ["Defined-By", "Documentation", "Subject"], "{id}");
        assert_eq!(headers["Defined-By"], "lockstepd", "{id}");
        assert!(text.lines().count() > 3, "{id}: {text}");
        let has_remedy = text.contains("\n    ") || text.contains("Nothing has to be done");
        assert!(has_remedy, "{id} has neither a command nor a word that none is needed: {text}");
        assert!(text.lines().all(|line| line.chars().count() < 80), "{id}: {text}");
    }
}

#[test]
fn every_event_has_the_fields_that_its_entry_names() {
    let entries = entries();
    let mut logged = BTreeSet::new();
    for (constant, fields) in events() {
        // Tests of the log have identifiers of their own.
        let Some(id) = ids().get(&*constant).copied() else { continue };
        logged.insert(id);
        let named = named(&entries[id]);
        assert!(named.is_subset(&fields), "{constant} has {fields:?}, its entry names {named:?}");
    }
    assert_eq!(logged, ids().into_values().collect(), "each is logged somewhere");
}
