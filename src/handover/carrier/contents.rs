//! Reading a carrier: what the process before this one handed over.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Instant;

use bytes::Bytes;
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use serde::de::DeserializeOwned;

use super::annex::is_annex;
use super::{DESCRIPTORS_MAX, Frame, HEADER, Record};
use crate::connections::body_remainder::Remainder;
use crate::connections::limits::Timeout;
use crate::connections::parked::Idle;
use crate::connections::tunnel::Tunnel;
use crate::handover::drain_history::DrainHistory;
use crate::handover::shut_door::ShutDoor;
use crate::sockets::stream::Stream;
#[cfg(feature = "tls")]
use crate::tls::ticket_keys::TicketKeys;

/// The longest header of a message.
const HEADER_MAX: usize = 32;

/// The most bytes of records of one message; far above what the limits on heads allow.
const RECORDS_MAX: u32 = 256 << 20;

/// What was in a carrier.
#[derive(Debug, Default)]
pub(crate) struct CarrierContents {
    /// Connections by the name of their server.
    pub(crate) connections: Vec<(String, Idle)>,
    /// Tunnels by the name of their server.
    pub(crate) tunnels: Vec<(String, Box<Tunnel>)>,
    /// Listening sockets by the name of their server.
    pub(crate) listeners: Vec<CarriedListener>,
    /// The files of those that are Unix sockets, and that the writer bound.
    pub(crate) files: Vec<OwnedFd>,
    /// How many clients have hung up meanwhile.
    pub(crate) gone: usize,
    /// How many connections were closed because their server may not have more, or this process no more
    /// descriptors. They had been idle longest.
    pub(crate) surplus: BTreeMap<String, usize>,
    /// How many connections each server has been given.
    pub(super) counts: BTreeMap<String, usize>,
    /// The drains up to now, if the writer wrote its last frame.
    pub(crate) history: Option<DrainHistory>,
    /// Applications that requests wait for.
    pub(crate) doors: Vec<ShutDoor>,
    /// The keys of TLS session tickets, by the name of their server.
    #[cfg(feature = "tls")]
    pub(crate) ticket_keys: Vec<(String, TicketKeys)>,
}

/// A listening socket that came in a carrier.
#[derive(Debug)]
pub(crate) struct CarriedListener {
    pub(crate) server: String,
    /// The service manager opened it.
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
pub(super) struct Message {
    pub(super) fds: Vec<OwnedFd>,
    /// The kernel dropped some: this process may have no more descriptors.
    pub(super) is_cut: bool,
}

// === impl CarrierContents ===

impl CarrierContents {
    /// Takes everything out of a carrier, in order. Of each server's connections, idle ones beyond `limit` are left
    /// out. What cannot be understood is closed.
    ///
    /// Never blocks: the writer has finished before the reader starts.
    pub(crate) fn take(
        carrier: &OwnedFd,
        limit: &dyn Fn(&str) -> usize,
    ) -> (Self, Option<CarrierError>) {
        let mut contents = Self::default();
        let mut annex_error = None;
        let error = contents.receive(carrier, limit, &mut annex_error).err();
        (contents, error.or(annex_error))
    }

    fn receive(
        &mut self,
        carrier: &OwnedFd,
        limit: &dyn Fn(&str) -> usize,
        annex_error: &mut Option<CarrierError>,
    ) -> Result<(), CarrierError> {
        let Some(first) = receive(carrier, &HEADER)? else { return Ok(()) };
        let mut records = open_records(first)?;
        while let Some(branches) = receive(carrier, &HEADER)? {
            for branch in branches.fds {
                if is_annex(&branch) {
                    // What is behind it has no part in its error.
                    *annex_error = self.take_annex(&branch).err().or(annex_error.take());
                    continue;
                }
                while let Some(message) = receive(&branch, &HEADER)? {
                    let Some(Frame::Batch(batch)) = next_frame(&mut records)? else {
                        return Err(CarrierError::Format);
                    };
                    self.add(batch, message, limit)?;
                }
            }
            if branches.is_cut {
                break;
            }
        }
        // The remaining records are those of descriptors that the kernel dropped.
        loop {
            match next_frame(&mut records)? {
                Some(Frame::Batch(batch)) => {
                    for record in batch {
                        self.leave_out(record);
                    }
                }
                Some(Frame::End(history)) => {
                    self.history = Some(history);
                    self.doors = next_frame(&mut records)?.unwrap_or_default();
                    #[cfg(feature = "tls")]
                    {
                        self.ticket_keys = next_frame(&mut records)?.unwrap_or_default();
                    }
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
        limit: &dyn Fn(&str) -> usize,
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
                Some(fd) => self.add_one(record, fd, limit),
                // The kernel drops the last descriptors of a message.
                None => self.leave_out(record),
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, record: Record) {
        if let Record::Connection { server, .. } | Record::Secured { server, .. } = record {
            *self.surplus.entry(server).or_default() += 1;
        }
    }

    fn add_one(&mut self, record: Record, fd: OwnedFd, limit: &dyn Fn(&str) -> usize) {
        match record {
            Record::Listener { server, managers } => {
                self.listeners.push(CarriedListener { server, managers, fd });
            }
            Record::SocketFile => self.files.push(fd),
            Record::Connection { ref server, ref unread, skip: None, .. }
            | Record::Secured { ref server, ref unread, skip: None, .. }
                if unread.is_empty()
                    && self.counts.get(server).is_some_and(|count| *count >= limit(server))
                    && !has_unread(&fd) =>
            {
                self.leave_out(record);
            }
            Record::Connection { server, peer, unread, skip, fresh } => {
                self.add_connection(server, &peer, Stream::adopt(fd), unread, skip, fresh);
            }
            Record::Secured { server, peer, unread, skip, fresh, tls } => {
                let stream = Stream::adopt(fd).and_then(|stream| with_tls(stream, tls));
                self.add_connection(server, &peer, stream, unread, skip, fresh);
            }
        }
    }

    fn add_connection(
        &mut self,
        server: String,
        peer: &str,
        stream: io::Result<Stream>,
        unread: Vec<u8>,
        skip: Option<Remainder>,
        fresh: bool,
    ) {
        match stream {
            Ok(stream) => {
                let unread = Bytes::from(unread);
                let waiting = if fresh { Timeout::FirstByte } else { Timeout::Idle };
                // Or with the beginning of one, which is not told apart.
                let has_begun = skip.is_none() && !unread.is_empty();
                let waits_since = has_begun.then(Instant::now);
                let idle = Idle { stream, unread, skip, waiting, waits_since };
                *self.counts.entry(server.clone()).or_default() += 1;
                self.connections.push((server, idle));
            }
            Err(error) => {
                tracing::debug!(server, peer, %error, "a client hung up during the restart");
                self.gone += 1;
            }
        }
    }
}

/// The stream with its TLS, as the writer has left it.
#[cfg(feature = "tls")]
pub(super) fn with_tls(stream: Stream, tls: Vec<u8>) -> io::Result<Stream> {
    let tls = zeroize::Zeroizing::new(tls);
    let carried = postcard::from_bytes(&tls).map_err(io::Error::other)?;
    Ok(stream.carried(carried))
}

#[cfg(not(feature = "tls"))]
pub(super) fn with_tls(_: Stream, _: Vec<u8>) -> io::Result<Stream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this program is built without TLS"))
}

/// Tells whether a client has sent something that has not been read.
fn has_unread(socket: &OwnedFd) -> bool {
    ioctl_fionread(socket).is_ok_and(|bytes| bytes > 0)
}

/// The records of a carrier, or an annex, which its first message brings.
pub(super) fn open_records(first: Message) -> Result<File, CarrierError> {
    let mut first = first.fds.into_iter();
    let (Some(records), None) = (first.next(), first.next()) else {
        return Err(CarrierError::Format);
    };
    let mut records = File::from(records);
    // The writer shares the file's offset; the records begin at the start.
    records.rewind()?;
    Ok(records)
}

/// The next message, which has to begin with `header`, if there is one.
pub(super) fn receive(end: &OwnedFd, header: &[u8]) -> Result<Option<Message>, CarrierError> {
    let mut bytes = [0; HEADER_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    // No more, or it would be the next message's in a stream.
    let room = &mut bytes[..header.len()];
    let received = recvmsg(end, &mut [IoSliceMut::new(room)], &mut ancillary, flags);
    let received = match received {
        Ok(received) => received,
        Err(Errno::AGAIN) => return Ok(None),
        Err(error) => return Err(CarrierError::Io(error.into())),
    };
    // Owned from here on: they are closed if anything below fails.
    let mut fds = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(part) = part {
            fds.extend(part);
        }
    }
    let is_cut = received.flags.contains(ReturnFlags::CTRUNC);
    let is_empty = fds.is_empty() && !is_cut;
    if received.bytes == 0 && (is_empty || !header.is_empty()) {
        return Ok(None);
    }
    if bytes[..received.bytes] != *header || is_empty {
        return Err(CarrierError::Format);
    }
    Ok(Some(Message { fds, is_cut }))
}

/// The next frame of the records, if there is one.
pub(super) fn next_frame<T: DeserializeOwned>(
    records: &mut File,
) -> Result<Option<T>, CarrierError> {
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
    // Some of it may be keys.
    #[cfg(feature = "tls")]
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(length as usize));
    #[cfg(not(feature = "tls"))]
    let mut bytes = Vec::new();
    records.take(length.into()).read_to_end(&mut bytes)?;
    postcard::from_bytes(&bytes).map(Some).map_err(|_| CarrierError::Format)
}
