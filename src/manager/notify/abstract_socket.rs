//! Sending a message to an abstract socket: a `NOTIFY_SOCKET` that begins with `@`.
//!
//! sd-notify 0.5 takes `@name` for a path, and finds no such file. Some container managers and
//! supervisors pass such a name; systemd, a path.
//!
//! # Source
//! `sd_notify(3)`, `unix(7)`.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::message::Message;

/// Sends to the abstract socket `name` (without the `@`), as `sd_notify::notify_with_fds` does to a path.
pub(super) fn send(name: &[u8], message: &Message) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    let lines: Vec<_> = message.states().iter().map(ToString::to_string).collect();
    let text = lines.join("\n") + "\n";
    let fds: Vec<_> = message.fd().into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("one descriptor at a time"));
    }
    sendmsg(&socket, &[IoSlice::new(text.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}
