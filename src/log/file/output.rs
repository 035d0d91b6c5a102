//! A file that lines are appended to: a regular one, a pipe, a terminal, or a stream that this process was given.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};

/// The most that a pipe takes in one piece, `PIPE_BUF`: what is written above it may have other writers' lines in it.
pub(super) const PIPE_MAX: usize = 4096;

/// The most that is written to a regular file at once.
const FILE_MAX: usize = 1 << 20;

/// How long a write waits for the reader of a pipe before it is tried anew.
const READER_TIMEOUT: Duration = Duration::from_millis(100);

/// Where a file's permissions begin; the umask, which units have at 0077, takes away from them.
const MODE: u32 = 0o640;

/// What lines are written to.
pub(crate) trait Output: Sized + Send + 'static {
    /// How many bytes a write has at most.
    fn limit(&self) -> usize;

    /// Writes some of `bytes`, from their beginning. [`io::ErrorKind::TimedOut`]: a reader takes nothing now.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// What is to be written to instead, if its path has another file by now, or none.
    fn renewed(&self) -> Option<io::Result<Self>>;

    /// How it is called.
    fn path(&self) -> &Path;
}

/// A file that is open for appending.
#[derive(Debug)]
pub(crate) struct OpenFile {
    path: PathBuf,
    file: File,
    /// A write may wait for a reader.
    has_reader: bool,
    /// Its device and inode; none for a stream of this process, which is never opened anew.
    identity: Option<(u64, u64)>,
}

// === impl OpenFile ===

impl OpenFile {
    /// Opens a file for appending, and makes it if there is none. A file that does not end with a line's end gets one:
    /// the disk was full, or the machine went down, while its last line was written.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if let Some(stream) = stream_of(path) {
            let file = File::from(stream?);
            let has_reader = !file.metadata()?.is_file();
            return Ok(Self { path: path.to_owned(), file, has_reader, identity: None });
        }
        let before = fs::metadata(path);
        let file = if before.is_ok_and(|it| it.file_type().is_fifo()) {
            open_fifo(path)
        } else {
            open_file(path)
        }?;
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.len() > 0 {
            let mut last = [0];
            // One that cannot be read is appended to as it is.
            if file.read_exact_at(&mut last, metadata.len() - 1).is_ok() && last != *b"\n" {
                (&file).write_all(b"\n")?;
            }
        }
        let identity = Some(identity(&metadata));
        Ok(Self { path: path.to_owned(), file, has_reader: !metadata.is_file(), identity })
    }

    /// Finds out whether a file could be opened, without making it.
    ///
    /// # Errors
    /// When it could not.
    pub(crate) fn check(path: &Path) -> io::Result<()> {
        if let Some(stream) = stream_of(path) {
            return stream.map(drop);
        }
        match fs::metadata(path) {
            Ok(it) if it.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) => Ok(access(path, Access::WRITE_OK)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
                Ok(access(directory.unwrap_or(Path::new(".")), Access::WRITE_OK | Access::EXEC_OK)?)
            }
            Err(error) => Err(error),
        }
    }
}

impl Output for OpenFile {
    fn limit(&self) -> usize {
        if self.has_reader { PIPE_MAX } else { FILE_MAX }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.has_reader {
            // There is room for PIPE_MAX bytes then: the write does not block, whoever else has this pipe.
            let mut waits = [PollFd::from_borrowed_fd(self.file.as_fd(), PollFlags::OUT)];
            let timeout = Timespec::try_from(READER_TIMEOUT).map_err(io::Error::other)?;
            if poll(&mut waits, Some(&timeout))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        match self.file.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            written => written,
        }
    }

    fn renewed(&self) -> Option<io::Result<Self>> {
        let opened = self.identity?;
        let now = fs::metadata(&self.path).ok().map(|metadata| identity(&metadata));
        (now != Some(opened)).then(|| Self::open(&self.path))
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// A copy of this process's standard output or error, if that is what the path stands for. By the path, one that is a
/// socket, as the journal's is, could not be opened, nor could another user's.
fn stream_of(path: &Path) -> Option<io::Result<OwnedFd>> {
    match path.to_str()? {
        "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => {
            Some(io::stdout().as_fd().try_clone_to_owned())
        }
        "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => {
            Some(io::stderr().as_fd().try_clone_to_owned())
        }
        _ => None,
    }
}

/// Opened for reading as well a FIFO needs no reader, and none of its lines is lost while that is restarted.
fn open_fifo(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let both = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    match both {
        // Without the right to read there has to be a reader.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            OpenOptions::new().write(true).custom_flags(flags).open(path)
        }
        opened => opened,
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    // A device may have no reader yet, or none that can be waited for.
    let flags =
        i32::try_from(rustix::fs::OFlags::NONBLOCK.bits() | rustix::fs::OFlags::NOCTTY.bits())
            .map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE).custom_flags(flags);
    // To read the last byte.
    match options.clone().read(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path),
        opened => opened,
    }
}
