//! Unit files and their drop-ins, as systemd reads them.
//!
//! # Source
//! `systemd.unit(5)` and `systemd.syntax(7)`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// A unit, put together from its file and its drop-ins.
#[derive(Debug, Default)]
pub(super) struct Unit {
    pub(super) name: String,
    assignments: Vec<Assignment>,
}

/// A line that sets something.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    section: String,
    key: String,
    pub(super) value: String,
    file: PathBuf,
    line: usize,
}

/// Where unit files are looked for; what is in the first outranks the others.
#[derive(Debug)]
pub(super) struct SearchPath(Vec<PathBuf>);

// === impl SearchPath ===

impl SearchPath {
    const SYSTEM: [&str; 5] = [
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ];
    const USER: [&str; 4] = [
        "/etc/systemd/user",
        "/run/systemd/user",
        "/usr/local/lib/systemd/user",
        "/usr/lib/systemd/user",
    ];

    /// The path of the system's manager, or that of a user; `SYSTEMD_UNIT_PATH` takes its place, as for systemd.
    pub(super) fn of(is_user: bool) -> Self {
        if let Some(path) = env::var_os("SYSTEMD_UNIT_PATH") {
            return Self(
                env::split_paths(&path).filter(|path| !path.as_os_str().is_empty()).collect(),
            );
        }
        if !is_user {
            return Self(Self::SYSTEM.map(PathBuf::from).into());
        }
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let or = |name: &str, default: &str| {
            env::var_os(name).map_or_else(|| home.join(default), PathBuf::from)
        };
        let own = [or("XDG_CONFIG_HOME", ".config"), or("XDG_DATA_HOME", ".local/share")];
        let own = own.map(|directory| directory.join("systemd/user"));
        Self(own.into_iter().chain(Self::USER.map(PathBuf::from)).collect())
    }

    /// The directories, for who is told that nothing was found in them.
    pub(super) fn shown(&self) -> String {
        let directories: Vec<_> = self.0.iter().map(|path| path.display().to_string()).collect();
        directories.join(", ")
    }

    /// Reads a unit, if there is a file for it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Unit>> {
        let names = names(name);
        let candidates =
            names.iter().flat_map(|name| self.0.iter().map(move |directory| directory.join(name)));
        let Some(main) = candidates.into_iter().find(|path| path.exists()) else { return Ok(None) };
        let mut unit = Unit { name: name.to_owned(), assignments: Vec::new() };
        unit.add(&main)?;
        for drop_in in self.drop_ins(name)? {
            unit.add(&drop_in)?;
        }
        Ok(Some(unit))
    }

    /// The drop-ins of a unit, in the order of their names. Of two with one name that in the first directory counts.
    fn drop_ins(&self, name: &str) -> io::Result<impl Iterator<Item = PathBuf>> {
        let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for directory in &self.0 {
            for name in names(name).iter().chain(&prefixes(name)) {
                let entries = match fs::read_dir(directory.join(format!("{name}.d"))) {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                for entry in entries {
                    let path = entry?.path();
                    let name = path.file_name().unwrap_or_default().to_owned();
                    if name.as_encoded_bytes().ends_with(b".conf") {
                        files.entry(name).or_insert(path);
                    }
                }
            }
        }
        Ok(files.into_values())
    }
}

/// The name of a unit, and that of its template.
fn names(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    if let (Some((prefix, instance)), Some((_, kind))) =
        (name.split_once('@'), name.rsplit_once('.'))
    {
        if !instance.starts_with('.') {
            names.push(format!("{prefix}@.{kind}"));
        }
    }
    names
}

/// The names under which several units have drop-ins together: the kind, and what ends with a hyphen.
fn prefixes(name: &str) -> Vec<String> {
    let Some((stem, kind)) = name.rsplit_once('.') else { return Vec::new() };
    let stem = stem.split('@').next().unwrap_or(stem);
    let hyphens = stem.match_indices('-').map(|(at, _)| format!("{}.{kind}", &stem[..=at]));
    hyphens.chain([kind.to_owned()]).collect()
}

// === impl Unit ===

impl Unit {
    fn add(&mut self, path: &Path) -> io::Result<()> {
        let text = fs::read_to_string(path)?;
        let mut section = String::new();
        let mut continued: Option<(usize, String)> = None;
        for (at, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            // A comment in the middle of a continued line is left out.
            if trimmed.starts_with(['#', ';']) || (trimmed.is_empty() && continued.is_none()) {
                continue;
            }
            let (begin, before) = continued.take().unwrap_or((at, String::new()));
            if let Some(more) = line.strip_suffix('\\') {
                continued = Some((begin, before + more + " "));
                continue;
            }
            let whole = before + line;
            let whole = whole.trim();
            if let Some(name) = whole.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut section);
            } else if let Some((key, value)) = whole.split_once('=') {
                self.assignments.push(Assignment {
                    section: section.clone(),
                    key: key.trim().to_owned(),
                    value: value.trim().to_owned(),
                    file: path.to_owned(),
                    line: begin + 1,
                });
            }
        }
        Ok(())
    }

    /// The values of a setting that is a list: an empty one takes back those before it.
    pub(super) fn all(&self, section: &str, key: &str) -> Vec<&Assignment> {
        let mut values = Vec::new();
        for assignment in &self.assignments {
            if assignment.section == section && assignment.key == key {
                if assignment.value.is_empty() {
                    values.clear();
                } else {
                    values.push(assignment);
                }
            }
        }
        values
    }

    /// The value of a setting that has one: the last.
    pub(super) fn last(&self, section: &str, key: &str) -> Option<&Assignment> {
        self.all(section, key).pop()
    }

    /// Tells whether a setting is on.
    pub(super) fn is_on(&self, key: &str) -> bool {
        let value = self.last("Service", key).map(|assignment| assignment.value.as_str());
        matches!(value, Some("yes" | "true" | "on" | "1"))
    }

    /// Replaces what stands for the unit's name and for directories.
    pub(super) fn expanded(&self, text: &str) -> String {
        let stem = self.name.rsplit_once('.').map_or(self.name.as_str(), |(stem, _)| stem);
        let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
        let credentials = format!("/run/credentials/{}", self.name);
        let mut expanded = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                expanded.push(character);
                continue;
            }
            match characters.next() {
                Some('i' | 'I') => expanded += instance,
                Some('p' | 'P') => expanded += prefix,
                Some('n') => expanded += &self.name,
                Some('N') => expanded += stem,
                Some('t') => expanded += "/run",
                Some('E') => expanded += "/etc",
                Some('S') => expanded += "/var/lib",
                Some('d') => expanded += &credentials,
                Some('%') | None => expanded.push('%'),
                Some(other) => expanded.extend(['%', other]),
            }
        }
        expanded
    }
}

// === impl Assignment ===

impl Assignment {
    /// Where it stands.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

/// Splits a line into words, as `Environment=` and `ExecStart=` are.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => word.get_or_insert_default().extend(characters.next()),
            (end, Some(begin)) if end == begin => quote = None,
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (space, None) if space.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(files: &[(&str, &str)], name: &str) -> Unit {
        let directory = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let path = SearchPath(["etc", "usr"].map(|name| directory.path().join(name)).into());
        path.read(name).unwrap().expect("there is such a unit")
    }

    fn values(unit: &Unit, key: &str) -> Vec<String> {
        unit.all("Service", key).into_iter().map(|assignment| assignment.value.clone()).collect()
    }

    #[test]
    fn an_empty_assignment_takes_back_those_before_it() {
        let unit = unit(
            &[
                ("usr/x.service", "[Service]\nExecStart=/a\nType=notify\n"),
                ("etc/x.service.d/b.conf", "[Service]\nExecStart=\nExecStart=/b\n"),
            ],
            "x.service",
        );
        assert_eq!(values(&unit, "ExecStart"), ["/b"]);
        assert_eq!(unit.last("Service", "Type").unwrap().value, "notify");
    }

    #[test]
    fn of_two_drop_ins_with_one_name_the_first_directorys_counts() {
        let unit = unit(
            &[
                ("usr/x.service", "[Service]\n"),
                ("usr/x.service.d/a.conf", "[Service]\nType=simple\n"),
                ("etc/x.service.d/a.conf", "[Service]\nType=notify\n"),
                ("usr/service.d/b.conf", "[Service]\nUser=all\n"),
            ],
            "x.service",
        );
        assert_eq!(values(&unit, "Type"), ["notify"]);
        assert_eq!(values(&unit, "User"), ["all"]);
    }

    #[test]
    fn an_instance_has_the_file_and_the_drop_ins_of_its_template() {
        let unit = unit(
            &[
                ("usr/x-y@.service", "[Service]\nEnvironment=A=/etc/%i.toml\n"),
                ("etc/x-y@one.service.d/a.conf", "[Service]\nUser=one\n"),
                ("etc/x-y@.service.d/b.conf", "[Service]\nGroup=all\n"),
                ("etc/x-.service.d/c.conf", "[Service]\nNice=1\n"),
            ],
            "x-y@one.service",
        );
        for (key, value) in [("User", "one"), ("Group", "all"), ("Nice", "1")] {
            assert_eq!(values(&unit, key), [value]);
        }
        assert_eq!(unit.expanded(&values(&unit, "Environment")[0]), "A=/etc/one.toml");
    }

    #[test]
    fn lines_go_on_behind_a_backslash_and_comments_are_left_out() {
        let unit = unit(
            &[(
                "usr/x.service",
                "[Service]\nExecStart=/a \\\n# not this\n  --b \\\n  c\nType=notify\n",
            )],
            "x.service",
        );
        assert_eq!(words(&values(&unit, "ExecStart")[0]), ["/a", "--b", "c"]);
        assert_eq!(values(&unit, "Type"), ["notify"]);
    }

    #[test]
    fn quotation_marks_keep_a_word_together() {
        assert_eq!(
            words(r#"A=1 "B=2 3" 'C="4"' D=\ 5 """#),
            ["A=1", "B=2 3", "C=\"4\"", "D= 5", ""]
        );
    }
}
