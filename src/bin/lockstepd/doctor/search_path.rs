//! Where units are, and which files make one.
//!
//! # Source
//! `systemd.unit(5)`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::unit_file::{Directories, Unit};

/// Where unit files are looked for; what is in the first outranks the others.
#[derive(Debug)]
pub(super) struct SearchPath {
    path: Vec<PathBuf>,
    directories: Directories,
}

const SYSTEM: [&str; 8] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/etc/systemd/system",
    "/run/systemd/system",
    // What is made of quadlets is here.
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

// === impl SearchPath ===

impl SearchPath {
    /// The path of the system's manager, or that of a user; `SYSTEMD_UNIT_PATH` takes its place, as for systemd.
    pub(super) fn of(is_user: bool) -> Self {
        let (mut path, directories) = if is_user { user() } else { system() };
        if let Some(instead) = env::var_os("SYSTEMD_UNIT_PATH") {
            let named: Vec<_> =
                env::split_paths(&instead).filter(|path| !path.as_os_str().is_empty()).collect();
            // One that ends with a colon comes before the usual one.
            if !instead.as_encoded_bytes().ends_with(b":") {
                path.clear();
            }
            path.splice(..0, named);
        }
        Self { path, directories }
    }

    #[cfg(test)]
    pub(super) fn in_directories(path: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { path: path.into_iter().collect(), directories: system().1 }
    }

    /// The directories, for who is told that nothing was found in them.
    pub(super) fn shown(&self) -> String {
        let directories: Vec<_> = self.path.iter().map(|path| path.display().to_string()).collect();
        directories.join(", ")
    }

    /// Reads a unit, if there is a file for it. One that is another name of a unit is that unit.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Unit>> {
        let files = names(name);
        let mut candidates = files
            .iter()
            .flat_map(|name| self.path.iter().map(move |directory| directory.join(name)));
        let Some(main) = candidates.find(|path| is_unit(path)) else { return Ok(None) };
        let real = self.real_name(&main).unwrap_or_else(|| name.to_owned());
        let is_masked = fs::metadata(&main).is_ok_and(|file| !file.is_file() || file.len() == 0);
        let mut unit = Unit::new(real.clone(), is_masked, self.directories.clone());
        unit.add(&main)?;
        for drop_in in self.drop_ins(&real, name)? {
            unit.add(&drop_in)?;
        }
        Ok(Some(unit))
    }

    /// The name of the unit that a link in these directories leads to, if it is another one.
    fn real_name(&self, main: &Path) -> Option<String> {
        let target = fs::canonicalize(main).ok()?;
        let name = target.file_name()?.to_str()?;
        let is_ours = |directory: &PathBuf| {
            fs::canonicalize(directory).is_ok_and(|directory| target.parent() == Some(&directory))
        };
        let is_other = main.file_name()?.to_str()? != name && !name.contains('@');
        (is_other && self.path.iter().any(is_ours)).then(|| name.to_owned())
    }

    /// The drop-ins of a unit, in the order of their names. Of two with one name that in the first directory counts.
    fn drop_ins(&self, name: &str, alias: &str) -> io::Result<impl Iterator<Item = PathBuf>> {
        let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for directory in &self.path {
            for name in names(name).iter().chain(&names(alias)).chain(&prefixes(name)) {
                let directory = directory.join(format!("{name}.d"));
                let entries = match fs::read_dir(&directory) {
                    Ok(entries) => entries,
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                        ) =>
                    {
                        continue;
                    }
                    Err(error) => {
                        let told = format!("{}: {error}", directory.display());
                        return Err(io::Error::new(error.kind(), told));
                    }
                };
                for entry in entries {
                    let path = entry?.path();
                    let name = path.file_name().unwrap_or_default().to_owned();
                    if name.as_encoded_bytes().ends_with(b".conf") && is_unit(&path) {
                        files.entry(name).or_insert(path);
                    }
                }
            }
        }
        Ok(files.into_values())
    }
}

/// Tells whether there is what systemd reads, or what masks it: a file or a device, but no link that leads nowhere.
fn is_unit(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() || file.file_type().is_char_device())
}

fn system() -> (Vec<PathBuf>, Directories) {
    let [runtime, configuration, state, home] =
        ["/run", "/etc", "/var/lib", "/root"].map(str::to_owned);
    (SYSTEM.map(PathBuf::from).into(), Directories { runtime, configuration, state, home })
}

fn user() -> (Vec<PathBuf>, Directories) {
    let of = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let home = of("HOME").unwrap_or_else(|| "/".to_owned());
    let in_home =
        |name: &str, default: &str| of(name).unwrap_or_else(|| format!("{home}/{default}"));
    let (configuration, data) =
        (in_home("XDG_CONFIG_HOME", ".config"), in_home("XDG_DATA_HOME", ".local/share"));
    let state = in_home("XDG_STATE_HOME", ".local/state");
    let runtime = of("XDG_RUNTIME_DIR").unwrap_or_else(|| "/run".to_owned());
    let path = [
        format!("{configuration}/systemd/user"),
        "/etc/systemd/user".to_owned(),
        format!("{runtime}/systemd/user"),
        "/run/systemd/user".to_owned(),
        format!("{runtime}/systemd/generator"),
        format!("{data}/systemd/user"),
        "/usr/local/lib/systemd/user".to_owned(),
        "/usr/lib/systemd/user".to_owned(),
    ];
    (path.map(PathBuf::from).into(), Directories { runtime, configuration, state, home })
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn another_name_of_a_unit_is_that_unit_and_a_link_to_dev_null_masks_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("x.service"), "[Service]\n").unwrap();
        fs::create_dir(at("x.service.d")).unwrap();
        fs::write(at("x.service.d/a.conf"), "[Service]\nType=notify\n").unwrap();
        symlink("/nowhere", at("x.service.d/b.conf")).unwrap();
        symlink("x.service", at("web.service")).unwrap();
        symlink("/dev/null", at("masked.service")).unwrap();
        let path = SearchPath::in_directories([directory.path().to_owned()]);
        let web = path.read("web.service").unwrap().unwrap();
        assert_eq!((&*web.name, web.is_masked), ("x.service", false));
        assert_eq!(web.last("Service", "Type").unwrap().value, "notify");
        assert!(path.read("masked.service").unwrap().unwrap().is_masked);
    }
}
