//! When a single idle connection has lingered for long enough, where no process takes it over.
//!
//! A connection lingers so that a request which is on its way when the server stops is answered. The linger time is
//! the ceiling. A connection ends before, once a request that crosses its end is unlikely:
//!
//! - A client that has sent nothing for a time T since its last answer sends about once in T, or less often. A request
//!   crosses the close if it is sent in the half round trip before that reaches the client, which has a probability of
//!   about (RTT / 2) / T. With T of 20 round trips that is one connection in forty, at most.
//! - A peer on the same machine is less than 0.1 ms away, and [`QUIET`] is thousands of such round trips. It is that
//!   long for two other reasons. What seems to be here may stand for a client that is not: behind a relay of TCP
//!   (`ssh -L`, a container's proxy) it may be 12 ms away. And not all clients look whether a connection was closed
//!   before they use it: one that asks again within [`QUIET`] of each answer always gets its last one.
//! - For how long the client was silent before the stop counts: the probability does not depend on when the stop was.
//!   But a client may wake at any time, and use several connections then. So each is kept for [`BURST`] from the stop,
//!   in which the others of a burst that the stop fell into are used as well.
//! - A connection that never had a request counts from its accept: its first request may be about to come.
//!
//! How far away other peers are is not known here: none of the library's crates reads `TCP_INFO`. They keep the whole
//! linger time, and so do connections that have no socket.

use std::time::Duration;

use tokio::time::Instant;

use crate::sockets::peer::Peer;
use crate::sockets::stream::Stream;

/// After how long without a request a near client is not waited for any more.
const QUIET: Duration = Duration::from_millis(250);

/// How long each connection lingers at least.
const BURST: Duration = Duration::from_millis(20);

/// How long idle connections linger when somebody at a terminal has asked for the stop: nobody else's request is on its
/// way there, and whoever has pressed Ctrl-C waits for the prompt.
pub(crate) const AT_TERMINAL: Duration = BURST;

/// When a connection that has been idle `since` then has lingered for long enough, where connections linger from `stop`
/// on. None: it lingers for as long as it may.
pub(crate) fn end_of(stream: &Stream, since: Instant, stop: Instant) -> Option<Instant> {
    is_near(stream).then(|| (since + QUIET).max(stop + BURST))
}

/// Tells whether the peer is on this machine.
fn is_near(stream: &Stream) -> bool {
    let is_here = match stream.peer() {
        Peer::Tcp(address) => address.ip().is_loopback(),
        Peer::Unix(_) => true,
        Peer::Other => false,
    };
    is_here && stream.socket().is_some()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sockets::own_stream::OwnStream;

    fn tcp(peer: &str) -> Stream {
        let (socket, _) = UnixStream::pair().unwrap();
        Stream::tcp(socket.into(), peer.parse::<SocketAddr>().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_near_client_is_waited_for_until_it_has_been_silent_for_a_while() {
        let stop = Instant::now() + Duration::from_secs(60);
        let at =
            |silent: Duration| end_of(&tcp("127.0.0.1:1"), stop - silent, stop).unwrap() - stop;
        assert_eq!(at(Duration::ZERO), QUIET);
        assert_eq!(at(Duration::from_millis(100)), Duration::from_millis(150));
        assert_eq!(at(Duration::from_secs(60)), BURST);
        // Its last answer came behind the stop, and said nothing of it.
        let later = stop + Duration::from_secs(1);
        assert_eq!(end_of(&tcp("127.0.0.1:1"), later, stop), Some(later + QUIET));
    }

    #[tokio::test]
    async fn clients_on_this_machine_are_near_and_no_others() {
        let now = Instant::now();
        let is_near = |stream: &Stream| end_of(stream, now, now).is_some();
        for peer in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_near(&tcp(peer)), "{peer}");
        }
        for peer in ["10.0.0.1:1", "169.254.0.1:1", "192.0.2.1:1", "[fe80::1]:1", "[2001:db8::1]:1"]
        {
            assert!(!is_near(&tcp(peer)), "{peer}");
        }
        let (socket, _) = UnixStream::pair().unwrap();
        assert!(is_near(&Stream::unix(socket.into())));
        let (own, _) = tokio::io::duplex(64);
        let here = Peer::Tcp("127.0.0.1:1".parse().unwrap());
        assert!(!is_near(&Stream::own(OwnStream::new(own), here)));
    }
}
