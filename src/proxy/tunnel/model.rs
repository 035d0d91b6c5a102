//! Tunnels between real sockets, with clients and applications that write, read and end at any time, and hand-overs in
//! between: every byte arrives, once and in order, and so does every end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use proptest::prelude::*;
use rustix::net::sockopt;
use socket2::SockRef;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep};

use super::*;
use crate::handover::carrier::{Carrier, CarrierContents};
use crate::handover::drain_history::DrainHistory;

/// How long everything may take to come to its end; most of the time it takes no time that could be measured.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(End, usize),
    Read(End, usize),
    /// Sends nothing more.
    ShutDown(End),
    /// Lets the runtime look at all sockets.
    Turn,
    /// The tunnel is held and goes on in the same process.
    Release,
    HandOver,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Client,
    Upstream,
}

#[derive(Clone, Copy, Debug)]
enum Family {
    Unix,
    Tcp,
}

/// What is at one end of the tunnel.
struct Peer {
    socket: Connected,
    sent: usize,
    received: usize,
    has_shut_down: bool,
    has_seen_end: bool,
}

enum Connected {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// What happens to a tunnel on its way; none of it should.
type Fault = fn(&mut Tunnel);

struct World {
    registry: Arc<Registry>,
    task: JoinHandle<()>,
    client: Peer,
    upstream: Peer,
    fault: Fault,
}

// === impl Step ===

impl Step {
    fn any() -> impl Strategy<Value = Self> {
        let end = || prop_oneof![Just(End::Client), Just(End::Upstream)];
        let length = || prop_oneof![1..100_usize, 1..60_000_usize];
        prop_oneof![
            6 => (end(), length()).prop_map(|(end, length)| Self::Write(end, length)),
            5 => (end(), length()).prop_map(|(end, length)| Self::Read(end, length)),
            1 => end().prop_map(Self::ShutDown),
            5 => Just(Self::Turn),
            1 => Just(Self::Release),
            3 => Just(Self::HandOver),
        ]
    }
}

// === impl End ===

impl End {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

// === impl Connected ===

impl Connected {
    /// Two connected sockets with small buffers.
    fn pair(family: Family) -> (Self, Stream) {
        let (near, far): (Self, OwnedFd) = match family {
            Family::Unix => {
                let (near, far) = UnixStream::pair().unwrap();
                near.set_nonblocking(true).unwrap();
                (Self::Unix(near), far.into())
            }
            Family::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                // Segments that fit into the buffers, which are small; otherwise each waits for a timer.
                SockRef::from(&listener).set_tcp_mss(1000).unwrap();
                let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                near.set_nonblocking(true).unwrap();
                (Self::Tcp(near), listener.accept().unwrap().0.into())
            }
        };
        let fd = match &near {
            Self::Unix(socket) => socket.as_fd(),
            Self::Tcp(socket) => socket.as_fd(),
        };
        for socket in [fd, far.as_fd()] {
            sockopt::set_socket_send_buffer_size(socket, 8 << 10).unwrap();
            sockopt::set_socket_recv_buffer_size(socket, 32 << 10).unwrap();
        }
        let stream = Stream::adopt(far).unwrap();
        (near, stream)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.write(bytes),
            Self::Tcp(socket) => socket.write(bytes),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.read(bytes),
            Self::Tcp(socket) => socket.read(bytes),
        }
    }

    fn shut_down(&self) {
        match self {
            Self::Unix(socket) => socket.shutdown(Shutdown::Write).unwrap(),
            Self::Tcp(socket) => socket.shutdown(Shutdown::Write).unwrap(),
        }
    }
}

// === impl Peer ===

impl Peer {
    fn new(socket: Connected) -> Self {
        Self { socket, sent: 0, received: 0, has_shut_down: false, has_seen_end: false }
    }

    /// Sends as much as the kernel takes.
    fn write(&mut self, length: usize) -> Result<(), String> {
        if self.has_shut_down {
            return Ok(());
        }
        let bytes: Vec<u8> = (self.sent..self.sent + length).map(byte).collect();
        match self.socket.write(&bytes) {
            Ok(written) => self.sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("cannot write after {} bytes: {error}", self.sent)),
        }
        Ok(())
    }

    fn read(&mut self, length: usize) -> Result<(), String> {
        let mut bytes = vec![0; length];
        let place = self.received;
        match self.socket.read(&mut bytes) {
            Ok(0) => self.has_seen_end = true,
            Ok(read) => {
                let is_expected = |(index, found): (usize, &u8)| *found == byte(place + index);
                if self.has_seen_end || !bytes[..read].iter().enumerate().all(is_expected) {
                    return Err(format!("another byte than was sent, behind the {place}th"));
                }
                self.received += read;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("cannot read after {place} bytes: {error}")),
        }
        Ok(())
    }

    fn shut_down(&mut self) {
        if !std::mem::replace(&mut self.has_shut_down, true) {
            self.socket.shut_down();
        }
    }

    /// That the other end has sent as many, and no more, and has ended.
    fn check_end(&self, other: &Self) -> Result<(), String> {
        let (sent, received) = (other.sent, self.received);
        if self.has_seen_end && !other.has_shut_down {
            return Err("an end that nobody has made".to_owned());
        }
        if self.has_seen_end && sent != received {
            return Err(format!("{received} of {sent} bytes have come"));
        }
        Ok(())
    }
}

/// The byte at a place; the period fits no buffer's size.
fn byte(place: usize) -> u8 {
    u8::try_from(place % 251).unwrap()
}

// === impl World ===

impl World {
    fn new(families: (Family, Family), early: (usize, usize), fault: Fault) -> Self {
        let (client, client_stream) = Connected::pair(families.0);
        let (upstream, upstream_stream) = Connected::pair(families.1);
        let (mut client, mut upstream) = (Peer::new(client), Peer::new(upstream));
        // What hyper has read already.
        (client.sent, upstream.sent) = early;
        let early = |length| (0..length).map(byte).collect::<Vec<_>>().into();
        let tunnel =
            Tunnel::new(client_stream, upstream_stream, early(client.sent), early(upstream.sent));
        let registry = Arc::new(Registry::new("test".to_owned()));
        let task = begin(Box::new(tunnel), &registry);
        Self { registry, task, client, upstream, fault }
    }

    fn peer(&mut self, end: End) -> &mut Peer {
        match end {
            End::Client => &mut self.client,
            End::Upstream => &mut self.upstream,
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Write(end, length) => self.peer(end).write(length)?,
            Step::Read(end, length) => self.peer(end).read(length)?,
            Step::ShutDown(end) => self.peer(end).shut_down(),
            Step::Turn => turn().await,
            Step::Release => {
                self.hold().await?;
                self.registry.release();
            }
            Step::HandOver => self.hand_over().await?,
        }
        self.client.check_end(&self.upstream)?;
        self.upstream.check_end(&self.client)
    }

    /// As at a restart: this process ends, and the next has what came in the carrier.
    async fn hand_over(&mut self) -> Result<(), String> {
        self.hold().await?;
        let (mut carrier, read_end) = Carrier::new().unwrap();
        let tunnels = self.registry.connections() as u64;
        carrier.load([&self.registry], true, Instant::now()).await;
        self.registry.set_handed_over();
        assert_eq!(carrier.finish(DrainHistory::default()).unwrap().handed_over(), tunnels);
        self.task.abort();
        let (contents, error) = CarrierContents::take(&read_end, &|_| 0);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(contents.tunnels.len() as u64, tunnels);
        self.registry = Arc::new(Registry::new("test".to_owned()));
        for (_, mut tunnel) in contents.tunnels {
            (self.fault)(&mut tunnel);
            self.task = begin(tunnel, &self.registry);
        }
        Ok(())
    }

    /// One side ends, and the other sees it; then the other, and the tunnel is gone.
    async fn finish(&mut self, first: End) -> Result<(), String> {
        self.peer(first).shut_down();
        self.read_until(|world| world.peer(first.other()).has_seen_end).await?;
        self.peer(first.other()).shut_down();
        self.read_until(|world| world.peer(first).has_seen_end && world.registry.connections() == 0)
            .await
    }

    async fn read_until(&mut self, done: impl Fn(&mut Self) -> bool) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            if Instant::now() > end {
                return Err("it does not come to its end".to_owned());
            }
            let before = self.client.received + self.upstream.received;
            for end in [End::Client, End::Upstream] {
                self.step(Step::Read(end, 60_000)).await?;
            }
            if self.client.received + self.upstream.received == before {
                // TCP may wait for a timer of the kernel's.
                sleep(Duration::from_millis(1)).await;
            } else {
                turn().await;
            }
        }
        Ok(())
    }

    async fn hold(&self) -> Result<(), String> {
        self.registry.hold();
        let held = timeout(PATIENCE, self.registry.held()).await;
        held.map_err(|_| "it is not held".to_owned())
    }
}

fn begin(tunnel: Box<Tunnel>, registry: &Arc<Registry>) -> JoinHandle<()> {
    let registration = registry.join_tunnel(tunnel.client.socket().unwrap());
    tokio::spawn(pass_on(tunnel, registration))
}

/// The runtime looks at its sockets whenever nothing else is left to do.
async fn turn() {
    for _ in 0..4 {
        yield_now().await;
    }
}

fn run(
    families: (Family, Family),
    early: (usize, usize),
    steps: &[Step],
    first: End,
    fault: Fault,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(families, early, fault);
        for step in steps {
            world.step(*step).await?;
        }
        world.finish(first).await
    })
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::Unix), Just(Family::Tcp)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_once_and_in_order_whatever_both_sides_do_and_however_often_it_is_handed_over(
        families in (family(), family()),
        early in (0..40_000_usize, 0..40_000_usize),
        steps in prop::collection::vec(Step::any(), 0..60),
        first in prop_oneof![Just(End::Client), Just(End::Upstream)],
    ) {
        let result = run(families, early, &steps, first, |_| {});
        prop_assert!(result.is_ok(), "{:?}", result);
    }
}

#[test]
fn the_model_notices_a_tunnel_that_loses_a_byte_has_it_twice_or_makes_an_end_up() {
    let faults: [(Fault, &str); 4] = [
        (|_| {}, ""),
        (|tunnel| tunnel.to_upstream.unsent.advance(1), "another byte"),
        (
            |tunnel| {
                let unsent = &mut tunnel.to_upstream.unsent;
                *unsent = [&unsent[..1], &unsent[..]].concat().into();
            },
            "another byte",
        ),
        (|tunnel| tunnel.to_client.state = FlowState::Ending, "an end that nobody has made"),
    ];
    // A client that sends more than the sockets hold while the application reads nothing, and a hand-over; then
    // the client reads everything.
    let send = [Step::Write(End::Client, 60_000), Step::Turn];
    let read = [Step::Turn, Step::Read(End::Client, 60_000)];
    let steps = [&send.repeat(2)[..], &[Step::HandOver], &read.repeat(9)].concat();
    for (fault, said) in faults {
        let families = (Family::Unix, Family::Unix);
        let result = run(families, (30_000, 30_000), &steps, End::Client, fault);
        let error = result.err().unwrap_or_default();
        assert!(error.contains(said) && error.is_empty() == said.is_empty(), "{said}: {error}");
    }
}
