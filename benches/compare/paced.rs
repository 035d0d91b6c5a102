//! A client that asks at a fixed rate, whatever the answers do.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, TcpStream},
    num::NonZeroU64,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        PollFd, PollFlags, Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
        poll,
    },
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
    thread::set_current_timer_slack,
};

use crate::support::{BODY, Trouble};

/// How many requests there are in a second, at even distances, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) rate: u32,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
}

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Tcp(u16),
    Unix(PathBuf),
}

/// A connection, the request on it, and what has come of the answer.
#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    begun: Instant,
    answer: Vec<u8>,
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

/// What part of the duration is not counted: connections to an application are opened in it.
const SETTLING: u32 = 10;

/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Pace ===

impl Pace {
    /// How long each answer took. A request that has to wait for a connection waits as one for its answer does:
    /// from the moment at which it was due.
    ///
    /// The thread's timers are precise from then on.
    pub(crate) fn run(self, place: &Place) -> Result<Vec<Duration>, Trouble> {
        set_current_timer_slack(NonZeroU64::new(1))?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::new();
        for at in 0..self.connections {
            let socket = place.connect()?;
            epoll::add(&epoll, &socket, EventData::new_u64(at as u64), EventFlags::IN)?;
            connections.push(Connection { socket, begun: Instant::now(), answer: Vec::new() });
        }
        let mut free: VecDeque<_> = (0..self.connections).collect();
        let mut latencies = Vec::new();
        let mut events = Vec::with_capacity(self.connections);
        let interval = Duration::from_secs(1) / self.rate;
        let mut due = Instant::now() + interval;
        let mut has_waited = false;
        let (begin, end) = (due + self.duration / SETTLING, due + self.duration);
        while due < end || free.len() < self.connections {
            let now = Instant::now();
            while due <= now
                && due < end
                && let Some(at) = free.pop_front()
            {
                // A timer's lateness is not the server's; that of an answer is.
                connections[at].ask(if has_waited { due } else { Instant::now() })?;
                due += interval;
            }
            has_waited = due <= now && due < end;
            if now > end + PATIENCE {
                return Err("answers are missing".into());
            }
            let is_timed = due < end && !free.is_empty();
            let wait = if is_timed { due.saturating_duration_since(now) } else { PATIENCE };
            events.clear();
            let wait = Timespec::try_from(wait)?;
            // Exact to the nanosecond, which waiting at the epoll itself is not.
            match poll(&mut [PollFd::new(&epoll, PollFlags::IN)], Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            match epoll::wait(&epoll, spare_capacity(&mut events), Some(&Timespec::default())) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let at = usize::try_from(event.data.u64())?;
                let connection = &mut connections[at];
                if connection.receive()? {
                    if connection.begun >= begin {
                        latencies.push(connection.begun.elapsed());
                    }
                    free.push_back(at);
                }
            }
        }
        if latencies.is_empty() { Err("there was no answer".into()) } else { Ok(latencies) }
    }
}

// === impl Place ===

impl Place {
    fn connect(&self) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Tcp(port) => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
        })
    }
}

// === impl Connection ===

impl Connection {
    fn ask(&mut self, begun: Instant) -> Result<(), Trouble> {
        self.begun = begun;
        self.answer.clear();
        let sent = send(&self.socket, REQUEST, SendFlags::NOSIGNAL)?;
        if sent == REQUEST.len() { Ok(()) } else { Err("a request was sent in part".into()) }
    }

    /// Tells whether the answer is complete.
    fn receive(&mut self) -> Result<bool, Trouble> {
        let mut bytes = [0; 4096];
        match recv(&self.socket, &mut bytes, RecvFlags::empty()) {
            Ok((0, _)) => Err("a connection was closed".into()),
            Ok((length, _)) => {
                self.answer.extend_from_slice(&bytes[..length]);
                if self.answer.starts_with(b"HTTP/1.1 200 ") {
                    Ok(self.answer.ends_with(BODY))
                } else {
                    Err(String::from_utf8_lossy(&self.answer).into())
                }
            }
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
