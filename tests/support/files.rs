//! Files inside a machine, seen from outside.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, open, openat2, symlinkat},
    io::Errno,
};

/// The root directory of a machine, through its PID 1.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    path: PathBuf,
}

// === impl Root ===

impl Root {
    pub(crate) fn of(pid: u32) -> Self {
        let path = format!("/proc/{pid}/root").into();
        Self { path }
    }

    /// The path by which this process reaches `inside`, for Unix sockets say.
    ///
    /// Absolute symbolic links on the way lead to the outside; the other functions here know better.
    pub(crate) fn outside(&self, inside: &str) -> PathBuf {
        self.path.join(inside.trim_start_matches('/'))
    }

    /// Writes a file, and the directories above it where they are missing.
    #[track_caller]
    pub(crate) fn write(&self, inside: &str, content: impl AsRef<[u8]>) {
        self.create(inside)
            .and_then(|mut file| file.write_all(content.as_ref()))
            .unwrap_or_else(|error| panic!("cannot write {inside} in the machine: {error}"));
    }

    /// Reads a file, which has to be text.
    #[track_caller]
    pub(crate) fn read(&self, inside: &str) -> String {
        let mut text = String::new();
        self.open(inside, OFlags::RDONLY, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|file| File::from(file).read_to_string(&mut text))
            .unwrap_or_else(|error| panic!("cannot read {inside} in the machine: {error}"));
        text
    }

    /// Makes a symbolic link, and the directories above it where they are missing.
    #[track_caller]
    pub(crate) fn link(&self, target: &str, inside: &str) {
        let path = Path::new(inside);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            panic!("{inside} cannot be a link")
        };
        self.directory(parent)
            .and_then(|parent| Ok(symlinkat(target, parent, name)?))
            .unwrap_or_else(|error| panic!("cannot link {inside} in the machine: {error}"));
    }

    /// Whether there is anything at `inside`.
    pub(crate) fn exists(&self, inside: &str) -> bool {
        self.open(inside, OFlags::PATH, Mode::empty()).is_ok()
    }

    /// Copies a file from outside, with its mode.
    #[track_caller]
    pub(crate) fn copy_in(&self, outside: impl AsRef<Path>, inside: &str) {
        let outside = outside.as_ref();
        let copy = || {
            let mut from = File::open(outside)?;
            let mut to = self.create(inside)?;
            io::copy(&mut from, &mut to)?;
            to.set_permissions(fs::Permissions::from_mode(from.metadata()?.mode()))
        };
        copy().unwrap_or_else(|error| {
            panic!("cannot copy {} to {inside} in the machine: {error}", outside.display())
        });
    }

    fn create(&self, inside: &str) -> io::Result<File> {
        if let Some(parent) = Path::new(inside).parent() {
            self.directory(parent)?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        Ok(self.open(inside, flags, Mode::from_raw_mode(0o644))?.into())
    }

    fn directory(&self, inside: &Path) -> io::Result<OwnedFd> {
        let open = || self.open(inside, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        match (open(), inside.parent(), inside.file_name()) {
            (Err(Errno::NOENT), Some(parent), Some(name)) => {
                mkdirat(self.directory(parent)?, name, Mode::from_raw_mode(0o755))?;
                Ok(open()?)
            }
            (result, ..) => Ok(result?),
        }
    }

    /// Opens a path as a process inside would: absolute symbolic links and `..` stay in the machine.
    fn open(&self, inside: impl AsRef<Path>, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(&self.path, directory, Mode::empty())?;
        loop {
            let flags = flags | OFlags::CLOEXEC;
            match openat2(&root, inside.as_ref(), flags, mode, ResolveFlags::IN_ROOT) {
                // Somebody renamed or mounted something while `..` was looked up.
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
    }
}
