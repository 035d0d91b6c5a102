//! Taking what the process before this one handed over.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use super::{DESCRIPTORS_MAX, Frame, HEADER, Record};
use crate::connections::limits::Timeout;
use crate::connections::parked::Idle;
use crate::handover::drain_history::DrainHistory;
use crate::sockets::stream::Stream;

/// The most bytes of records of one message; far above what the limits on heads allow.
const RECORDS_MAX: u32 = 256 << 20;

/// What was taken out of a carrier.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Connections by the name of their server.
    pub(crate) connections: Vec<(String, Idle)>,
    /// Listening sockets by the name of their server.
    pub(crate) listeners: Vec<Left>,
    /// The files of those that are Unix sockets, and that the writer bound.
    pub(crate) files: Vec<OwnedFd>,
    /// Connections whose client has hung up meanwhile.
    pub(crate) gone: usize,
    /// Connections that are too many, by the name of their server; they are closed, and have been idle longest.
    pub(crate) surplus: BTreeMap<String, usize>,
    /// How many of a server's there are.
    counts: BTreeMap<String, usize>,
    /// The drains up to now, if the writer came to telling of them.
    pub(crate) history: Option<DrainHistory>,
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
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The descriptors of one message.
struct Message {
    fds: Vec<OwnedFd>,
    /// The kernel dropped some: no more may be open.
    is_cut: bool,
}

// === impl Taken ===

impl Taken {
    /// Takes everything out of a carrier, in order, and leaves out idle connections of a server beyond the
    /// `most` that it may have. What cannot be understood is closed.
    ///
    /// Never blocks: a carrier's writer has gone before its reader starts.
    pub(crate) fn from_carrier(
        carrier: &OwnedFd,
        most: &dyn Fn(&str) -> usize,
    ) -> (Self, Option<CarrierError>) {
        let mut taken = Self::default();
        let error = taken.receive(carrier, most).err();
        (taken, error)
    }

    fn receive(
        &mut self,
        carrier: &OwnedFd,
        most: &dyn Fn(&str) -> usize,
    ) -> Result<(), CarrierError> {
        let Some(first) = receive(carrier)? else { return Ok(()) };
        let mut first = first.fds.into_iter();
        let (Some(records), None) = (first.next(), first.next()) else {
            return Err(CarrierError::Format);
        };
        let mut records = File::from(records);
        // The writer's offset is shared; the records begin at the start.
        records.rewind()?;
        while let Some(branches) = receive(carrier)? {
            for branch in branches.fds {
                while let Some(message) = receive(&branch)? {
                    let Some(Frame::Batch(batch)) = next_frame(&mut records)? else {
                        return Err(CarrierError::Format);
                    };
                    self.add(batch, message, most)?;
                }
            }
            if branches.is_cut {
                break;
            }
        }
        // What is said about others that have not come is of those that the kernel dropped.
        loop {
            match next_frame(&mut records)? {
                Some(Frame::Batch(batch)) => {
                    for record in batch {
                        self.leave_out(record);
                    }
                }
                Some(Frame::End(history)) => {
                    self.history = Some(history);
                    return Ok(());
                }
                None => return Err(CarrierError::Format),
            }
        }
    }

    fn add(
        &mut self,
        batch: Vec<Record>,
        message: Message,
        most: &dyn Fn(&str) -> usize,
    ) -> Result<(), CarrierError> {
        let fits = if message.is_cut {
            batch.len() > message.fds.len()
        } else {
            batch.len() == message.fds.len()
        };
        if !fits {
            return Err(CarrierError::Format);
        }
        let mut fds = message.fds.into_iter();
        for record in batch {
            match fds.next() {
                Some(fd) => self.add_one(record, fd, most),
                // The kernel drops the last ones.
                None => self.leave_out(record),
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, record: Record) {
        if let Record::Connection { server, .. } = record {
            *self.surplus.entry(server).or_default() += 1;
        }
    }

    fn add_one(&mut self, record: Record, fd: OwnedFd, most: &dyn Fn(&str) -> usize) {
        match record {
            Record::Listener { server, managers } => {
                self.listeners.push(Left { server, managers, fd });
            }
            Record::SocketFile => self.files.push(fd),
            Record::Connection { ref server, ref unread, skip: None, .. }
                if unread.is_empty()
                    && !has_come(&fd)
                    && self.counts.get(server).is_some_and(|count| *count >= most(server)) =>
            {
                self.leave_out(record);
            }
            Record::Connection { server, peer, unread, skip, fresh } => match Stream::adopt(fd) {
                Ok(stream) => {
                    let unread = Bytes::from(unread);
                    let waiting = if fresh { Timeout::FirstByte } else { Timeout::Idle };
                    let idle = Idle { stream, unread, skip, waiting };
                    *self.counts.entry(server.clone()).or_default() += 1;
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

/// Tells whether a client has sent something that nobody has read.
fn has_come(socket: &OwnedFd) -> bool {
    ioctl_fionread(socket).is_ok_and(|bytes| bytes > 0)
}

/// The next message, if there is one.
fn receive(end: &OwnedFd) -> Result<Option<Message>, CarrierError> {
    let mut header = [0; HEADER.len()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(end, &mut [IoSliceMut::new(&mut header)], &mut ancillary, flags);
    let received = match received {
        Ok(received) => received,
        Err(Errno::AGAIN) => return Ok(None),
        Err(error) => return Err(CarrierError::Io(error.into())),
    };
    // Owned from here on: whatever goes wrong below, they are closed.
    let mut fds = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(part) = part {
            fds.extend(part);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let is_cut = received.flags.contains(ReturnFlags::CTRUNC);
    if received.bytes != HEADER.len() || header != HEADER || (fds.is_empty() && !is_cut) {
        return Err(CarrierError::Format);
    }
    Ok(Some(Message { fds, is_cut }))
}

/// The next frame of the records, if there is one.
fn next_frame(records: &mut File) -> Result<Option<Frame>, CarrierError> {
    let mut length = [0; 4];
    match records.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let length = u32::from_le_bytes(length);
    if length > RECORDS_MAX {
        return Err(CarrierError::Format);
    }
    let mut bytes = Vec::new();
    records.take(length.into()).read_to_end(&mut bytes)?;
    postcard::from_bytes(&bytes).map(Some).map_err(|_| CarrierError::Format)
}
