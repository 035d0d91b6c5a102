//! Tunnels in a carrier: an *annex*, which readers that know no tunnels pass over.
//!
//! An annex comes where branches come, and is a pair of connected Unix sockets as they are, but of packets. Its first
//! message has no bytes, and one descriptor: a memfd with records. To a reader that knows only branches that is the
//! end of an empty one: it closes what is in it, and takes everything else. So tunnels end where the next process is
//! of an earlier version, and nothing else does; the version of the carrier stays.
//!
//! Each of the other messages is a header (magic, version of the annex) with the two descriptors of up to
//! [`TUNNELS_MAX`] tunnels, the client's first. The memfd holds the records of each message, preceded by their length.
//! Annexes stand before the branches: where descriptors are short, idle connections are left out first.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};
use serde::{Deserialize, Serialize};

use super::contents::{CarrierContents, CarrierError, next_frame, open_records, receive, with_tls};
use super::{Carrier, DESCRIPTORS_MAX, Shortage, append, pair_of, seal, send, send_with};
use crate::connections::registry::Registry;
use crate::connections::tunnel::{Flow, FlowState, Tunnel};
use crate::manager::store_names::CARRIER_NAME;
use crate::sockets::stream::Stream;

/// The first bytes of every message but the first; the last byte is the version.
pub(super) const ANNEX_HEADER: &[u8] = b"lockstepd tunnels\x02";

/// The most tunnels of one message.
const TUNNELS_MAX: usize = DESCRIPTORS_MAX / 2;

/// How many unsent bytes of one message make it full.
const BYTES_MAX: usize = 4 << 20;

/// An annex that is being filled.
#[derive(Debug)]
pub(super) struct Annex {
    write_end: OwnedFd,
    records: File,
    /// How many bytes of the records belong to messages that have been sent.
    written: u64,
}

/// What the next process has to know of a tunnel.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct TunnelRecord {
    pub(super) server: String,
    pub(super) to_upstream: FlowRecord,
    pub(super) to_client: FlowRecord,
    /// What the client's TLS needs to go on, in the same encoding; empty: there is none.
    pub(super) tls: Vec<u8>,
}

/// What it has to know of a direction.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct FlowRecord {
    pub(super) unsent: Vec<u8>,
    pub(super) state: FlowState,
}

/// The records and descriptors of one message.
#[derive(Debug, Default)]
struct Batch<'t> {
    records: Vec<TunnelRecord>,
    fds: Vec<BorrowedFd<'t>>,
    unsent: usize,
    /// Set to true when they have been sent.
    are_sent: Vec<&'t mut bool>,
}

// === impl Annex ===

impl Annex {
    fn new(carrier: &OwnedFd, buffer: usize) -> Result<Self, Errno> {
        let (write_end, read_end) = pair_of(SocketType::SEQPACKET, buffer)?;
        let records = memfd_create(CARRIER_NAME, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        send_with(&write_end, &[], &[records.as_fd()])?;
        send(carrier, &[read_end.as_fd()])?;
        Ok(Self { write_end, records: records.into(), written: 0 })
    }

    fn send(&mut self, records: &[TunnelRecord], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        // Before they are sent: a descriptor without a record would be lost.
        let length = append(&self.records, self.written, &records)?;
        send_with(&self.write_end, ANNEX_HEADER, fds)?;
        self.written += length;
        Ok(())
    }
}

// === impl Carrier ===

impl Carrier {
    /// Writes the deposited tunnels of a server that have not been written yet, as many as fit now.
    pub(super) fn fill_annex(&mut self, server: &Registry) {
        server.with_unsent_tunnels(|tunnels| {
            let mut batch = Batch::default();
            for (tunnel, is_sent) in tunnels {
                batch.push(server.server(), tunnel, is_sent);
                if batch.is_full() {
                    self.add_tunnels(server.server(), std::mem::take(&mut batch));
                }
            }
            self.add_tunnels(server.server(), batch);
        });
    }

    fn add_tunnels(&mut self, server: &str, batch: Batch<'_>) {
        let Batch { records, fds, are_sent, .. } = batch;
        let tunnels = records.len() as u64;
        let sent = match &self.loaded.shortage {
            None => self.send_tunnels(&records, &fds),
            Some(Shortage(error)) => Err(*error),
        };
        self.loaded.count(server, tunnels, sent);
        if sent.is_ok() {
            for is_sent in are_sent {
                *is_sent = true;
            }
        }
    }

    /// Sends tunnels, in a new annex if there is no room in the last.
    pub(super) fn send_tunnels(
        &mut self,
        records: &[TunnelRecord],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Errno> {
        if records.is_empty() {
            return Ok(());
        }
        match self.annex.as_mut().map(|annex| annex.send(records, fds)) {
            Some(Ok(())) => return Ok(()),
            None | Some(Err(Errno::AGAIN | Errno::NOBUFS)) => {}
            Some(Err(error)) => return Err(error),
        }
        self.finish_annex().map_err(|_| Errno::IO)?;
        self.annex = None;
        self.annex.insert(Annex::new(&self.write_end, self.buffer)?).send(records, fds)
    }

    /// Takes the records of what has not been sent off the last annex, and seals them.
    pub(super) fn finish_annex(&self) -> std::io::Result<()> {
        let Some(annex) = &self.annex else { return Ok(()) };
        annex.records.set_len(annex.written)?;
        seal(&annex.records)
    }
}

// === impl Batch ===

impl<'t> Batch<'t> {
    fn push(&mut self, server: &str, tunnel: &'t Tunnel, is_sent: &'t mut bool) {
        let (client, upstream) = (tunnel.client.socket(), tunnel.upstream.socket());
        // A tunnel with a stream of the program's own is never deposited; one may have lost a socket.
        let (Some(client), Some(upstream)) = (client, upstream) else { return };
        let Some(tls) = tls_of(&tunnel.client) else { return };
        self.records.push(TunnelRecord {
            server: server.to_owned(),
            to_upstream: FlowRecord::of(&tunnel.to_upstream),
            to_client: FlowRecord::of(&tunnel.to_client),
            tls,
        });
        self.fds.extend([client, upstream]);
        self.unsent += tunnel.unsent();
        self.are_sent.push(is_sent);
    }

    fn is_full(&self) -> bool {
        self.records.len() == TUNNELS_MAX || self.unsent >= BYTES_MAX
    }
}

// === impl FlowRecord ===

impl FlowRecord {
    fn of(flow: &Flow) -> Self {
        Self { unsent: flow.unsent.to_vec(), state: flow.state }
    }
}

impl From<FlowRecord> for Flow {
    fn from(FlowRecord { unsent, state }: FlowRecord) -> Self {
        Self { unsent: Bytes::from(unsent), state }
    }
}

// === impl CarrierContents ===

impl CarrierContents {
    /// Takes the tunnels of an annex. They count as connections of their server, and are never left out for that.
    pub(super) fn take_annex(&mut self, annex: &OwnedFd) -> Result<(), CarrierError> {
        let Some(first) = receive(annex, &[])? else { return Ok(()) };
        let mut records = open_records(first)?;
        while let Some(message) = receive(annex, ANNEX_HEADER)? {
            let batch: Option<Vec<TunnelRecord>> = next_frame(&mut records)?;
            let batch = batch.ok_or(CarrierError::Format)?;
            if message.fds.len() != 2 * batch.len() && !message.is_cut {
                return Err(CarrierError::Format);
            }
            let mut fds = message.fds.into_iter();
            for record in batch {
                match (fds.next(), fds.next()) {
                    (Some(client), Some(upstream)) => self.add_tunnel(record, client, upstream),
                    // The kernel drops the last descriptors of a message.
                    _ => *self.surplus.entry(record.server).or_default() += 1,
                }
            }
        }
        // What is left are the records of descriptors that the kernel dropped with their message.
        while let Some(batch) = next_frame::<Vec<TunnelRecord>>(&mut records)? {
            for record in batch {
                *self.surplus.entry(record.server).or_default() += 1;
            }
        }
        Ok(())
    }

    fn add_tunnel(&mut self, record: TunnelRecord, client: OwnedFd, upstream: OwnedFd) {
        let TunnelRecord { server, to_upstream, to_client, tls } = record;
        let client = Stream::adopt_end(client)
            .and_then(|client| if tls.is_empty() { Ok(client) } else { with_tls(client, tls) });
        match (client, Stream::adopt_end(upstream)) {
            (Ok(client), Ok(upstream)) => {
                let (to_upstream, to_client) = (to_upstream.into(), to_client.into());
                let tunnel = Box::new(Tunnel { client, upstream, to_upstream, to_client });
                *self.counts.entry(server.clone()).or_default() += 1;
                self.tunnels.push((server, tunnel));
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(server, %error, "a tunnel ended during the restart");
                self.gone += 1;
            }
        }
    }
}

/// What a stream's TLS needs to go on; none of one that is not settled, which is never deposited.
#[cfg(feature = "tls")]
fn tls_of(client: &Stream) -> Option<Vec<u8>> {
    if !client.is_secured() {
        return Some(Vec::new());
    }
    postcard::to_stdvec(&client.carry()?).ok()
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "with TLS there may be none")]
fn tls_of(_: &Stream) -> Option<Vec<u8>> {
    Some(Vec::new())
}

/// Tells whether what came where branches come is an annex.
pub(super) fn is_annex(branch: &OwnedFd) -> bool {
    sockopt::socket_type(branch).is_ok_and(|kind| kind == SocketType::SEQPACKET)
}

#[cfg(test)]
mod tests;
