//! An HTTP client that sends what it is told and shows what comes.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    thread::panicking,
    time::Duration,
};

use super::wait::PATIENCE;

/// A connection to a server. It never retries and never reconnects, and when it ends nothing may have come
/// that was not asked for: whoever reads one answer of two does not notice that there are two.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<Stream>,
    host: String,
    /// Something was sent behind the last answer.
    asks: bool,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
    headers: Vec<(String, String)>,
}

/// A connection of either family.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The answer to one GET on a connection of its own.
#[track_caller]
pub(crate) fn get(address: &str, path: &str) -> Response {
    Client::connect(address).request("GET", path)
}

// === impl Client ===

impl Client {
    /// Connects to an address as the daemon shows it: `127.0.0.1:9090` or `unix:/path`.
    #[track_caller]
    pub(crate) fn connect(address: &str) -> Self {
        Self::try_connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    pub(crate) fn try_connect(address: &str) -> io::Result<Self> {
        let stream = if let Some(path) = address.strip_prefix("unix:") {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Stream::Unix(stream)
        } else {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Stream::Tcp(stream)
        };
        // As curl has it.
        let host = if address.starts_with("unix:") { "localhost" } else { address };
        Ok(Self { stream: BufReader::new(stream), host: host.to_owned(), asks: false })
    }

    /// Its own address, as the server sees it.
    pub(crate) fn address(&self) -> String {
        match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.local_addr().expect("it is connected").to_string(),
            Stream::Unix(_) => "unix".to_owned(),
        }
    }

    /// Waits until some of the answer is there, and leaves it.
    #[track_caller]
    pub(crate) fn wait_for_answer(&mut self) {
        let begin = self.stream.fill_buf().expect("an answer comes");
        assert!(!begin.is_empty(), "the connection ended without an answer");
    }

    /// Sends a request without a body and reads its answer.
    #[track_caller]
    pub(crate) fn request(&mut self, method: &str, path: &str) -> Response {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.send(&head);
        self.response(method)
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.asks = true;
        self.stream.get_mut().write_all(text.as_bytes()).expect("the server reads");
    }

    /// Reads the next answer, which is to a request with `method`.
    #[track_caller]
    pub(crate) fn response(&mut self, method: &str) -> Response {
        let status = self.line();
        let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.expect("an answer begins with its status");
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut response = Response { status, body: String::new(), headers };
        if method != "HEAD" && status >= 200 {
            let length = response.header("content-length").expect("every answer tells its length");
            let mut body = vec![0; length.parse().expect("a length is a number")];
            self.stream.read_exact(&mut body).expect("the answer comes whole");
            response.body = String::from_utf8(body).expect("every answer is text");
        }
        self.asks = false;
        response
    }

    /// A request to `path` whose body of eight bytes has come by half, and is waited for.
    #[track_caller]
    pub(crate) fn half_a_request(address: &str, path: &str) -> Self {
        let mut client = Self::connect(address);
        let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n");
        client.send(&format!("{head}Expect: 100-continue\r\n\r\n"));
        assert_eq!(client.response("POST").status, 100);
        client.send("half");
        client
    }

    /// Its own end, of a TCP connection.
    #[track_caller]
    pub(crate) fn local_address(&self) -> SocketAddr {
        match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.local_addr().expect("it is connected"),
            Stream::Unix(_) => panic!("a Unix socket has no address"),
        }
    }

    /// Waits until the server closes the connection; whether it said nothing more.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(rest) => rest.is_empty(),
            // What was not read when the server closed makes it a reset.
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Tells whether the server closes the connection in that time.
    pub(crate) fn is_closed_within(&mut self, time: Duration) -> bool {
        self.set_read_timeout(time);
        let rest = loop {
            match self.stream.fill_buf() {
                // signal(7): a read with a time-out ends so when the process was stopped, and goes on.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                rest => break rest.map(<[u8]>::is_empty),
            }
        };
        self.set_read_timeout(PATIENCE);
        match rest {
            Ok(is_end) => is_end,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => true,
            Err(error) => panic!("cannot read: {error}"),
        }
    }

    fn set_read_timeout(&self, time: Duration) {
        let set = match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(time)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(time)),
        };
        set.expect("the time is not zero");
    }

    /// What has come and was not read.
    fn rest(&mut self) -> Vec<u8> {
        let _ = match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.set_nonblocking(true),
            Stream::Unix(stream) => stream.set_nonblocking(true),
        };
        let mut rest = self.stream.buffer().to_vec();
        let mut more = [0; 256];
        // A server that is gone has said nothing.
        let length = self.stream.get_mut().read(&mut more).unwrap_or(0);
        rest.extend(&more[..length]);
        rest
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        assert!(
            read.as_ref().is_ok_and(|length| *length > 0),
            "{read:?} instead of a line of the answer"
        );
        line.trim_end().to_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let rest = self.rest();
        // The server may have closed before.
        let _ = match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
        let is_asked_for = self.asks || rest.is_empty();
        assert!(is_asked_for || panicking(), "nobody has asked for {}", rest.escape_ascii());
    }
}

// === impl Response ===

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name));
        header.map(|header| header.1.as_str())
    }

    /// Tells whether there is a field whose name is written just so.
    pub(crate) fn has_written(&self, name: &str) -> bool {
        self.headers.iter().any(|header| header.0 == name)
    }
}

// === impl Stream ===

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
