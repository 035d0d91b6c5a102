//! A file that lines are appended to: a regular one, a pipe, a terminal, or a stream that this process was given.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, OFlags, access};
use rustix::io::Errno;

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

    /// The error with which it was opened, if it is not open yet: nothing has told of that.
    fn refused(&mut self) -> Option<io::Error>;

    /// Opens it, unless it is open, and ends half a line that somebody else has left in it. It comes before every
    /// write, and before [`Self::limit`].
    fn prepare(&mut self) -> io::Result<()>;

    /// Tells whether it is the file that was written to before. Half a line in it is this log's own then, and is going
    /// to be completed.
    fn goes_on(&mut self, before: &Self) -> bool;

    /// Writes some of `bytes`, from their beginning. [`io::ErrorKind::TimedOut`]: a reader takes nothing now.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// What is to be written to instead, if its path has another file by now, or none.
    fn renewed(&self) -> Option<io::Result<Self>>;

    /// How it is called.
    fn path(&self) -> &Path;
}

/// A file for appending, which is open, or is going to be.
#[derive(Debug)]
pub(crate) struct OpenFile {
    path: PathBuf,
    file: Option<Opened>,
    refused: Option<io::Error>,
}

/// What was opened.
#[derive(Debug)]
struct Opened {
    file: File,
    /// A write may wait for a reader.
    has_reader: bool,
    /// A stream of this process is never opened anew.
    is_stream: bool,
    /// Its device and inode.
    identity: (u64, u64),
    /// It ends with a line's end, or with half a line of this log.
    is_prepared: bool,
}

// === impl OpenFile ===

impl OpenFile {
    /// Opens a file for appending, and makes it if there is none. Nothing is written to it yet.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = Some(Opened::open(path)?);
        Ok(Self { path: path.to_owned(), file, refused: None })
    }

    /// Like [`Self::open`], but an error that may pass, such as a full disk, leaves it to the thread to open the file.
    ///
    /// # Errors
    /// When the system refuses it, and will go on to do so.
    pub(crate) fn open_in_time(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(error) if may_pass(path, &error) => {
                Ok(Self { path: path.to_owned(), file: None, refused: Some(error) })
            }
            opened => opened,
        }
    }

    /// Finds out whether a daemon that starts would refuse a file, without making it.
    ///
    /// # Errors
    /// When it would.
    pub(crate) fn check(path: &Path) -> io::Result<()> {
        match try_open(path) {
            Err(error) if !may_pass(path, &error) => Err(error),
            _ => Ok(()),
        }
    }
}

impl Output for OpenFile {
    fn limit(&self) -> usize {
        if self.file.as_ref().is_some_and(|it| it.has_reader) { PIPE_MAX } else { FILE_MAX }
    }

    fn refused(&mut self) -> Option<io::Error> {
        self.refused.take()
    }

    fn prepare(&mut self) -> io::Result<()> {
        let opened = match &mut self.file {
            Some(opened) => opened,
            none => none.insert(Opened::open(&self.path)?),
        };
        if !opened.is_prepared {
            opened.end_line()?;
            opened.is_prepared = true;
        }
        Ok(())
    }

    fn goes_on(&mut self, before: &Self) -> bool {
        let (Some(opened), Some(before)) = (&mut self.file, &before.file) else { return false };
        let is_same = opened.identity == before.identity;
        opened.is_prepared = is_same && before.is_prepared;
        is_same
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(opened) = &mut self.file else { return Err(io::ErrorKind::NotConnected.into()) };
        if opened.has_reader {
            // There is room for PIPE_MAX bytes then: the write does not block, whoever else has this pipe.
            let mut waits = [PollFd::from_borrowed_fd(opened.file.as_fd(), PollFlags::OUT)];
            let timeout = Timespec::try_from(READER_TIMEOUT).map_err(io::Error::other)?;
            if poll(&mut waits, Some(&timeout))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        match opened.file.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            written => written,
        }
    }

    fn renewed(&self) -> Option<io::Result<Self>> {
        let opened = self.file.as_ref().filter(|opened| !opened.is_stream)?;
        let now = fs::metadata(&self.path).ok().map(|metadata| identity(&metadata));
        (now != Some(opened.identity)).then(|| Self::open(&self.path))
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

// === impl Opened ===

impl Opened {
    fn open(path: &Path) -> io::Result<Self> {
        let stream = stream_of(path);
        let is_stream = stream.is_some();
        let file = match stream {
            Some(stream) => File::from(stream?),
            None if is_fifo(path) => open_fifo(path)?,
            None => open_file(path)?,
        };
        let metadata = file.metadata()?;
        let (has_reader, identity) = (!metadata.is_file(), identity(&metadata));
        Ok(Self { file, has_reader, is_stream, identity, is_prepared: is_stream })
    }

    /// Gives a file that does not end with a line's end one: the disk was full, or the machine went down, while its
    /// last line was written.
    fn end_line(&self) -> io::Result<()> {
        if self.has_reader {
            return Ok(());
        }
        let Some(last) = self.file.metadata()?.len().checked_sub(1) else { return Ok(()) };
        let mut byte = [0];
        // One that cannot be read is appended to as it is.
        if self.file.read_exact_at(&mut byte, last).is_ok() && byte != *b"\n" {
            (&self.file).write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Tells whether a file may be opened later though nobody changes the configuration.
fn may_pass(path: &Path, error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        Some(
            Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::IO | Errno::NFILE | Errno::MFILE,
        ) => true,
        // A FIFO that may not be read has no reader yet. A socket never can be opened.
        Some(Errno::NXIO) => is_fifo(path),
        _ => false,
    }
}

/// Opens a file that exists, and finds out whether one that does not could be made.
fn try_open(path: &Path) -> io::Result<()> {
    if let Some(stream) = stream_of(path) {
        return stream.map(drop);
    }
    if is_fifo(path) {
        // A reader would take it for the end when what was opened here is closed.
        return Ok(access(path, Access::WRITE_OK)?);
    }
    let flags =
        i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).map_err(io::Error::other)?;
    match OpenOptions::new().append(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = followed(path);
            if made.as_os_str().as_bytes().ends_with(b"/") {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let directory = made.parent().filter(|directory| !directory.as_os_str().is_empty());
            Ok(access(directory.unwrap_or(Path::new(".")), Access::WRITE_OK | Access::EXEC_OK)?)
        }
        opened => opened.map(drop),
    }
}

/// What symbolic links that lead to no file stand for: that is what would be made.
fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // As many as Linux follows.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    path
}

fn is_fifo(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.file_type().is_fifo())
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
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
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
        i32::try_from(OFlags::NONBLOCK.bits() | OFlags::NOCTTY.bits()).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE).custom_flags(flags);
    // To read the last byte.
    match options.clone().read(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_does_not_end_a_start_and_a_mistake_does() {
        let path = Path::new("/nowhere");
        let passes = |errno: Errno| may_pass(path, &errno.into());
        assert!(
            [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::IO, Errno::NFILE, Errno::MFILE]
                .into_iter()
                .all(passes)
        );
        assert!(
            ![Errno::NOENT, Errno::ISDIR, Errno::NOTDIR, Errno::ACCESS, Errno::LOOP, Errno::NXIO]
                .into_iter()
                .any(passes)
        );
    }

    #[test]
    fn a_file_that_was_refused_is_opened_once_it_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/log");
        let refused = Some(Errno::NOSPC.into());
        let mut file = OpenFile { path: path.clone(), file: None, refused };
        assert!(file.refused().is_some() && file.refused().is_none(), "it is told once");
        file.prepare().unwrap_err();
        fs::create_dir(directory.path().join("missing")).unwrap();
        file.prepare().unwrap();
        file.write(b"line\n").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "line\n");
    }
}
