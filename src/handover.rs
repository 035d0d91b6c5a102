//! Giving live connections, and listeners of our own, to the next process.
//!
//! One *carrier* takes them all: a pair of connected Unix sockets. We write into one end; the other
//! is what the next process gets, from the service manager's file descriptor store or by
//! inheritance. What we wrote waits in the kernel meanwhile, even when this process is gone.
//! Storing each connection by itself would make the manager's work quadratic.
//!
//! # Format
//! A carrier holds any number of messages, and ends with the writer's end. Each message is a header
//! of [`HEADER`] bytes (magic, version) with 1 to 253 descriptors: the first is a memfd with the
//! records, in postcard's encoding; each of the others belongs to the record of its place. The last
//! message has no other, but the [`History`].
//! Descriptors travel in the order of the records. A reader that does not know the version closes
//! what it got: its clients see an orderly end of the connection.
//!
//! # Source
//! unix(7) `SCM_RIGHTS`, systemd.service(5) `FileDescriptorStoreMax=`, `sd_notify(3)` `FDSTORE=1`.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::framing::Rest;
use crate::history::History;
use crate::limits::Waiting;
use crate::notify::Notifier;
use crate::parked::Idle;
use crate::participants::{Deposit, Participants};
use crate::stream::Stream;

/// The carrier's name in the file descriptor store.
pub(crate) const CARRIER_NAME: &str = "lockstepd-connections";

/// What a listener bound by ourselves is called in the file descriptor store, before its server's
/// name.
pub(crate) const LISTENER_PREFIX: &str = "lockstepd-listener-";

/// The version of the records.
pub(crate) const CARRIER_VERSION: u8 = 5;

/// The first bytes of every message; the last byte is the version.
const HEADER: [u8; 10] = [b'l', b'o', b'c', b'k', b's', b't', b'e', b'p', b'd', CARRIER_VERSION];

/// The most descriptors that the kernel passes in one message (`SCM_MAX_FD`).
const DESCRIPTORS_MAX: usize = 253;

/// The most bytes of records in one message; far above what the limits on heads allow.
const RECORDS_MAX: u64 = 256 << 20;

/// The carrier's end that we write into.
#[derive(Debug)]
pub(crate) struct Carrier {
    end: OwnedFd,
}

/// What was taken out of a carrier.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Connections by the name of their server.
    pub(crate) connections: Vec<(String, Idle)>,
    /// Listening sockets by the name of their server.
    pub(crate) listeners: Vec<Left>,
    /// Connections whose client has hung up meanwhile.
    pub(crate) gone: usize,
    /// The drains up to now, if the writer came to telling of them.
    pub(crate) history: Option<History>,
}

/// A listening socket that came with a carrier.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) server: String,
    /// It belongs to the service manager, which opened it.
    pub(crate) managers: bool,
    pub(crate) fd: OwnedFd,
}

/// Why a carrier's content could not be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CarrierError {
    #[error("the format is not known (another version of lockstepd wrote it)")]
    Format,
    #[error("the kernel dropped descriptors (raise LimitNOFILE=)")]
    Truncated,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What is said about a descriptor.
#[derive(Debug, Deserialize, Serialize)]
enum Record {
    /// `fresh`: it has had no request yet.
    Connection {
        server: String,
        peer: String,
        unread: Vec<u8>,
        skip: Option<Rest>,
        fresh: bool,
    },
    Listener {
        server: String,
        managers: bool,
    },
}

// === impl Carrier ===

impl Carrier {
    /// Makes a carrier; the second value is the end for the next process.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (end, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // What is written waits here until it is taken; the kernel caps this at net.core.wmem_max.
        sockopt::set_socket_send_buffer_size(&end, 64 << 20)?;
        Ok((Self { end }, theirs))
    }

    /// Puts a new carrier into the service manager's store, where `others` descriptors of ours are;
    /// `None` if the store does not keep it.
    ///
    /// What a manager does not keep it closes, which is a hang-up at our end. systemd before 254
    /// does so before it answers the barrier, and tells of its store in no other way. From 254 on a
    /// child of it closes the descriptor, at some time; there the store's size is what counts.
    ///
    /// Waits until the manager has read what we sent, for `patience` at most.
    ///
    /// # Errors
    /// When the manager cannot be reached.
    pub(crate) async fn stored(
        notifier: &Notifier,
        others: usize,
        patience: Duration,
    ) -> io::Result<Option<Self>> {
        if notifier.store_size().is_some_and(|size| size <= others) {
            return Ok(None);
        }
        let (carrier, theirs) = Self::new()?;
        notifier.store(CARRIER_NAME, theirs.as_fd())?;
        drop(theirs);
        notifier.barrier(patience).await?;
        Ok(carrier.is_open()?.then_some(carrier))
    }

    /// Tells whether somebody has the other end.
    fn is_open(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.end, PollFlags::empty())];
        poll(&mut fds, Some(&Timespec::default()))?;
        Ok(!fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
    }

    /// Writes every deposited connection of `servers`, and their listeners if `listeners` says
    /// so, and then `history` with them in it; answers how many connections.
    ///
    /// The deposits stay where they are: until this process ends, nothing is lost by failing.
    ///
    /// # Errors
    /// When the kernel does not take them.
    pub(crate) fn load<'p>(
        &self,
        servers: impl IntoIterator<Item = &'p Arc<Participants>>,
        listeners: bool,
        mut history: History,
    ) -> io::Result<usize> {
        let mut total = 0;
        for server in servers {
            let mut count = 0;
            server.with_deposits(|deposits| {
                let mut batch = Batch::default();
                for deposit in deposits {
                    let name = server.server().to_owned();
                    match deposit {
                        Deposit::Connection(idle) => {
                            count += 1;
                            let peer = idle.stream.peer().to_string();
                            let unread = idle.unread.to_vec();
                            let skip = idle.skip;
                            let fresh = idle.waiting == Waiting::FirstByte;
                            let record =
                                Record::Connection { server: name, peer, unread, skip, fresh };
                            batch.push(record, idle.stream.as_fd());
                        }
                        Deposit::Listener(listener) if listeners => {
                            let managers = listener.is_managers();
                            let record = Record::Listener { server: name, managers };
                            batch.push(record, listener.as_fd());
                        }
                        Deposit::Listener(_) => {}
                    }
                    if batch.is_full() {
                        self.send(&std::mem::take(&mut batch))?;
                    }
                }
                self.send(&batch)
            })?;
            total += count;
            history.hand_over(server.server(), count as u64);
        }
        self.send(&Batch { history: Some(history), ..Batch::default() })?;
        // A manager that closes what it does not keep may have taken its time.
        if self.is_open()? { Ok(total) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    fn send(&self, batch: &Batch<'_>) -> io::Result<()> {
        if batch.records.is_empty() && batch.history.is_none() {
            return Ok(());
        }
        let mut memfd = File::from(memfd_create(CARRIER_NAME, MemfdFlags::CLOEXEC)?);
        memfd.write_all(
            &postcard::to_stdvec(&(&batch.records, &batch.history)).map_err(io::Error::other)?,
        )?;
        let mut fds = Vec::with_capacity(1 + batch.fds.len());
        fds.push(memfd.as_fd());
        fds.extend(&batch.fds);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        debug_assert!(fits, "a batch is never larger than a message");
        sendmsg(&self.end, &[IoSlice::new(&HEADER)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// The records and descriptors of one message.
#[derive(Debug, Default)]
struct Batch<'d> {
    records: Vec<Record>,
    fds: Vec<BorrowedFd<'d>>,
    history: Option<History>,
}

impl<'d> Batch<'d> {
    fn push(&mut self, record: Record, fd: BorrowedFd<'d>) {
        self.records.push(record);
        self.fds.push(fd);
    }

    fn is_full(&self) -> bool {
        // One place is the memfd's.
        self.fds.len() == DESCRIPTORS_MAX - 1
    }
}

// === impl Taken ===

impl Taken {
    /// Takes everything out of a carrier, in order. What cannot be understood is closed.
    ///
    /// Never blocks: a carrier's writer has gone before its reader starts.
    pub(crate) fn from_carrier(carrier: &OwnedFd) -> (Self, Option<CarrierError>) {
        let mut taken = Self::default();
        let error = loop {
            match taken.receive(carrier) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) => break Some(error),
            }
        };
        (taken, error)
    }

    /// Adds the next message; answers whether there was one.
    fn receive(&mut self, carrier: &OwnedFd) -> Result<bool, CarrierError> {
        let mut header = [0; HEADER.len()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let message =
            match recvmsg(carrier, &mut [IoSliceMut::new(&mut header)], &mut ancillary, flags) {
                Ok(message) => message,
                Err(rustix::io::Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(CarrierError::Io(error.into())),
            };
        // Owned from here on: whatever goes wrong below, they are closed.
        let mut fds = Vec::new();
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(part) = part {
                fds.extend(part);
            }
        }
        if message.bytes == 0 {
            return Ok(false);
        }
        if message.flags.contains(ReturnFlags::CTRUNC) {
            return Err(CarrierError::Truncated);
        }
        if message.bytes != HEADER.len() || header != HEADER || fds.is_empty() {
            return Err(CarrierError::Format);
        }
        let mut fds = fds.into_iter();
        let (records, history) = read_records(fds.next())?;
        if records.len() != fds.len() {
            return Err(CarrierError::Format);
        }
        for (record, fd) in records.into_iter().zip(fds) {
            self.add(record, fd);
        }
        self.history = history.or(self.history.take());
        Ok(true)
    }

    fn add(&mut self, record: Record, fd: OwnedFd) {
        match record {
            Record::Listener { server, managers } => {
                self.listeners.push(Left { server, managers, fd });
            }
            Record::Connection { server, peer, unread, skip, fresh } => match Stream::adopt(fd) {
                Ok(stream) => {
                    let unread = Bytes::from(unread);
                    let waiting = if fresh { Waiting::FirstByte } else { Waiting::Idle };
                    let idle = Idle { stream, unread, skip, waiting };
                    self.connections.push((server, idle));
                }
                Err(error) => {
                    tracing::debug!(server, peer, %error, "a client hung up during the restart");
                    self.gone += 1;
                }
            },
        }
    }
}

fn read_records(memfd: Option<OwnedFd>) -> Result<(Vec<Record>, Option<History>), CarrierError> {
    let memfd = File::from(memfd.ok_or(CarrierError::Format)?);
    // The writer's offset is shared; the records begin at the start.
    (&memfd).rewind()?;
    let mut bytes = Vec::new();
    memfd.take(RECORDS_MAX).read_to_end(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(|_| CarrierError::Format)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;
    use crate::history::LastDrain;

    /// What is taken from a carrier with one message, and the other end of the stream in it.
    fn take(header: &[u8], records: &[u8]) -> (Taken, Option<CarrierError>, UnixStream) {
        let (carrier, theirs) = Carrier::new().unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        let mut memfd = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        memfd.write_all(records).unwrap();
        let fds = [memfd.as_fd(), server.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(&carrier.end, &[IoSlice::new(header)], &mut ancillary, SendFlags::empty()).unwrap();
        drop((carrier, server));
        let (taken, error) = Taken::from_carrier(&theirs);
        (taken, error, client)
    }

    fn record(unread: &[u8]) -> Vec<u8> {
        let record = Record::Connection {
            server: "public".to_owned(),
            peer: "unix".to_owned(),
            unread: unread.to_vec(),
            skip: Some(Rest::Counted(3)),
            fresh: false,
        };
        postcard::to_stdvec(&([record].as_slice(), None::<History>)).unwrap()
    }

    #[tokio::test]
    async fn a_connection_arrives_with_its_server_and_what_was_read_of_it() {
        let (taken, error, _client) = take(&HEADER, &record(b"GET / HT"));
        assert!(error.is_none());
        let [(server, idle)] = &taken.connections[..] else { panic!("{taken:?}") };
        assert_eq!(
            (&**server, &*idle.unread, idle.skip),
            ("public", &b"GET / HT"[..], Some(Rest::Counted(3)))
        );
    }

    #[tokio::test]
    async fn what_another_version_wrote_is_closed() {
        let mut header = HEADER;
        header[9] = CARRIER_VERSION + 1;
        let (taken, error, mut client) = take(&header, &record(b""));
        assert!(matches!(error, Some(CarrierError::Format)));
        assert!(taken.connections.is_empty());
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "the client sees an orderly end");
    }

    #[tokio::test]
    async fn records_that_make_no_sense_are_closed() {
        for records in [
            &b""[..],
            b"\xff\xff\xff\xff\xff",
            &record(b"x")[..7],
            b"\x00",
            b"\x00\x00",
            b"\x02\x01\x00",
        ] {
            let (taken, error, mut client) = take(&HEADER, records);
            assert!(matches!(error, Some(CarrierError::Format)), "{records:?}");
            assert!(taken.connections.is_empty() && taken.listeners.is_empty());
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn an_empty_carrier_holds_nothing() {
        let (carrier, theirs) = Carrier::new().unwrap();
        drop(carrier);
        let (taken, error) = Taken::from_carrier(&theirs);
        assert!(error.is_none() && taken.connections.is_empty() && taken.gone == 0);
    }

    /// The number by which the kernel knows a socket, whoever has it.
    fn inode(fd: impl AsFd) -> u64 {
        rustix::fs::fstat(fd).unwrap().st_ino
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_comes_in_a_carrier_nothing_of_it_stays_open(
            header in prop_oneof![Just(HEADER.to_vec()), prop::collection::vec(any::<u8>(), 1..24)],
            mut records in prop_oneof![Just(record(b"GET")), prop::collection::vec(any::<u8>(), 0..64)],
            change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            sockets in 0..4_usize,
            has_records: bool,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _inside = runtime.enter();
            if let (Some((at, byte)), false) = (change, records.is_empty()) {
                let at = at.index(records.len());
                records[at] = byte;
            }
            let (carrier, theirs) = Carrier::new().unwrap();
            let (clients, servers): (Vec<_>, Vec<_>) =
                (0..sockets).map(|_| UnixStream::pair().unwrap()).unzip();
            let mut memfd = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
            memfd.write_all(&records).unwrap();
            let first = has_records.then(|| memfd.as_fd());
            let fds: Vec<_> = first.into_iter().chain(servers.iter().map(AsFd::as_fd)).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(fds.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
            sendmsg(&carrier.end, &[IoSlice::new(&header)], &mut ancillary, SendFlags::empty()).unwrap();
            drop((carrier, servers));
            let (taken, _) = Taken::from_carrier(&theirs);
            prop_assert!(taken.connections.len() + taken.listeners.len() <= sockets);
            drop((taken, theirs));
            for mut client in clients {
                prop_assert_eq!(client.read(&mut [0]).unwrap(), 0, "the client sees an end");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_put_into_a_carrier_arrives_in_order_and_unchanged(
            deposits in prop::collection::vec(
                (
                    "[a-z]{1,9}",
                    prop::collection::vec(any::<u8>(), 0..99),
                    any::<Option<u64>>().prop_map(|count| count.map(Rest::Counted)),
                    any::<bool>(),
                    any::<Option<bool>>(),
                ),
                0..600,
            ),
            duration: Duration,
            requests: u64,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _inside = runtime.enter();
            let (carrier, theirs) = Carrier::new().unwrap();
            let pairs: Vec<_> = deposits.iter().map(|_| UnixStream::pair().unwrap()).collect();
            let mut batch = Batch::default();
            let (mut connections, mut listeners) = (Vec::new(), Vec::new());
            for ((server, unread, skip, fresh, listener), (_, socket)) in deposits.into_iter().zip(&pairs) {
                let record = if let Some(managers) = listener {
                    listeners.push((server.clone(), managers, inode(socket)));
                    Record::Listener { server, managers }
                } else {
                    connections.push((server.clone(), unread.clone(), skip, fresh, inode(socket)));
                    Record::Connection { server, peer: String::new(), unread, skip, fresh }
                };
                batch.push(record, socket.as_fd());
                if batch.is_full() {
                    carrier.send(&std::mem::take(&mut batch)).unwrap();
                }
            }
            carrier.send(&batch).unwrap();
            let mut history = History::default().with(LastDrain { duration, requests });
            history.hand_over("public", connections.len() as u64);
            carrier.send(&Batch { history: Some(history.clone()), ..Batch::default() }).unwrap();
            drop(carrier);
            let (taken, error) = Taken::from_carrier(&theirs);
            prop_assert!(error.is_none() && taken.gone == 0, "{:?}", error);
            prop_assert_eq!(taken.history, Some(history));
            let came: Vec<_> = taken.connections.iter().map(|(server, idle)| {
                let fresh = idle.waiting == Waiting::FirstByte;
                (server.clone(), idle.unread.to_vec(), idle.skip, fresh, inode(idle.stream.as_fd()))
            }).collect();
            prop_assert_eq!(came, connections);
            let came: Vec<_> = taken.listeners.iter().map(|left| {
                (left.server.clone(), left.managers, inode(&left.fd))
            }).collect();
            prop_assert_eq!(came, listeners);
        }
    }
}
