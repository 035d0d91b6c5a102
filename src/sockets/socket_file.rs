//! The files of Unix sockets that this program binds: made, known again, and removed only while they are its own.
//!
//! Invariants:
//! - A socket file with a listener is never replaced, not even by two starts at once: from the look at it until
//!   the new socket listens, a start holds a [`Lock`].
//! - A path is removed only while the file there is the one that this program made. The `O_PATH` descriptor of it
//!   keeps its inode number from being reused for another file, so that number and device are enough to know it.
//!   That needs no lock: as long as the socket listens, no start takes the file for stale.

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

/// The file of a Unix socket that this program has bound, in this process or an earlier one.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    file: OwnedFd,
    /// An earlier process of this program has made it.
    is_claimed: bool,
}

/// The socket files of all servers. They are removed when this is dropped, unless the next process goes on to
/// listen on them.
#[derive(Debug)]
pub(crate) struct SocketFiles {
    files: Vec<Arc<SocketFile>>,
    are_left: AtomicBool,
}

/// The right to replace a stale socket file, which one process at a time has.
///
/// It is a lock on a file beside the socket, which is there only while it is locked, and which only users who
/// may write to the directory can lock. A lock on the directory itself could be held for ever by every user who
/// may read it.
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
    /// When something is there, a socket with a listener or no socket at all, or it cannot be made. Nothing is
    /// left at the path then that was not there before.
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
                // Without a descriptor it cannot be known again. Now it can only be the one just bound.
                let _ = fs::remove_file(path);
                return Err(error.into());
            }
        };
        // No client can connect before listen(2), and so find other permissions. Not by the path: another process
        // may have put another file there.
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

    /// The one of `files`, left by an earlier process, that is at `path` now.
    pub(crate) fn claim(path: &Path, files: &mut Vec<OwnedFd>) -> Option<Self> {
        let id = id_at(path)?;
        let index = files.iter().position(|file| id_of(file.as_fd()) == Some(id))?;
        let file = files.swap_remove(index);
        Some(Self { path: path.to_owned(), file, is_claimed: true })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether an earlier process of this program has made it.
    pub(crate) fn is_claimed(&self) -> bool {
        self.is_claimed
    }

    /// Tells whether its path still leads to it.
    pub(crate) fn is_there(&self) -> bool {
        let id = id_of(self.file.as_fd());
        id.is_some() && id == id_at(&self.path)
    }

    /// Removes it: a file that stays would refuse every client. Another file in its place stays.
    pub(crate) fn remove(&self) {
        if self.is_there() {
            // Fails if it has just been removed, which is as good.
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

/// What identifies a file: device and inode number.
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

/// Tells whether `path` is a socket without a listener.
///
/// # Errors
/// When it is no socket, or this cannot be found out.
pub(crate) fn is_stale(path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(Errno::EXIST.into());
    }
    // Non-blocking: a listener that does not accept has a full queue, and is no stale one.
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
    /// Takes the right to replace what is at `socket`, if no other start has it.
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
        // The start that had it before has removed the file: the one that is locked now may not be the one at
        // the path, which others lock.
        let is_current = id_of(file.as_fd()).is_some_and(|id| id_at(path) == Some(id));
        Ok(is_current.then(|| Self { path: path.to_owned(), _file: file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the descriptor is closed, which ends the lock: no other start can have this file locked.
        let _ = fs::remove_file(&self.path);
    }
}
