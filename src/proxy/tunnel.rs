//! A tunnel's task: two connected sockets, each of which gets what comes from the other.
//!
//! ```text
//!  client ──► to_upstream: at most BUFFER bytes ──► upstream
//!         ◄── to_client: at most BUFFER bytes ◄────
//! ```
//!
//! A restart does not end it. While it is held it is deposited: both sockets, and what was read from one and not yet
//! written to the other. The next process has it then, or this one goes on.
//!
//! Invariants:
//! - Nothing is read from a socket before the other has taken all that was read. So a direction keeps no more than one
//!   read, a fast sender is slowed down by a slow receiver, and memory is needed only while bytes wait.
//! - A sender's end reaches the receiver behind its last byte, and the other direction goes on.
//! - A held tunnel reads nothing: what waits in the kernel is the next process's.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, ReadBuf, copy_bidirectional};
use tokio::time::timeout;

use crate::connections::registry::{Deposit, Handle, Mode, Registration, Registry};
use crate::connections::tunnel::{Flow, FlowState, Tunnel};
use crate::http::tunnel::ClientEnd;
use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::service::Proxy;
use crate::proxy::wire::{UpstreamIo, Wire};
use crate::sockets::stream::Stream;

/// How many bytes are read at a time, which is how many a direction keeps at most.
const BUFFER: usize = 16 << 10;

/// How long a client may take to see the end.
const LINGER: Duration = Duration::from_secs(2);

/// Why a tunnel's task has something to do besides passing bytes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Turn {
    /// Both directions have ended, or one end is gone.
    Over,
    /// It is to be held.
    Held,
    /// No process takes over, and the linger is over.
    Closed,
}

/// Joins the client's connection, as soon as hyper gives it away, and the application's, of which `read` was read. The
/// answer that lets the client have it has to say [`BecomesTunnel`](crate::http::tunnel::BecomesTunnel).
pub(super) fn open(client: OnUpgrade, stream: Stream, read: Bytes, metrics: &Arc<ProxyMetrics>) {
    let open = metrics.tunnel_begins();
    tokio::spawn(async move {
        // A client that hangs up before its upgrade gets none.
        let Ok(client) = client.await else { return };
        match ClientEnd::of(client) {
            Ok(client) => join(client, stream, read).await,
            Err(client) => copy(client, stream, &read).await,
        }
        drop(open);
    });
}

/// Goes on with a tunnel that was taken over; `proxy` is what its server has now, if that is a proxy still.
pub(crate) fn resume(tunnel: Box<Tunnel>, registry: &Arc<Registry>, proxy: Option<&Proxy>) {
    let Some(client) = tunnel.client.socket() else { return };
    let registration = registry.join_tunnel(client);
    let open = proxy.map(|proxy| proxy.state().metrics.tunnel_begins());
    tokio::spawn(async move {
        pass_on(tunnel, registration).await;
        drop(open);
    });
}

async fn join(client: ClientEnd, upstream: Stream, read: Bytes) {
    let ClientEnd { stream, unread, registration } = client;
    let tunnel = Box::new(Tunnel::new(stream, upstream, unread, read));
    if tunnel.may_leave() {
        registration.handle().tunnelled();
    } else {
        registration.handle().upgraded();
    }
    pass_on(tunnel, registration).await;
}

/// A tunnel for a client of another server than this crate's, with which no restart has to do.
async fn copy(client: Upgraded, upstream: Stream, read: &[u8]) {
    let (mut client, (mut upstream, _)) =
        (TokioIo::new(client), UpstreamIo::new(upstream, Wire::new(true)));
    // Either end may be gone at any time.
    if client.write_all(read).await.is_ok() {
        let _ = copy_bidirectional(&mut client, &mut upstream).await;
    }
}

/// The registration ends when both sockets are closed.
async fn pass_on(tunnel: Box<Tunnel>, registration: Registration) {
    // Declared behind the registration, and so dropped before it.
    let mut tunnel = tunnel;
    loop {
        match poll_fn(|cx| tunnel.poll(registration.handle().poll_mode(cx), cx)).await {
            Turn::Over => return tunnel.linger(registration.handle()).await,
            Turn::Closed => return poll_fn(|cx| tunnel.poll_close(cx)).await,
            Turn::Held => {
                registration.deposit(Deposit::Tunnel(tunnel));
                let returned = poll_fn(|cx| registration.poll_released(cx)).await;
                let Deposit::Tunnel(returned) = returned else {
                    unreachable!("a registration gets back what it deposited");
                };
                tunnel = returned;
            }
        }
    }
}

// === impl Tunnel ===

impl Tunnel {
    /// Tells whether another process can have it. A stream of the program's own stays.
    fn may_leave(&self) -> bool {
        self.client.socket().is_some() && self.upstream.socket().is_some()
    }

    /// Passes on what can be passed on now.
    fn poll(&mut self, mode: Mode, cx: &mut Context<'_>) -> Poll<Turn> {
        match mode {
            Mode::Hold if self.may_leave() => {
                return Poll::Ready(self.settle().map_or(Turn::Over, |()| Turn::Held));
            }
            Mode::Close => return Poll::Ready(Turn::Closed),
            Mode::Serve | Mode::Hold | Mode::Linger => {}
        }
        let Self { client, upstream, to_upstream, to_client } = self;
        let to_upstream = to_upstream.poll(client, upstream, cx);
        let to_client = to_client.poll(upstream, client, cx);
        match (to_upstream, to_client) {
            (Poll::Ready(Err(_)), _)
            | (_, Poll::Ready(Err(_)))
            | (Poll::Ready(_), Poll::Ready(_)) => Poll::Ready(Turn::Over),
            _ => Poll::Pending,
        }
    }

    /// Brings the client's connection to where it may go to another process: with TLS between two records.
    ///
    /// # Errors
    /// When it has come to its end, in one direction at least.
    #[cfg(feature = "tls")]
    fn settle(&mut self) -> io::Result<()> {
        let mut read = Vec::new();
        self.client.settle(&mut read)?;
        if !read.is_empty() {
            self.to_upstream.unsent = [&self.to_upstream.unsent[..], &read].concat().into();
        }
        Ok(())
    }

    #[cfg(not(feature = "tls"))]
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "with TLS it may be at its end"
    )]
    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Lets the client take what it was sent: a socket that is closed before everything was read from it drops what
    /// it has not sent yet. What still comes is discarded.
    async fn linger(&mut self, handle: &Handle) {
        let Self { client, .. } = self;
        client.shutdown_now();
        let ended = poll_fn(|cx| {
            let mut space = [MaybeUninit::uninit(); BUFFER];
            loop {
                if matches!(handle.poll_mode(cx), Mode::Hold | Mode::Close) {
                    return Poll::Ready(());
                }
                let mut buf = ReadBuf::uninit(&mut space);
                let read = ready!(client.poll_read(cx, &mut buf));
                if read.is_err() || buf.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        });
        // If the client goes on for longer it does not look for an end.
        let _ = timeout(LINGER, ended).await;
    }

    /// Sends what was read, as far as the sockets take it at once, and says that nothing follows.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { client, upstream, to_upstream, to_client } = self;
        for (flow, to) in [(to_upstream, upstream), (to_client, client)] {
            // Who takes nothing now has not taken anything for a while.
            let _ = flow.poll_write(to, cx);
            to.shutdown_now();
        }
        Poll::Ready(())
    }
}

// === impl Flow ===

impl Flow {
    /// Passes on what comes from one end to the other; ready once this direction has ended.
    ///
    /// # Errors
    /// When the sender is gone, which ends the other direction as well. A receiver that is gone, or takes no more, may
    /// have said something before: its own direction goes on until its end.
    fn poll(
        &mut self,
        from: &mut Stream,
        to: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.state == FlowState::Ended {
                return Poll::Ready(Ok(()));
            }
            let mut written = self.poll_write(to, cx);
            if self.state == FlowState::Ending && matches!(written, Poll::Ready(Ok(()))) {
                written = to.poll_shutdown(cx);
                if matches!(written, Poll::Ready(Ok(()))) {
                    self.state = FlowState::Ended;
                }
            }
            if ready!(written).is_err() {
                *self = Self { unsent: Bytes::new(), state: FlowState::Ended };
            }
            if self.state == FlowState::Open {
                ready!(self.poll_read(from, to, cx))?;
            }
        }
    }

    /// Writes what is unsent, and has a stream of the program's own send it.
    fn poll_write(&mut self, to: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(to.poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.unsent.advance(written),
            }
        }
        // Gives the memory back.
        self.unsent = Bytes::new();
        to.poll_flush(cx)
    }

    /// Reads once, and keeps what the receiver does not take at once.
    fn poll_read(
        &mut self,
        from: &mut Stream,
        to: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::uninit(); BUFFER];
        let mut buf = ReadBuf::uninit(&mut space);
        ready!(from.poll_read(cx, &mut buf))?;
        let read = buf.filled();
        if read.is_empty() {
            self.state = FlowState::Ending;
            return Poll::Ready(Ok(()));
        }
        // An error is found again by the write that follows.
        let written = match to.poll_write(cx, read) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        self.unsent = Bytes::copy_from_slice(&read[written..]);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod served;
