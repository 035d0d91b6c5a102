//! Zones of IPv6 addresses by name: the kernel numbers network interfaces, and an interface has another number each
//! time that it appears.
//!
//! # Source
//! RFC 4007 section 11 (`address%zone`), ipv6(7) (`sin6_scope_id`), netdevice(7).

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::netdevice::{index_to_name, name_to_index};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// How many bytes the name of an interface may have, its terminator included.
const IFNAMSIZ: usize = 16;

/// Tells whether an interface may have this name. Digits alone are a number.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':' | '%');
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    !is_number && text.len() < IFNAMSIZ && text.chars().all(fits) && !matches!(text, "." | "..")
}

/// The zone of an address; 0 unless it is a link-local one: the kernel keeps no zone for others.
pub(crate) fn of(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V6(address) if address.ip().is_unicast_link_local() => address.scope_id(),
        _ => 0,
    }
}

/// The address with the zone that `interface` is in the network of `socket`.
///
/// # Errors
/// `ENODEV`: there is no such interface, or not yet.
pub(crate) fn resolve(
    mut address: SocketAddrV6,
    interface: &str,
    socket: impl AsFd,
) -> io::Result<SocketAddr> {
    address.set_scope_id(name_to_index(socket, interface)?);
    Ok(address.into())
}

/// The same in the network of this process.
pub(crate) fn resolve_here(address: SocketAddrV6, interface: &str) -> io::Result<SocketAddr> {
    resolve(address, interface, any_socket()?)
}

/// Finds out whether there is an interface with the number that an address has as its zone.
pub(crate) fn check_number(address: SocketAddr) -> io::Result<()> {
    match of(address) {
        0 => Ok(()),
        number => Ok(index_to_name(any_socket()?, number).map(drop)?),
    }
}

/// The name of a zone in the network of `socket`.
pub(crate) fn name(socket: impl AsFd, zone: u32) -> Option<String> {
    index_to_name(socket, zone).ok().filter(|name| is_name(name))
}

/// A socket to ask the kernel through; the family does not matter, and every sandbox allows this one.
fn any_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}
