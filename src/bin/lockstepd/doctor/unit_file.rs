//! Unit files and their drop-ins, as systemd reads them.
//!
//! # Source
//! `systemd.unit(5)` and `systemd.syntax(7)`.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// A unit, put together from its file and its drop-ins.
#[derive(Debug, Default)]
pub(super) struct Unit {
    pub(super) name: String,
    /// Whether its file is empty, or /dev/null: systemd then refuses to start it.
    pub(super) is_masked: bool,
    pub(super) directories: Directories,
    assignments: Vec<Assignment>,
}

/// What stands for directories in a unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Directories {
    pub(super) runtime: String,
    pub(super) configuration: String,
    pub(super) state: String,
    pub(super) home: String,
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

// === impl Unit ===

impl Unit {
    pub(super) fn new(name: String, is_masked: bool, directories: Directories) -> Self {
        Self { name, is_masked, directories, assignments: Vec::new() }
    }

    /// Adds what a file says. As for systemd, one that is a device says nothing.
    ///
    /// # Errors
    /// When it cannot be read; names it.
    pub(super) fn add(&mut self, path: &Path) -> io::Result<()> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if fs::metadata(path).map_err(named)?.is_file() {
            self.parse(path, &String::from_utf8_lossy(&fs::read(path).map_err(named)?));
        }
        Ok(())
    }

    fn parse(&mut self, path: &Path, text: &str) {
        let mut section = String::new();
        let mut continued: Option<(usize, String)> = None;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // What goes on at the end of the file ends there.
        for (at, line) in text.lines().chain([""]).enumerate() {
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
    }

    /// The values of a setting that is a list: an empty one takes back those before it.
    pub(super) fn all(&self, section: &str, key: &str) -> Vec<&Assignment> {
        self.all_of(section, &[key])
    }

    /// The values of a setting that has several names.
    pub(super) fn all_of(&self, section: &str, keys: &[&str]) -> Vec<&Assignment> {
        let mut values = Vec::new();
        for assignment in &self.assignments {
            if assignment.section == section && keys.contains(&&*assignment.key) {
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
        let Directories { runtime, configuration, state, home } = &self.directories;
        let credentials = format!("{runtime}/credentials/{}", self.name);
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
                Some('t') => expanded += runtime,
                Some('E') => expanded += configuration,
                Some('S') => expanded += state,
                Some('h') => expanded += home,
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
    use crate::doctor::search_path::SearchPath;

    fn unit(files: &[(&str, &str)], name: &str) -> Unit {
        let directory = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let path =
            SearchPath::in_directories(["etc", "usr"].map(|name| directory.path().join(name)));
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
    fn a_line_that_goes_on_ends_with_the_file_and_bytes_that_are_no_text_do_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        let text = b"[Service]\n\xff\xfe=\x00\nType=notify \\";
        fs::write(directory.path().join("x.service"), text).unwrap();
        let path = SearchPath::in_directories([directory.path().to_owned()]);
        let unit = path.read("x.service").unwrap().unwrap();
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
