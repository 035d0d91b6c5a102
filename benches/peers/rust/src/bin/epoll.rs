//! The floor: the same bytes with nothing but the system calls that it takes. The argument is the address;
//! a socket of systemd's goes before it.
//!
//! One thread, level-triggered. It looks for the ends of requests, and for the word close if there is only
//! one, and is wrong about everything else in HTTP.

use std::{
    collections::HashMap,
    net::TcpListener,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::Errno,
    net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send},
};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 27\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nHello, Serve is running...\n";

const LAST_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 27\r\nconnection: close\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n\
    Hello, Serve is running...\n";

/// Requests that are answered at once, at most.
const BATCH: usize = 256;

const LISTENER: u64 = u64::MAX;

fn main() -> std::io::Result<()> {
    let listener = if std::env::var_os("LISTEN_FDS").is_some() {
        // SAFETY: systemd has passed it for nobody else.
        TcpListener::from(unsafe { OwnedFd::from_raw_fd(3) })
    } else {
        TcpListener::bind(std::env::args().nth(1).expect("an address is the argument"))?
    };
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let answers = ANSWER.repeat(BATCH);
    let mut connections: HashMap<u64, OwnedFd> = HashMap::new();
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
                    connections.insert(key, socket);
                }
            } else if connections.get(&key).is_some_and(|socket| !serve(socket, &answers)) {
                connections.remove(&key);
            }
        }
    }
}

/// Answers what has come; tells whether the connection stays.
fn serve(socket: impl AsFd, answers: &[u8]) -> bool {
    let mut bytes = [0; 8192];
    match recv(&socket, &mut bytes, RecvFlags::empty()) {
        Ok((length, _)) if length > 0 => {
            let requests = &bytes[..length];
            let ends = requests.windows(4).filter(|end| *end == b"\r\n\r\n").count();
            let closes = ends == 1 && requests.windows(7).any(|word| word == b"close\r\n");
            let answer =
                if closes { LAST_ANSWER } else { &answers[..ends.min(BATCH) * ANSWER.len()] };
            let sent = send(&socket, answer, SendFlags::NOSIGNAL);
            sent.is_ok_and(|sent| sent == answer.len()) && !closes
        }
        Err(Errno::AGAIN) => true,
        _ => false,
    }
}
