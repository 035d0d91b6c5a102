//! Clients of tunnels through the proxy, to an application that gives back every byte (`/ws`).

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
};

use super::wait::{PATIENCE, wait_until};

/// A tunnel whose bytes are numbered, so that one that is missing, doubled or out of place is found.
pub(crate) struct Tunnel {
    stream: TcpStream,
    sent: usize,
    received: usize,
}

/// What tells all talkers to end, and how far they are.
#[derive(Default)]
pub(crate) struct Talk {
    is_over: AtomicBool,
    received: AtomicUsize,
}

// === impl Tunnel ===

impl Tunnel {
    /// Opens one through the server at `address`; the application's first bytes come with its answer.
    #[track_caller]
    pub(crate) fn open(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
        stream.set_nodelay(true).expect("an option can be set");
        let request = "GET /ws?say=hello HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("a request can be sent");
        let mut reader = BufReader::with_capacity(1, &stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("it answers") > 0, "closed after {head}");
        }
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let mut hello = [0; 5];
        reader.read_exact(&mut hello).expect("the application speaks");
        assert_eq!(&hello, b"hello");
        Self { stream, sent: 0, received: 0 }
    }

    /// Sends so many bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, count: usize) {
        let bytes: Vec<u8> = (self.sent..self.sent + count).map(byte).collect();
        self.stream.write_all(&bytes).expect("the tunnel is open");
        self.sent += count;
    }

    /// Receives everything that was sent, and nothing else.
    #[track_caller]
    pub(crate) fn receive(&mut self) {
        let mut bytes = vec![0; self.sent - self.received];
        self.stream.read_exact(&mut bytes).expect("the tunnel is open");
        assert_eq!(first_wrong(&bytes, self.received), None);
        self.received = self.sent;
    }

    /// Ends its side: the application does likewise, and nothing follows.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the tunnel is open");
        self.receive();
        assert_eq!(self.stream.read(&mut [0]).expect("an end, and no reset"), 0);
    }

    /// Tells whether the other side ends it without another byte.
    #[track_caller]
    pub(crate) fn is_ended(&mut self) -> bool {
        self.stream.read(&mut [0]).is_ok_and(|read| read == 0)
    }

    /// Sends and receives at the same time until the talk is over; answers how many bytes.
    #[track_caller]
    pub(crate) fn talk(self, talk: &Talk) -> usize {
        let mut writer = &self.stream;
        let mut reader = &self.stream;
        thread::scope(|scope| {
            let sent = scope.spawn(move || {
                let mut sent = 0;
                // Pieces of every size, as fast as the other side takes them.
                for size in (1..9000).step_by(713).cycle() {
                    let bytes: Vec<u8> = (sent..sent + size).map(byte).collect();
                    writer.write_all(&bytes).expect("the tunnel is open");
                    sent += size;
                    if talk.is_over.load(SeqCst) {
                        break;
                    }
                }
                writer.shutdown(Shutdown::Write).expect("the tunnel is open");
                sent
            });
            let (mut received, mut bytes) = (0, [0; 5000]);
            loop {
                let read = reader.read(&mut bytes).expect("the tunnel is open");
                if read == 0 {
                    break;
                }
                assert_eq!(first_wrong(&bytes[..read], received), None);
                received += read;
                talk.received.fetch_add(read, SeqCst);
            }
            assert_eq!(sent.join().expect("it can write"), received);
            received
        })
    }
}

// === impl Talk ===

impl Talk {
    /// Has tunnels through the server at `address` talk while `meanwhile` happens.
    #[track_caller]
    pub(crate) fn during(tunnels: Vec<Tunnel>, meanwhile: impl FnOnce(&Self)) {
        let talk = Self::default();
        thread::scope(|scope| {
            let talk = &talk;
            let talkers: Vec<_> =
                tunnels.into_iter().map(|tunnel| scope.spawn(move || tunnel.talk(talk))).collect();
            let over = OverOnDrop(talk);
            meanwhile(talk);
            drop(over);
            for talker in talkers {
                assert!(talker.join().expect("every byte came in its place") > 0);
            }
        });
    }

    /// Waits until a megabyte more has come back.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let before = self.received.load(SeqCst);
        wait_until("the tunnels go on", PATIENCE, || {
            self.received.load(SeqCst) > before + (1 << 20)
        });
    }
}

/// Ends the talk even if the test fails meanwhile.
struct OverOnDrop<'t>(&'t Talk);

impl Drop for OverOnDrop<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, SeqCst);
    }
}

/// The byte at a place; the period is that of no buffer.
fn byte(place: usize) -> u8 {
    u8::try_from(place % 251).expect("it is less than 251")
}

fn first_wrong(bytes: &[u8], place: usize) -> Option<usize> {
    bytes.iter().enumerate().position(|(index, found)| *found != byte(place + index))
}
