//! Settings in the configuration file, and in the files that are dropped in beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::mistakes::Mistakes;
use super::setting::Setting;
use super::settings::{Origin, Settings};
use super::unknown::{is_section, unknown};
use super::value::Given;

/// The configuration file, unless another is named.
pub(crate) const DEFAULT_FILE: &str = "/etc/lockstepd/lockstepd.toml";

/// Where to find what stands in a file.
struct Text<'a> {
    path: &'a Path,
    text: &'a str,
}

/// Reads the file that was named, or the default one if it exists, and then each `*.toml` in the directory of the same
/// name with `.d` behind it, in the order of their names; answers which were there.
pub(super) fn read(
    named: Option<PathBuf>,
    settings: &mut Settings,
    mistakes: &mut Mistakes,
) -> Vec<PathBuf> {
    let is_named = named.is_some();
    let main = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let mut files = Vec::new();
    let dropped_in = dropped_in(&main, mistakes);
    for (path, has_to_be_there) in
        [(main, is_named)].into_iter().chain(dropped_in.into_iter().map(|path| (path, true)))
    {
        match fs::read_to_string(&path) {
            Ok(text) => {
                parse(&path, &text, settings, mistakes);
                files.push(path);
            }
            Err(error) if !has_to_be_there && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => mistakes.add(format!("cannot read {}: {error}", path.display())),
        }
    }
    files
}

/// The files beside `main`, in the order in which they count.
fn dropped_in(main: &Path, mistakes: &mut Mistakes) -> Vec<PathBuf> {
    let mut directory = OsString::from(main);
    directory.push(".d");
    let directory = PathBuf::from(directory);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            mistakes.add(format!("cannot list {}: {error}", directory.display()));
            return Vec::new();
        }
    };
    let paths = entries.filter_map(|entry| match entry {
        Ok(entry) => Some(entry.path()),
        Err(error) => {
            mistakes.add(format!("cannot list {}: {error}", directory.display()));
            None
        }
    });
    // An editor's own files begin with a dot, and end otherwise.
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.ends_with(b".toml") && !name.starts_with(b".")
    };
    let mut paths: Vec<_> = paths.filter(is_ours).collect();
    paths.sort();
    // What is no file might never end.
    paths.retain(|path| {
        let is_file = !path.exists() || path.is_file();
        if !is_file {
            mistakes.add(format!("cannot read {}: it is no file", path.display()));
        }
        is_file
    });
    paths
}

/// Sets what a file says; mistakes have its path, line and column, and are told from the top.
fn parse(path: &Path, text: &str, settings: &mut Settings, mistakes: &mut Mistakes) {
    let file = Text { path, text };
    let (table, errors) = DeTable::parse_recoverable(text);
    // By their places; and the lines that are no TOML, as what follows from one mistake in a line is none of its own.
    let mut told = BTreeMap::new();
    let mut broken = BTreeSet::new();
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        if broken.insert(file.position(at).0) {
            told.insert(at, file.no_toml(at, error.message()));
        }
    }
    let mut found = Vec::new();
    collect(table.get_ref(), "", &mut found);
    for Found { key, at, value } in found {
        let (line, _) = file.position(at);
        if broken.contains(&line) {
            continue;
        }
        let Some(setting) = Settings::table().find(|setting| setting.key == key) else {
            told.insert(at, file.mistake(at, &unknown(&key, value.get_ref())));
            continue;
        };
        let (given, written) = (Given::Toml(value.get_ref()), text[value.span()].to_owned());
        let set = settings.set(setting, given, written, Origin::File(path.to_owned(), line));
        let Err(why) = set else { continue };
        let mut wrong = wrong_items(setting, value);
        if wrong.is_empty() {
            wrong.push((value.span().start, why));
        }
        let wrong = wrong.into_iter();
        told.extend(wrong.map(|(at, why)| (at, file.mistake(at, &format!("{key}: {why}")))));
    }
    for mistake in told.into_values() {
        mistakes.add(mistake);
    }
}

/// The items of a list that cannot be understood, each with its place.
fn wrong_items(setting: &Setting, value: &Spanned<DeValue>) -> Vec<(usize, String)> {
    let items = value.get_ref().as_array().into_iter().flatten();
    let wrong = items.filter_map(|item| {
        let alone = DeValue::Array(DeArray::from_iter([item.clone()]));
        Some((item.span().start, setting.check(Given::Toml(&alone)).err()?))
    });
    wrong.collect()
}

/// A key with its sections, the place where it stands, and its value.
struct Found<'a> {
    key: String,
    at: usize,
    value: &'a Spanned<DeValue<'a>>,
}

/// The keys of a table and of the sections in it.
fn collect<'a>(table: &'a DeTable<'a>, section: &str, found: &mut Vec<Found<'a>>) {
    for (name, value) in table {
        let shown = shown(name.get_ref());
        let key = match section {
            "" => shown,
            section => format!("{section}.{shown}"),
        };
        match value.get_ref() {
            DeValue::Table(table) if is_section(&key) => collect(table, &key, found),
            _ => found.push(Found { key, at: name.span().start, value }),
        }
    }
}

/// A name as it stands in a file: in quotation marks if it is not a plain one, so that a dot in it is none between names.
fn shown(name: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
    if name.chars().all(is_plain) {
        name.to_owned()
    } else {
        let escaped = name.chars().map(|character| match character {
            '"' | '\\' => format!("\\{character}"),
            control if control.is_control() => control.escape_default().to_string(),
            other => other.to_string(),
        });
        format!("\"{}\"", escaped.collect::<String>())
    }
}

// === impl Text ===

impl Text<'_> {
    /// The line and column of a place, from 1; a column counts characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let at = at.min(self.text.len());
        let before = String::from_utf8_lossy(&self.text.as_bytes()[..at]);
        let begin = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, before[begin..].chars().count() + 1)
    }

    fn mistake(&self, at: usize, what: &str) -> String {
        let (line, column) = self.position(at);
        format!("{}:{line}:{column}: {what}", self.path.display())
    }

    /// What is said of a place where the text is no TOML.
    fn no_toml(&self, at: usize, message: &str) -> String {
        let message = message.replace('\n', " ");
        let before = self.text.get(..at).unwrap_or(self.text);
        let begin = before.rfind('\n').map_or(0, |end| end + 1);
        let line = self.text[begin..].lines().next().unwrap_or_default();
        if message == "duplicate key" && line.starts_with('[') {
            let told =
                format!("{message} ({line} begins further up, and has all of its keys there)");
            return self.mistake(at, &told);
        }
        let name = line.split_once('=').map(|(name, _)| name.trim());
        // Without quotation marks an octal number is no TOML.
        let mode = Settings::table().find(|setting| setting.name() == "socket_mode");
        let hint = mode.filter(|mode| name == Some(mode.name())).map_or("", |mode| mode.hint);
        let named = name.map(|name| format!("{name}: ")).unwrap_or_default();
        let section = before[..begin].lines().rev().find(|line| line.starts_with('['));
        let section = section.filter(|_| !line.starts_with('['));
        let section = section.map(|name| format!(" (in {name})")).unwrap_or_default();
        self.mistake(at, &format!("{named}{message}{hint}{section}"))
    }
}

#[cfg(test)]
mod tests;
