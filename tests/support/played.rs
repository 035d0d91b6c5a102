//! An application that the test plays itself, and raw ends of connections: each byte is the test's own.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    time::Duration,
};

use socket2::SockRef;

use super::{
    http::Stream,
    wait::{Deadline, PATIENCE},
};

/// After how long a connection counts as full that takes no byte.
const FULL: Duration = Duration::from_millis(300);

/// An application behind the proxy, of which the test accepts each connection.
#[derive(Debug)]
pub(crate) struct Played(UnixListener);

/// One end of a connection, of a client or of an application.
#[derive(Debug)]
pub(crate) struct End(BufReader<Stream>);

/// A message's head as it came.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) text: String,
}

// === impl Played ===

impl Played {
    /// Listens on a socket file.
    #[track_caller]
    pub(crate) fn bind(path: &Path) -> Self {
        Self(UnixListener::bind(path).expect("a socket can be bound there"))
    }

    /// Waits for the proxy's next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> End {
        Deadline::after(PATIENCE).wait(&[self.0.as_fd()]).expect("the proxy connects");
        let (stream, _) = self.0.accept().expect("a connection waits");
        stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("the time is not zero");
        End(BufReader::new(Stream::Unix(stream)))
    }

    /// Whether no connection waits to be accepted.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.set_nonblocking(true).expect("it can be set");
        let accepted = self.0.accept();
        self.0.set_nonblocking(false).expect("it can be set");
        accepted.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl From<UnixListener> for Played {
    fn from(listener: UnixListener) -> Self {
        Self(listener)
    }
}

// === impl End ===

impl End {
    /// Connects to `IP:PORT` or `unix:PATH`.
    #[track_caller]
    pub(crate) fn connect(address: &str) -> Self {
        let socket = if let Some(path) = address.strip_prefix("unix:") {
            let stream = UnixStream::connect(path).expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
            stream.set_write_timeout(Some(PATIENCE)).expect("the time is not zero");
            Stream::Unix(stream)
        } else {
            let stream = TcpStream::connect(address).expect("it listens");
            stream.set_nodelay(true).expect("it can be set");
            stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
            stream.set_write_timeout(Some(PATIENCE)).expect("the time is not zero");
            Stream::Tcp(stream)
        };
        Self(BufReader::new(socket))
    }

    /// Connects, and sends this.
    #[track_caller]
    pub(crate) fn asking(address: &str, bytes: impl AsRef<[u8]>) -> Self {
        let mut end = Self::connect(address);
        end.send(bytes);
        end
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the other end reads");
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    /// Sends bytes until nobody has taken any for a while, `most` at most; answers how many.
    ///
    /// Who would take them late makes the number smaller, not the test wrong.
    #[track_caller]
    pub(crate) fn fill(&mut self, most: usize) -> usize {
        self.set_write_timeout(FULL);
        let piece = vec![b'x'; 64 << 10];
        let mut written = 0;
        while written < most {
            match self.0.get_mut().write(&piece[..piece.len().min(most - written)]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("{error} after {written} bytes"),
            }
        }
        self.set_write_timeout(PATIENCE);
        written
    }

    fn set_write_timeout(&self, time: Duration) {
        let set = match self.0.get_ref() {
            Stream::Tcp(stream) => stream.set_write_timeout(Some(time)),
            Stream::Unix(stream) => stream.set_write_timeout(Some(time)),
        };
        set.expect("the time is not zero");
    }

    /// Reads a head, interim ones included.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            let read = self.0.read_until(b'\n', &mut text);
            let is_there = read.as_ref().is_ok_and(|length| *length > 0);
            assert!(is_there, "{read:?} instead of more of a head: {}", text.escape_ascii());
        }
        Head { text: String::from_utf8(text).expect("a head is text") }
    }

    /// Reads so many bytes.
    #[track_caller]
    pub(crate) fn bytes(&mut self, number: usize) -> String {
        let mut bytes = vec![0; number];
        self.0.read_exact(&mut bytes).expect("so many bytes come");
        String::from_utf8(bytes).expect("they are text")
    }

    /// Reads as much as a text has, and asserts that it is that text.
    #[track_caller]
    pub(crate) fn hears(&mut self, text: &str) {
        assert_eq!(self.bytes(text.len()), text);
    }

    /// Reads a chunked body without its framing, and its trailers as they came.
    #[track_caller]
    pub(crate) fn chunked(&mut self) -> (String, String) {
        let mut body = String::new();
        loop {
            let size = self.line();
            let size = usize::from_str_radix(size.trim_end(), 16).expect("a size is a number");
            if size == 0 {
                break;
            }
            body += &self.bytes(size);
            self.hears("\r\n");
        }
        let mut trailers = String::new();
        loop {
            match self.line() {
                line if line == "\r\n" => return (body, trailers),
                line => trailers += &line,
            }
        }
    }

    /// Reads to the end; what broke the connection, if anything did, is as good as an end.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        loop {
            match self.0.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => {
                    rest.extend(bytes);
                    let length = bytes.len();
                    self.0.consume(length);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error} after {}", rest.escape_ascii()),
            }
        }
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Waits for another byte or the end; whether it is a byte.
    pub(crate) fn has_more(&mut self) -> bool {
        self.0.fill_buf().is_ok_and(|bytes| !bytes.is_empty())
    }

    /// Tells the other end that nothing more will come.
    pub(crate) fn end_writing(&self) {
        let ended = match self.0.get_ref() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
        ended.expect("it is connected");
    }

    /// Leaves: its kernel answers with a reset whatever is sent to it. To end a connection and to end only its own
    /// side look the same from the other end, until that sends something; a reset is what tells.
    pub(crate) fn leave(self) {
        let set = match self.0.get_ref() {
            Stream::Tcp(stream) => SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            Stream::Unix(_) => Ok(()),
        };
        set.expect("it can be set");
    }

    /// Its own address, of a TCP connection.
    #[track_caller]
    pub(crate) fn local_ip(&self) -> String {
        match self.0.get_ref() {
            Stream::Tcp(stream) => stream.local_addr().expect("it is connected").ip().to_string(),
            Stream::Unix(_) => panic!("a Unix socket has no address"),
        }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).expect("a line comes");
        assert!(read > 0, "the connection ended instead of a line");
        line
    }
}

// === impl Head ===

impl Head {
    /// The first line.
    pub(crate) fn first(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// An answer's status.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        let status = self.first().strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        status.and_then(|status| status.parse().ok()).expect("an answer begins with its status")
    }

    /// The values of all fields of a name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.text.lines().skip(1).filter_map(|line| line.split_once(':'));
        let named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim()).collect()
    }

    /// The names of all fields but these, in lower case and in order of the alphabet.
    pub(crate) fn names_but(&self, known: &[&str]) -> Vec<String> {
        let fields = self.text.lines().skip(1).filter_map(|line| line.split_once(':'));
        let names = fields.map(|(name, _)| name.to_ascii_lowercase());
        let mut names: Vec<_> = names.filter(|name| !known.contains(&&**name)).collect();
        names.sort();
        names
    }
}
