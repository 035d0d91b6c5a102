//! The other end of a connection: the daemon's own socket, as the kernel has it.

use std::{fs, net::SocketAddr, os::fd::OwnedFd, time::Duration};

use rustix::{
    net::{getpeername, sockopt},
    process::{PidfdGetfdFlags, pidfd_getfd},
};
use socket2::SockRef;

use super::wait::pidfd;

/// What is set on a TCP socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Options {
    pub(crate) no_delay: bool,
    pub(crate) not_sent_low_water: u32,
    /// The time until a silent peer is asked, that between two questions, and how many there are.
    pub(crate) keepalive: Option<(Duration, Duration, u32)>,
    pub(crate) user_timeout_ms: u32,
}

/// The options of the socket of process `pid` whose peer is `client`.
#[track_caller]
pub(crate) fn options(pid: u32, client: SocketAddr) -> Options {
    let socket = socket(pid, client).expect("the daemon has the client's connection");
    let keepalive = sockopt::socket_keepalive(&socket).unwrap().then(|| {
        let idle = sockopt::tcp_keepidle(&socket).unwrap();
        let interval = sockopt::tcp_keepintvl(&socket).unwrap();
        (idle, interval, sockopt::tcp_keepcnt(&socket).unwrap())
    });
    Options {
        no_delay: sockopt::tcp_nodelay(&socket).unwrap(),
        not_sent_low_water: SockRef::from(&socket).tcp_notsent_lowat().unwrap(),
        keepalive,
        user_timeout_ms: sockopt::tcp_user_timeout(&socket).unwrap(),
    }
}

/// A copy of a descriptor of another process.
fn socket(pid: u32, client: SocketAddr) -> Option<OwnedFd> {
    let process = pidfd(pid).ok()?;
    let numbers = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let sockets = numbers
        .filter_map(|number: i32| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok());
    let is_the_clients = |socket: &OwnedFd| {
        let peer = getpeername(socket).ok().flatten().and_then(|peer| peer.try_into().ok());
        peer == Some(client)
    };
    sockets.into_iter().find(is_the_clients)
}
