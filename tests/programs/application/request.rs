//! Reading requests from a connection, never a byte more of one than is asked for.

use std::io::{self, ErrorKind};

use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, recv};

use crate::stream::Stream;

/// A connection. What is not asked for stays with the kernel, so that a close resets it as it should.
pub(crate) struct Wire {
    pub(crate) stream: Stream,
}

/// A request's head.
pub(crate) struct Head {
    /// As it came, with the empty line.
    pub(crate) text: Vec<u8>,
    pub(crate) method: String,
    pub(crate) path: String,
    query: String,
    fields: Vec<(String, String)>,
    pub(crate) is_http_10: bool,
}

/// What is left of a request's body.
pub(crate) enum Body {
    Length(u64),
    /// What is left of a chunk.
    Chunk(u64),
    Ended,
}

// === impl Wire ===

impl Wire {
    /// Waits for a byte, which stays where it is, or the end.
    pub(crate) fn is_at_end(&self) -> io::Result<bool> {
        let (seen, _) = retry_on_intr(|| recv(&self.stream, &mut [0; 1], RecvFlags::PEEK))?;
        Ok(seen == 0)
    }

    /// The request line, and not one byte of what follows.
    pub(crate) fn request_line(&self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        if line.ends_with(b"\n") { Ok(line) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    /// The rest of a head that begins with this line, and not one byte of a body.
    pub(crate) fn head(&self, line: Vec<u8>) -> io::Result<Head> {
        let mut text = line;
        while !text.ends_with(b"\r\n\r\n") {
            let line = self.line()?;
            if line.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            text.extend(line);
        }
        Ok(Head::parse(text))
    }

    /// The next piece of a body; `None` at its end. A chunked body's trailers are added to `trailers` as they came.
    pub(crate) fn piece(
        &self,
        body: &mut Body,
        trailers: &mut Vec<u8>,
    ) -> io::Result<Option<Vec<u8>>> {
        if let Body::Chunk(left @ 0) = body {
            let size = self.line()?;
            let size = String::from_utf8_lossy(&size);
            let size = size.split(';').next().unwrap_or_default().trim();
            *left = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            if *left == 0 {
                *body = Body::Ended;
                loop {
                    match &*self.line()? {
                        b"\r\n" => return Ok(None),
                        b"" => return Err(ErrorKind::UnexpectedEof.into()),
                        line => trailers.extend(line),
                    }
                }
            }
        }
        let left = match body {
            Body::Ended | Body::Length(0) => return Ok(None),
            Body::Length(left) | Body::Chunk(left) => left,
        };
        let piece = self.some(usize::try_from(*left).unwrap_or(usize::MAX))?;
        if piece.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        *left -= piece.len() as u64;
        if matches!(body, Body::Chunk(0)) && self.line()? != b"\r\n" {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(Some(piece))
    }

    /// Bytes of no request, after an upgrade; none when the client has ended its side.
    pub(crate) fn raw(&self) -> io::Result<Vec<u8>> {
        self.some(usize::MAX)
    }

    /// A line with its end; less, or nothing, if the client ends before.
    fn line(&self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut bytes = [0; 4096];
            let (seen, _) = retry_on_intr(|| recv(&self.stream, &mut bytes, RecvFlags::PEEK))?;
            if seen == 0 {
                break;
            }
            let end = bytes[..seen].iter().position(|byte| *byte == b'\n');
            line.extend(self.some(end.map_or(seen, |end| end + 1))?);
        }
        Ok(line)
    }

    /// As much as is there, and at most so much.
    fn some(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 16 * 1024];
        let most = most.min(bytes.len());
        let count = retry_on_intr(|| rustix::io::read(&self.stream, &mut bytes[..most]))?;
        Ok(bytes[..count].to_vec())
    }
}

// === impl Head ===

impl Head {
    fn parse(text: Vec<u8>) -> Self {
        let lines = String::from_utf8_lossy(&text).into_owned();
        let mut lines = lines.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let is_http_10 = words.next() == Some("HTTP/1.0");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { text, method, path, query, fields, is_http_10 }
    }

    /// A field's value, by the name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
    }

    /// Whether one of a field's words is this, whatever the case.
    pub(crate) fn has(&self, name: &str, word: &str) -> bool {
        let values = self.fields.iter().filter(|(found, _)| found == name);
        values.flat_map(|(_, value)| value.split(',')).any(|v| v.trim().eq_ignore_ascii_case(word))
    }

    /// A value of the query.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let mut values = self.query.split('&').filter_map(|pair| pair.split_once('='));
        values.find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// A number of the query, or another.
    pub(crate) fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.query(name).and_then(|value| value.parse().ok()).unwrap_or(otherwise)
    }

    pub(crate) fn id(&self) -> &str {
        self.field("x-id").or_else(|| self.query("id")).unwrap_or("-")
    }

    pub(crate) fn body(&self) -> Body {
        if self.has("transfer-encoding", "chunked") {
            return Body::Chunk(0);
        }
        let length = self.field("content-length").and_then(|value| value.parse().ok());
        length.map_or(Body::Ended, Body::Length)
    }
}
