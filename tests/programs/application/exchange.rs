//! A connection's requests, one after the other.

use std::io::{self, Write};
use std::process;

use crate::Application;
use crate::answers;
use crate::faults;
use crate::request::Body;
use crate::request::Head;
use crate::request::Wire;

/// A request and the connection that it came on.
pub(crate) struct Exchange<'a> {
    pub(crate) application: &'a Application,
    pub(crate) wire: &'a mut Wire,
    pub(crate) head: Head,
    body: Body,
    /// Which connection this is, and its how many-th request.
    place: (u64, u64),
    pub(crate) trailers: Vec<u8>,
    length: u64,
    /// Whether the answer says `Connection: close`.
    pub(crate) closes: bool,
}

/// What becomes of the connection.
pub(crate) enum Next {
    /// Another request, unless the answer said that there will be none.
    Request,
    /// It is closed, whatever the answer said.
    Close,
}

/// Serves a connection to its end.
pub(crate) fn serve(
    application: &Application,
    stream: crate::stream::Stream,
    number: u64,
) -> io::Result<()> {
    let mut wire = Wire { stream };
    for request in 1.. {
        wire.stream.set_read_timeout(application.options().keep_alive)?;
        // What has come when a stop ends the connection stays unread, so that the client is told by a reset.
        if !application.set_idle(number, true)
            || wire.is_at_end()?
            || !application.set_idle(number, false)
        {
            break;
        }
        wire.stream.set_read_timeout(None)?;
        let line = wire.request_line()?;
        if [&b" /close-unread "[..], b" /close-unread?"].iter().any(|path| has(&line, path)) {
            break;
        }
        let head = wire.head(line)?;
        let (body, closes) = (head.body(), head.is_http_10 || head.has("connection", "close"));
        let mut exchange = Exchange {
            application,
            wire: &mut wire,
            head,
            body,
            place: (number, request),
            trailers: Vec::new(),
            length: 0,
            closes,
        };
        let next = exchange.answer()?;
        if exchange.closes || matches!(next, Next::Close) {
            break;
        }
    }
    Ok(())
}

// === impl Exchange ===

impl Exchange<'_> {
    fn answer(&mut self) -> io::Result<Next> {
        self.closes |= self.application.is_stopping();
        if self.application.is_starting() {
            self.read_body()?;
            return self.plain(503, b"starting\n");
        }
        if let Some(answer) = faults::find(&self.head.path) {
            return answer(self);
        }
        if self.head.path != "/echo" && self.head.path != "/refuse" {
            self.execute()?;
        }
        answers::answer(self)
    }

    /// Reads the whole body, then writes down that the request is executed.
    pub(crate) fn execute(&mut self) -> io::Result<()> {
        self.read_body()?;
        self.executed()
    }

    /// Writes down that the request is executed, whose body has been read.
    pub(crate) fn executed(&mut self) -> io::Result<()> {
        let Head { method, path, .. } = &self.head;
        self.application.execute(&format!("{method} {path} {} {}", self.head.id(), self.length))?;
        // A stop may have come meanwhile.
        self.closes |= self.application.is_stopping();
        Ok(())
    }

    fn read_body(&mut self) -> io::Result<()> {
        self.expected()?;
        while self.piece()?.is_some() {}
        Ok(())
    }

    /// Asks for the body if the client waits for that.
    pub(crate) fn expected(&mut self) -> io::Result<()> {
        if self.head.has("expect", "100-continue") && self.head.path != "/no-continue" {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(())
    }

    /// The next piece of the body, as it comes.
    pub(crate) fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let piece = self.wire.piece(&mut self.body, &mut self.trailers)?;
        self.length += piece.as_ref().map_or(0, Vec::len) as u64;
        Ok(piece)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.stream.write_all(bytes)
    }

    /// The head of an answer with these fields, each with its line's end.
    pub(crate) fn start(&self, status: u16, fields: &str) -> Vec<u8> {
        let (connection, request) = self.place;
        let (id, process) = (self.head.id(), process::id());
        let close = if self.closes { "Connection: close\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} {}\r\n{fields}{close}X-Id: {id}\r\nX-Process: {process}\r\n\
             X-Connection: {connection}\r\nX-Request: {request}\r\n\r\n",
            reason(status)
        );
        head.into_bytes()
    }

    /// An answer in one write, if it is short.
    pub(crate) fn plain(&mut self, status: u16, body: &[u8]) -> io::Result<Next> {
        let fields = format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
        let mut answer = self.start(status, &fields);
        if self.head.method != "HEAD" {
            answer.extend(body);
        }
        self.write(&answer)?;
        Ok(Next::Request)
    }

    /// Begins a chunked answer; whether a body may follow.
    pub(crate) fn chunked(&mut self, kind: &str, fields: &str) -> io::Result<bool> {
        let fields = format!("Content-Type: {kind}\r\n{fields}Transfer-Encoding: chunked\r\n");
        let head = self.start(200, &fields);
        self.write(&head)?;
        Ok(self.head.method != "HEAD")
    }

    pub(crate) fn chunk(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend(piece);
        chunk.extend(b"\r\n");
        self.write(&chunk).inspect_err(|_| self.gone())
    }

    /// Waits for the client to leave, and says so.
    pub(crate) fn wait_for_its_end(&mut self) -> Next {
        while self.wire.raw().is_ok_and(|bytes| !bytes.is_empty()) {}
        self.gone();
        Next::Close
    }

    fn gone(&self) {
        println!("gone {} {}", self.head.path, self.head.id());
    }
}

fn has(line: &[u8], path: &[u8]) -> bool {
    line.windows(path.len()).any(|part| part == path)
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Other")
}
