//! hyper's connection, before and after the service has agreed to switch protocols.
//!
//! Once a client has offered an upgrade, an upgradeable connection of hyper's gives its socket away at its end,
//! whether the offer was accepted or not, and what it has not written yet is lost. So the connection is made
//! upgradeable only when the service has agreed.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::{Connection, Parts, UpgradeableConnection};
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;

use crate::connections::registry::Handle;
use crate::http::activity::Activity;
use crate::http::io::Io;

/// A connection of hyper's.
pub(super) enum Switchable<S: HttpService<Incoming>> {
    Http(Connection<TokioIo<Io>, S>),
    Switching(UpgradeableConnection<TokioIo<Io>, S>),
    /// While one becomes the other.
    Neither,
}

// === impl Switchable ===

impl<S, B> Switchable<S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    /// Polls hyper, until it is done with the connection.
    pub(super) fn poll(
        &mut self,
        activity: &Activity,
        cx: &mut Context<'_>,
    ) -> Poll<hyper::Result<()>> {
        loop {
            match self {
                Self::Http(connection) => match Pin::new(connection).poll(cx) {
                    // hyper has dropped an offer that was not accepted, and writes the rest when polled again.
                    Poll::Ready(Ok(())) if activity.take_offer() => {}
                    Poll::Pending if activity.is_switching() => self.switch(),
                    polled => return polled,
                },
                Self::Switching(connection) => return Pin::new(connection).poll(cx),
                Self::Neither => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Has the connection end after the answer that is being sent, or before the next request.
    pub(super) fn graceful_shutdown(&mut self) {
        match self {
            Self::Http(connection) => Pin::new(connection).graceful_shutdown(),
            Self::Switching(connection) => Pin::new(connection).graceful_shutdown(),
            Self::Neither => {}
        }
    }

    /// Takes the connection apart; none if it was upgraded, and the service has the socket.
    pub(super) fn into_parts(self) -> Option<Parts<TokioIo<Io>, S>> {
        match self {
            Self::Http(connection) => Some(connection.into_parts()),
            Self::Switching(connection) => connection.into_parts(),
            Self::Neither => None,
        }
    }

    fn switch(&mut self) {
        if let Self::Http(connection) = std::mem::replace(self, Self::Neither) {
            *self = Self::Switching(connection.with_upgrades());
        }
    }
}

/// Tells the registry that the connection speaks another protocol; of a tunnel it hears from the tunnel itself.
pub(super) fn tell_upgraded(handle: &Handle, activity: &Activity) {
    if !activity.is_becoming_tunnel() {
        handle.upgraded();
    }
}
