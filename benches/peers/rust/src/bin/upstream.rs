//! The application behind proxies: canned bytes, for whoever has sent all of a request. The argument is the
//! path of its Unix socket.
//!
//! One thread, level-triggered. It knows `Content-Length`; `GET /bulk` is answered with 1 GiB. It is wrong
//! about everything else in HTTP.

use std::{
    collections::HashMap,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
};

use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::Errno,
    net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send},
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 27\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nHello, Serve is running...\n";

const BULK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
    content-length: 1073741824\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";

const BULK_LENGTH: usize = 1 << 30;

const BUFFER: usize = 256 * 1024;

const LISTENER: u64 = u64::MAX;

struct Connection {
    socket: OwnedFd,
    /// What has come of a head that is not complete.
    head: Vec<u8>,
    /// How much of a request's body is still to come.
    body: usize,
    /// How much of a bulk answer is still to go.
    bulk: usize,
}

fn main() -> std::io::Result<()> {
    let listener = UnixListener::bind(std::env::args().nth(1).expect("a path is the argument"))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut buffer = vec![0; BUFFER];
    let zeros = vec![0; BUFFER];
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                while let Ok(socket) =
                    accept_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
                {
                    let key = u64::from(socket.as_raw_fd().unsigned_abs());
                    epoll::add(&epoll, &socket, EventData::new_u64(key), EventFlags::IN)?;
                    connections
                        .insert(key, Connection { socket, head: Vec::new(), body: 0, bulk: 0 });
                }
                continue;
            }
            let Some(connection) = connections.get_mut(&key) else { continue };
            let was_sending = connection.bulk > 0;
            let stays = if was_sending {
                connection.send_bulk(&zeros)
            } else {
                connection.receive(&mut buffer) && connection.send_bulk(&zeros)
            };
            let is_sending = connection.bulk > 0;
            if !stays {
                connections.remove(&key);
            } else if is_sending != was_sending {
                let interest = if is_sending { EventFlags::OUT } else { EventFlags::IN };
                epoll::modify(&epoll, &connection.socket, EventData::new_u64(key), interest)?;
            }
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Takes what has come, and answers what is complete; tells whether the connection stays.
    fn receive(&mut self, buffer: &mut [u8]) -> bool {
        let mut come = match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) if length > 0 => &buffer[..length],
            Err(Errno::AGAIN) => return true,
            _ => return false,
        };
        loop {
            if self.body > 0 {
                let taken = come.len().min(self.body);
                self.body -= taken;
                come = &come[taken..];
                if self.body > 0 {
                    return true;
                }
                if !self.answer() {
                    return false;
                }
            }
            if come.is_empty() {
                return true;
            }
            if self.head.is_empty()
                && let Some(end) = end(come)
            {
                // The usual: a head in one piece.
                let (head, rest) = come.split_at(end);
                come = rest;
                if !self.begin(head) {
                    return false;
                }
                continue;
            }
            let before = self.head.len();
            self.head.extend_from_slice(come);
            let Some(end) = end(&self.head) else { return true };
            come = &come[end - before..];
            let head = std::mem::take(&mut self.head);
            if !self.begin(&head[..end]) {
                return false;
            }
        }
    }

    /// Begins with a request; one without a body is answered.
    fn begin(&mut self, head: &[u8]) -> bool {
        if head.starts_with(b"GET /bulk ") {
            self.bulk = BULK_LENGTH;
            return self.send(BULK);
        }
        let mut lines = head.split(|byte| *byte == b'\n');
        let length = lines.find_map(|line| {
            let (name, value) = line.split_at_checked(15)?;
            let value = name.eq_ignore_ascii_case(b"content-length:").then_some(value)?;
            str::from_utf8(value).ok()?.trim().parse().ok()
        });
        self.body = length.unwrap_or(0);
        self.body > 0 || self.answer()
    }

    fn answer(&self) -> bool {
        self.send(ANSWER)
    }

    fn send(&self, bytes: &[u8]) -> bool {
        send(&self.socket, bytes, SendFlags::NOSIGNAL).is_ok_and(|sent| sent == bytes.len())
    }

    /// Sends what there is room for.
    fn send_bulk(&mut self, zeros: &[u8]) -> bool {
        while self.bulk > 0 {
            let length = self.bulk.min(zeros.len());
            match send(&self.socket, &zeros[..length], SendFlags::NOSIGNAL) {
                Ok(sent) => self.bulk -= sent,
                Err(Errno::AGAIN) => break,
                Err(_) => return false,
            }
        }
        true
    }
}

fn end(bytes: &[u8]) -> Option<usize> {
    Some(bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4)
}
