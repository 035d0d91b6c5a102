//! Bytes to a server and what comes back, split into answers, with nothing repaired on the way.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

/// How long the server may say nothing before the connection counts as left open.
const SILENCE: Duration = Duration::from_secs(8);

/// How many bytes go into a socket's buffer whether or not anybody reads them.
const AT_ONCE: usize = 16 << 10;

/// What a server said on one connection, to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) answers: Vec<Answer>,
    /// What came after the last whole answer; nothing, if all is well.
    pub(crate) rest: Vec<u8>,
    /// How the connection ended, if not in order.
    pub(crate) broken: Option<ErrorKind>,
}

/// An answer; interim ones (100 Continue) are none.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head in lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Sends bytes on a connection of its own and listens until the server ends it.
///
/// With `hang_up` the server is told that nothing more will come; without, ending is up to it.
#[track_caller]
pub(crate) fn exchange(address: &str, bytes: &[u8], hang_up: bool) -> Heard {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(SILENCE)).expect("a time-out can be set");
    let is_head = bytes.trim_ascii_start().starts_with(b"HEAD ");
    let mut heard = Vec::new();
    let write = || {
        // A server that has heard enough closes, which is its good right.
        let _ = (&stream).write_all(bytes);
        if hang_up {
            let _ = stream.shutdown(Shutdown::Write);
        }
    };
    let broken = thread::scope(|scope| {
        if bytes.len() <= AT_ONCE {
            write();
        } else {
            scope.spawn(write);
        }
        let broken = (&stream).read_to_end(&mut heard).err().map(|error| error.kind());
        // The writer may still be at it.
        let _ = stream.shutdown(Shutdown::Both);
        broken
    });
    split(&heard, is_head, broken)
}

/// What a server says on a connection on which everything has been said, to its end.
pub(crate) fn hear(mut stream: &TcpStream) -> Heard {
    stream.set_read_timeout(Some(SILENCE)).expect("a time-out can be set");
    let mut heard = Vec::new();
    let broken = stream.read_to_end(&mut heard).err().map(|error| error.kind());
    split(&heard, false, broken)
}

/// One request on a connection of its own, under a name that the admin server knows.
#[track_caller]
pub(crate) fn ask(address: &str, method: &str, path: &str) -> Answer {
    let host = "Host: localhost\r\nConnection: close";
    let request = format!("{method} {path} HTTP/1.1\r\n{host}\r\n\r\n");
    let mut heard = exchange(address, request.as_bytes(), false);
    assert_eq!(heard.answers.len(), 1, "{method} {path}: {}", heard.summary());
    heard.answers.remove(0)
}

/// Splits what was heard into answers.
fn split(mut bytes: &[u8], is_head: bool, broken: Option<ErrorKind>) -> Heard {
    let mut heard = Heard { broken, ..Heard::default() };
    while let Some((answer, length)) = Answer::parse(bytes, is_head && heard.answers.is_empty()) {
        bytes = &bytes[length..];
        if answer.status >= 200 {
            heard.answers.push(answer);
        }
    }
    heard.rest = bytes.to_vec();
    heard
}

// === impl Heard ===

impl Heard {
    pub(crate) fn statuses(&self) -> Vec<u16> {
        self.answers.iter().map(|answer| answer.status).collect()
    }

    /// In one line, for a table.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!("{:?}", self.statuses());
        if !self.rest.is_empty() {
            let rest = &self.rest[..self.rest.len().min(60)];
            text.extend([" and ", &*rest.escape_ascii().to_string()]);
        }
        if let Some(broken) = self.broken {
            text.extend([" and then ", &*broken.to_string()]);
        }
        text
    }
}

// === impl Answer ===

impl Answer {
    /// Tells whether it says that it is the connection's last.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.contains("close"))
    }

    /// A field's value, in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &'_ str| line.split_once(": ").is_some_and(|(field, _)| field == name);
        self.head.lines().find(|line| of(line)).and_then(|line| Some(line.split_once(": ")?.1))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer at the beginning of `bytes`, and how long it is.
    fn parse(bytes: &[u8], is_head: bool) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?.to_ascii_lowercase();
        let status = head.strip_prefix("http/1.1 ").or_else(|| head.strip_prefix("http/1.0 "))?;
        let status = status.get(..3)?.parse().ok()?;
        let length = |name| head.lines().find_map(|line| line.strip_prefix(name));
        let length: usize = match length("content-length: ") {
            Some(length) if !is_head && status >= 200 => length.parse().ok()?,
            _ => 0,
        };
        let body = bytes.get(end..end + length)?.to_vec();
        Some((Self { status, head, body }, end + length))
    }
}
