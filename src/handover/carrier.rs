//! Giving idle connections and listeners to the next process.
//!
//! One *carrier* takes them all: a pair of connected Unix sockets. This process writes into one end; the next
//! process gets the other, from the service manager's file descriptor store or by inheritance. What was written
//! stays in the kernel meanwhile, even when this process has ended.
//! Storing each connection by itself would make the service manager's work quadratic.
//!
//! # Format
//! The carrier's first message brings a memfd with the records; each of the others brings the end of a
//! *branch*, which is another such pair: a carrier holds some hundreds of messages (`net.core.wmem_max`
//! is what bounds it), its branches hold that much each. A message is a header of [`HEADER`] bytes
//! (magic, version) with 1 to 253 descriptors. In a branch they are listeners and connections, in the
//! order of their records.
//! The memfd holds [`Frame`]s in postcard's encoding, each preceded by its length: one for each message of
//! the branches, and the [`DrainHistory`] at the end; behind that, where there are any, the [`ShutDoor`]s, which
//! readers that know none do not look for, and behind those the keys of TLS session tickets. The memfd is sent first, and written while descriptors are sent: a
//! memfd for each message would be one more descriptor in flight for each 253.
//! Tunnels come in an [`annex`]. A reader that does not know the version closes what it received: the clients see an orderly end of their
//! connections. The state of connections with TLS, and those keys, are key material: the memfd is sealed, no process
//! can reach it that has not been passed it, and what a frame was made in is overwritten.
//!
//! # All that fits
//! Connections that the kernel does not take stay in this process, which ends them in order. The kernel refuses
//! more when all processes of the user together have as many descriptors in flight as one process may have open
//! (`RLIMIT_NOFILE`), unless this one has `CAP_SYS_RESOURCE` or `CAP_SYS_ADMIN`.
//!
//! # Source
//! unix(7) `SCM_RIGHTS`, `ETOOMANYREFS`; systemd.service(5) `FileDescriptorStoreMax=`, `sd_notify(3)`
//! `FDSTORE=1`.

mod annex;
mod contents;
mod loaded;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, MemfdFlags, SealFlags, fcntl_add_seals, flock, memfd_create};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair, sockopt,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use self::annex::Annex;
pub(crate) use self::contents::{CarriedListener, CarrierContents};
use self::loaded::{CROWDED_TIMEOUT, RETRY_INTERVAL};
pub(crate) use self::loaded::{Loaded, Shortage};
use crate::connections::body_remainder::Remainder;
use crate::connections::limits::Timeout;
#[cfg(feature = "tls")]
use crate::connections::parked::Idle;
use crate::connections::registry::{Deposit, Registry};
use crate::handover::drain_history::DrainHistory;
use crate::handover::shut_door::ShutDoor;
use crate::manager::notify::Notifier;
use crate::manager::store_names::CARRIER_NAME;
use crate::sockets::listener::{Listener, tls_name};
#[cfg(feature = "tls")]
use crate::tls::ticket_keys::TicketKeys;

/// The version of the format.
pub(crate) const CARRIER_VERSION: u8 = 5;

/// The first bytes of every message; the last byte is the version.
const HEADER: [u8; 10] = [b'l', b'o', b'c', b'k', b's', b't', b'e', b'p', b'd', CARRIER_VERSION];

/// The most descriptors that the kernel passes in one message (`SCM_MAX_FD`).
const DESCRIPTORS_MAX: usize = 253;

/// How many bytes of messages a pair may hold. The kernel caps this at `net.core.wmem_max`.
const BUFFER: usize = 64 << 20;

/// A carrier that is being written.
#[derive(Debug)]
pub(crate) struct Carrier {
    write_end: OwnedFd,
    records: File,
    /// How many bytes of the records belong to messages that have been sent.
    written: u64,
    /// The branch that is being filled.
    branch: Option<OwnedFd>,
    /// The annex that is being filled.
    annex: Option<Annex>,
    buffer: usize,
    doors: Vec<ShutDoor>,
    #[cfg(feature = "tls")]
    ticket_keys: Vec<(String, TicketKeys)>,
    loaded: Loaded,
}

/// What the next process has to know of a descriptor.
#[derive(Debug, Deserialize, Serialize)]
enum Record {
    /// `fresh`: it has had no request yet.
    Connection {
        server: String,
        peer: String,
        unread: Vec<u8>,
        skip: Option<Remainder>,
        fresh: bool,
    },
    Listener {
        server: String,
        managers: bool,
    },
    /// The file of a Unix socket that the writer bound.
    SocketFile,
    /// A connection with TLS; `tls` is what that needs to go on, in the same encoding.
    Secured {
        server: String,
        peer: String,
        unread: Vec<u8>,
        skip: Option<Remainder>,
        fresh: bool,
        tls: Vec<u8>,
    },
}

/// A part of the records.
#[derive(Debug, Deserialize, Serialize)]
enum Frame {
    /// The records of the descriptors of one message.
    Batch(Vec<Record>),
    End(DrainHistory),
}

// === impl Carrier ===

impl Carrier {
    /// Makes a carrier; the second value is the read end, for the next process.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        Self::with_buffer(BUFFER)
    }

    /// As [`Carrier::new`], with another size of the branches' buffers.
    fn with_buffer(buffer: usize) -> io::Result<(Self, OwnedFd)> {
        let (write_end, read_end) = pair(BUFFER)?;
        let records = memfd_create(CARRIER_NAME, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        send(&write_end, &[records.as_fd()])?;
        let records = records.into();
        let loaded = Loaded::default();
        let (branch, annex) = (None, None);
        let (written, doors) = (0, Vec::new());
        let carrier = Self {
            write_end,
            records,
            written,
            branch,
            annex,
            buffer,
            doors,
            #[cfg(feature = "tls")]
            ticket_keys: Vec::new(),
            loaded,
        };
        Ok((carrier, read_end))
    }

    /// Puts a new carrier into the service manager's store, where this service has `others` descriptors already;
    /// `None` if the store does not keep it.
    ///
    /// A manager closes a descriptor that it does not keep, which hangs up the write end. systemd before 254
    /// does so before it passes the barrier, and tells of its store in no other way. From 254 on a
    /// child of systemd closes the descriptor, at any time; there the store's size decides.
    ///
    /// Waits until the manager has read what was sent, for `limit` at most.
    ///
    /// # Errors
    /// When the manager cannot be reached.
    pub(crate) async fn stored(
        notifier: &Notifier,
        others: usize,
        limit: Duration,
    ) -> io::Result<Option<Self>> {
        if notifier.store_size().is_some_and(|size| size <= others) {
            return Ok(None);
        }
        let end = Instant::now() + CROWDED_TIMEOUT;
        let (carrier, read_end) = loop {
            match Self::new() {
                Err(error) if is_crowded(&error) && Instant::now() < end => {
                    sleep(RETRY_INTERVAL).await;
                }
                made => break made?,
            }
        };
        notifier.store(CARRIER_NAME, read_end.as_fd())?;
        drop(read_end);
        notifier.barrier(limit).await?;
        Ok(carrier.is_open()?.then_some(carrier))
    }

    /// Tells whether the read end is open anywhere.
    fn is_open(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.write_end, PollFlags::empty())];
        // A signal interrupts poll(2) even where it does not wait.
        retry_on_intr(|| poll(&mut fds, Some(&Timespec::default())))?;
        Ok(!fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
    }

    /// Writes the deposited connections of `servers`, as many as fit, and their listeners if
    /// `listeners` says so. While other processes of the user have too many descriptors in flight it waits, for
    /// [`CROWDED_TIMEOUT`] and until `end` at most.
    ///
    /// The deposits stay where they are: if this fails, the process still has every connection.
    pub(crate) async fn load<'p, S>(&mut self, servers: S, listeners: bool, end: Instant) -> &Loaded
    where
        S: IntoIterator<Item = &'p Arc<Registry>> + Clone,
    {
        let end = end.min(Instant::now() + CROWDED_TIMEOUT);
        let _lock = lock(end).await;
        loop {
            self.fill(servers.clone(), listeners);
            match &self.loaded.shortage {
                Some(Shortage(Errno::TOOMANYREFS)) if Instant::now() < end => {
                    sleep(RETRY_INTERVAL).await;
                }
                _ => return &self.loaded,
            }
        }
    }

    /// Writes the deposits that have not been written yet, as many as fit now.
    fn fill<'p, S>(&mut self, servers: S, listeners: bool)
    where
        S: IntoIterator<Item = &'p Arc<Registry>> + Clone,
    {
        self.loaded.not_handed_over.clear();
        self.loaded.shortage = None;
        for server in servers.clone() {
            self.fill_annex(server);
        }
        for server in servers {
            server.with_unsent_deposits(|deposits| {
                let mut batch = Batch::default();
                for (deposit, is_sent) in deposits {
                    match deposit {
                        Deposit::Listener(_) if !listeners => {}
                        _ => batch.push(server.server(), deposit, is_sent),
                    }
                    if batch.is_full() {
                        self.add(server.server(), std::mem::take(&mut batch));
                    }
                }
                self.add(server.server(), batch);
            });
        }
    }

    fn add(&mut self, server: &str, batch: Batch<'_>) {
        let Batch { records, fds, are_sent } = batch;
        let is_connection =
            |record: &&Record| matches!(record, Record::Connection { .. } | Record::Secured { .. });
        let connections = records.iter().filter(is_connection).count() as u64;
        let sent = match &self.loaded.shortage {
            None => self.send(records, &fds),
            Some(Shortage(error)) => Err(*error),
        };
        self.loaded.count(server, connections, sent);
        if sent.is_ok() {
            for is_sent in are_sent {
                *is_sent = true;
            }
        }
    }

    /// Sends descriptors with their records, in a new branch if there is no room in the last.
    fn send(&mut self, records: Vec<Record>, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        if fds.is_empty() {
            return Ok(());
        }
        // Before they are sent: a descriptor without a record would be lost.
        let length = self.write(&Frame::Batch(records))?;
        let sent = self.branch.as_ref().map(|branch| send(branch, fds));
        match sent {
            Some(Ok(())) => {}
            None | Some(Err(Errno::AGAIN | Errno::NOBUFS)) => {
                let (branch, read_end) = pair(self.buffer)?;
                send(&self.write_end, &[read_end.as_fd()])?;
                self.branch = None;
                send(&branch, fds)?;
                self.branch = Some(branch);
            }
            Some(Err(error)) => return Err(error),
        }
        self.written += length;
        Ok(())
    }

    /// Writes a frame behind those of the messages that were sent; answers its length.
    fn write(&self, frame: &Frame) -> Result<u64, Errno> {
        append(&self.records, self.written, frame)
    }

    /// Adds applications that requests wait for: in the next process they wait on.
    pub(crate) fn add_doors(&mut self, doors: impl IntoIterator<Item = ShutDoor>) {
        self.doors.extend(doors);
    }

    /// Adds the keys of TLS session tickets, by server.
    #[cfg(feature = "tls")]
    pub(crate) fn add_ticket_keys(&mut self, keys: Vec<(String, TicketKeys)>) {
        self.ticket_keys = keys;
    }

    /// Writes the last frames: `history`, with this carrier's numbers added.
    ///
    /// # Errors
    /// When the read end has been closed, or the frame cannot be written.
    pub(crate) fn finish(self, mut history: DrainHistory) -> io::Result<Loaded> {
        for (server, count) in &self.loaded.handed_over {
            history.add_handed_over(server, *count);
        }
        for (server, count) in &self.loaded.not_handed_over {
            history.add_not_handed_over(server, *count);
        }
        let mut length = self.write(&Frame::End(history))?;
        #[cfg(feature = "tls")]
        let has_keys = !self.ticket_keys.is_empty();
        #[cfg(not(feature = "tls"))]
        let has_keys = false;
        if !self.doors.is_empty() || has_keys {
            length += append(&self.records, self.written + length, &self.doors)?;
        }
        #[cfg(feature = "tls")]
        if has_keys {
            length += append(&self.records, self.written + length, &self.ticket_keys)?;
        }
        // Behind it there may be the rest of a longer frame, whose message was not sent.
        self.records.set_len(self.written + length)?;
        seal(&self.records)?;
        self.finish_annex()?;
        // A manager that does not keep the carrier may close it late.
        if self.is_open()? { Ok(self.loaded) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}

/// Takes a lock among the processes of this program: two that each had half of the descriptors that their user
/// may have in flight would wait for each other. `None` if it is not free by `end`; then this process goes on
/// without it.
///
/// The lock is on the executable, the one file that all of them can open, whatever their sandboxes.
async fn lock(end: Instant) -> Option<File> {
    let executable = File::open("/proc/self/exe").ok()?;
    loop {
        match flock(&executable, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(executable),
            Err(Errno::AGAIN) if Instant::now() < end => sleep(RETRY_INTERVAL).await,
            Err(_) => return None,
        }
    }
}

/// The records and descriptors of one message.
#[derive(Debug, Default)]
struct Batch<'d> {
    records: Vec<Record>,
    fds: Vec<BorrowedFd<'d>>,
    /// Set to true when they have been sent.
    are_sent: Vec<&'d mut bool>,
}

impl<'d> Batch<'d> {
    fn push(&mut self, server: &str, deposit: &'d Deposit, is_sent: &'d mut bool) {
        let server = server.to_owned();
        let (record, fd) = match deposit {
            Deposit::Connection(idle) => {
                let peer = idle.stream.peer().to_string();
                let unread = idle.unread.to_vec();
                let skip = idle.skip;
                let fresh = idle.waiting == Timeout::FirstByte;
                #[cfg(feature = "tls")]
                if idle.stream.is_secured() {
                    let Some(record) = secured(server, idle, peer, unread) else { return };
                    let Some(socket) = idle.stream.socket() else { return };
                    self.records.push(record);
                    self.fds.push(socket);
                    self.are_sent.push(is_sent);
                    return;
                }
                // Streams of the program's own are never deposited; a connection may have lost its socket.
                let Some(socket) = idle.stream.socket() else { return };
                (Record::Connection { server, peer, unread, skip, fresh }, socket)
            }
            Deposit::Listener(listener) => {
                let managers = listener.is_from_manager();
                let server = if listener.is_secured { tls_name(&server) } else { server };
                (Record::Listener { server, managers }, listener.as_fd())
            }
            // They have been sent before.
            Deposit::Tunnel(_) => return,
        };
        self.records.push(record);
        self.fds.push(fd);
        self.are_sent.push(is_sent);
        if let Deposit::Listener(Listener { file: Some(file), .. }) = deposit {
            self.records.push(Record::SocketFile);
            self.fds.push(file.as_fd());
        }
    }

    fn is_full(&self) -> bool {
        // The next deposit may have two descriptors.
        self.fds.len() > DESCRIPTORS_MAX - 2
    }
}

/// Tells whether the processes of this user have too many descriptors in flight.
fn is_crowded(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::TOOMANYREFS)
}

/// Two connected sockets, to write into the first and read from the second.
fn pair(buffer: usize) -> Result<(OwnedFd, OwnedFd), Errno> {
    pair_of(SocketType::STREAM, buffer)
}

fn pair_of(kind: SocketType, buffer: usize) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (write_end, read_end) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
    sockopt::set_socket_send_buffer_size(&write_end, buffer)?;
    Ok((write_end, read_end))
}

fn send(end: &OwnedFd, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    send_with(end, &HEADER, fds)
}

fn send_with(end: &OwnedFd, header: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fits = ancillary.push(SendAncillaryMessage::ScmRights(fds));
    debug_assert!(fits, "a batch is never larger than a message");
    sendmsg(end, &[IoSlice::new(header)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Writes a frame at a place in the records, with its length before it; answers the length of both.
fn append(records: &File, place: u64, frame: &impl Serialize) -> Result<u64, Errno> {
    let bytes = postcard::to_stdvec(frame).map_err(|_| Errno::INVAL)?;
    // Some of it may be keys.
    #[cfg(feature = "tls")]
    let bytes = zeroize::Zeroizing::new(bytes);
    let length = u32::try_from(bytes.len()).map_err(|_| Errno::FBIG)?.to_le_bytes();
    let written = records
        .write_all_at(&length, place)
        .and_then(|()| records.write_all_at(&bytes, place + length.len() as u64));
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok((length.len() + bytes.len()) as u64)
}

/// Has the records stay as they are.
fn seal(records: &File) -> io::Result<()> {
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    Ok(fcntl_add_seals(records, seals)?)
}

/// The record of a connection with TLS; none of one that is not settled, which is never deposited.
#[cfg(feature = "tls")]
fn secured(server: String, idle: &Idle, peer: String, unread: Vec<u8>) -> Option<Record> {
    let tls = postcard::to_stdvec(&idle.stream.carry()?).ok()?;
    let fresh = idle.waiting == Timeout::FirstByte;
    Some(Record::Secured { server, peer, unread, skip: idle.skip, fresh, tls })
}
