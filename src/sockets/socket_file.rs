//! The files of Unix sockets that we bind: made, known again, and removed only as long as they are ours.
//!
//! Invariants:
//! - A socket file that somebody still listens on is never replaced, by two starts at once neither: from the
//!   look at it until the new socket listens, a start holds a [`Lock`].
//! - A path is removed only while the file there is the one that we made. The descriptor that we have of it
//!   (`O_PATH`) keeps its inode's number from being given to another file, so that number and device are enough.
//!   There is no lock for that: as long as we listen nobody takes the file for stale.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::sockets::listener::BACKLOG;

/// The file of a Unix socket that this program has bound, in this life or an earlier one.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    file: OwnedFd,
    /// An earlier life of this program has made it.
    is_claimed: bool,
}

/// The socket files of all servers. They are removed when this is dropped, unless somebody goes on to listen.
#[derive(Debug)]
pub(crate) struct SocketFiles {
    files: Vec<Arc<SocketFile>>,
    are_left: AtomicBool,
}

/// The right to replace a stale socket file, which one process at a time has.
///
/// It is a lock on a file beside the socket that is there only as long, and that nobody can lock who may not
/// write to the directory. A lock on the directory itself, whoever may read that could hold for ever.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: OwnedFd,
}

// === impl SocketFile ===

impl SocketFile {
    /// Binds a socket at `path`, with these permissions, and listens.
    ///
    /// # Errors
    /// When something is there, somebody listening or no socket at all, or it cannot be made. Nothing of ours
    /// is left then.
    pub(crate) fn bind(path: &Path, mode: u32) -> io::Result<(Socket, Self)> {
        let address = SockAddr::unix(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        let _lock = Lock::take(path)?;
        if let Err(error) = socket.bind(&address) {
            if error.kind() != io::ErrorKind::AddrInUse || !is_stale(path)? {
                return Err(error);
            }
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match open(path, flags, Mode::empty()) {
            Ok(file) => Self { path: path.to_owned(), file, is_claimed: false },
            Err(error) => {
                // Without a descriptor it cannot be known again; this once it can only be ours.
                let _ = fs::remove_file(path);
                return Err(error.into());
            }
        };
        // Nobody can connect before listen(2), so nobody meets the socket with other permissions. Not by the path:
        // somebody else may have put something else there.
        let ours = format!("/proc/self/fd/{}", file.file.as_raw_fd());
        let listens = fs::set_permissions(ours, fs::Permissions::from_mode(mode))
            .and_then(|()| socket.listen(BACKLOG));
        match listens {
            Ok(()) => Ok((socket, file)),
            Err(error) => {
                file.remove();
                Err(error)
            }
        }
    }

    /// The one of `files`, left by an earlier life, that is at `path` now.
    pub(crate) fn claim(path: &Path, files: &mut Vec<OwnedFd>) -> Option<Self> {
        let id = id_at(path)?;
        let index = files.iter().position(|file| id_of(file.as_fd()) == Some(id))?;
        let file = files.swap_remove(index);
        Some(Self { path: path.to_owned(), file, is_claimed: true })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether an earlier life of this program has made it.
    pub(crate) fn is_claimed(&self) -> bool {
        self.is_claimed
    }

    /// Tells whether its path still leads to it.
    pub(crate) fn is_there(&self) -> bool {
        let id = id_of(self.file.as_fd());
        id.is_some() && id == id_at(&self.path)
    }

    /// Removes it: left behind it would refuse every client. What somebody else has put in its place stays.
    pub(crate) fn remove(&self) {
        if self.is_there() {
            // That it is gone by now is as good.
            let _ = fs::remove_file(&self.path);
        } else if self.path.symlink_metadata().is_ok() {
            tracing::warn!(path = %self.path.display(), "left a socket file that is somebody else's now");
        }
    }
}

impl AsFd for SocketFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// By what a file is known: device and inode.
fn id_of(file: BorrowedFd<'_>) -> Option<(u64, u64)> {
    fstat(file).ok().map(|file| (file.st_dev, file.st_ino))
}

fn id_at(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Tells whether there is something else than a socket at `path`.
pub(crate) fn is_no_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| !file.file_type().is_socket())
}

/// Tells whether `path` is a socket on which nobody listens any more.
///
/// # Errors
/// When it is no socket, or cannot be asked.
pub(crate) fn is_stale(path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(Errno::EXIST.into());
    }
    // Non-blocking: somebody who listens but does not accept has a full queue, and is alive.
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(false),
        Err(error) => Ok(error.kind() == io::ErrorKind::ConnectionRefused),
    }
}

// === impl SocketFiles ===

impl SocketFiles {
    pub(crate) fn new(files: Vec<Arc<SocketFile>>) -> Self {
        Self { files, are_left: AtomicBool::new(false) }
    }

    /// Leaves them to the next process, which goes on to listen.
    pub(crate) fn leave(&self) {
        self.are_left.store(true, Ordering::Relaxed);
    }

    /// Tells whether the file at `path` is one of them, and still there.
    pub(crate) fn are_at(&self, path: &Path) -> bool {
        self.files.iter().any(|file| file.path() == path && file.is_there())
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        if !self.are_left.load(Ordering::Relaxed) {
            // Those of listeners that have been closed are gone already.
            for file in self.files.iter().filter(|file| file.is_there()) {
                file.remove();
            }
        }
    }
}

// === impl Lock ===

impl Lock {
    /// Takes the right to replace what is at `socket`, if nobody else has it.
    fn take(socket: &Path) -> io::Result<Self> {
        let mut name = OsString::from(".");
        name.push(socket.file_name().unwrap_or_default());
        name.push(".lock");
        let path = socket.with_file_name(name);
        let told = |error: io::Error| {
            io::Error::new(error.kind(), format!("its lock, {}: {error}", path.display()))
        };
        Self::try_take(&path).map_err(told)?.ok_or_else(|| {
            let held = format!("{} is locked by another start", path.display());
            io::Error::new(io::ErrorKind::ResourceBusy, held)
        })
    }

    fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::from_raw_mode(0o600))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // A file system without locks is no reason not to serve.
            Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Who had it before has removed it: what we have locked may not be what others lock now.
        let is_current = id_of(file.as_fd()).is_some_and(|id| id_at(path) == Some(id));
        Ok(is_current.then(|| Self { path: path.to_owned(), _file: file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock ends, with the descriptor: nobody else can have this file locked.
        let _ = fs::remove_file(&self.path);
    }
}
