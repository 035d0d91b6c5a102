//! The application behind a proxy: benches/peers/rust/src/bin/upstream.rs.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Child, Processor, Trouble, cargo, target};

/// The application, while it runs.
#[derive(Debug)]
pub(crate) struct Application {
    child: Child,
    directory: TempDir,
}

const PATIENCE: Duration = Duration::from_secs(10);

// === impl Application ===

impl Application {
    /// Builds the program.
    pub(crate) fn program() -> Result<PathBuf, Trouble> {
        let directory = target().join("peers/rust");
        cargo("benches/peers/rust", &[], &directory, &[])?;
        Ok(directory.join("release/upstream"))
    }

    /// Starts it at a Unix socket in a directory of its own.
    pub(crate) fn start(program: &Path, processor: Processor) -> Result<Self, Trouble> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("application");
        let mut command = Command::new(program);
        command.arg(&socket).stdout(Stdio::null());
        let mut child = Child::start(command, processor)?;
        let deadline = Instant::now() + PATIENCE;
        while !socket.exists() {
            if child.has_ended() || Instant::now() > deadline {
                return Err("the application does not start".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        // nginx's worker is somebody else.
        for path in [directory.path(), &socket] {
            fs::set_permissions(path, Permissions::from_mode(0o777))?;
        }
        Ok(Self { child, directory })
    }

    pub(crate) fn child(&self) -> &Child {
        &self.child
    }

    /// Where files about it can be put; gone when it is.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("application")
    }
}
