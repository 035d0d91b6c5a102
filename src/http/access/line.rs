//! A request as a line of the access log's file.
//!
//! A line is ASCII, and has less than 4096 bytes, so that a pipe takes it in one piece. What a client has sent is escaped, so
//! that it cannot end a line, a field or an escape.
//!
//! # Source
//! Apache's `LogFormat "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-agent}i\"" combined`; the escapes are nginx's.

use std::cell::Cell;
use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode, Version};

use super::escaped::{Escape, Escaped};
use super::file::AccessFormat;
use crate::sockets::peer::Peer;

/// The longest path in a line, escaped, in bytes.
const PATH_MAX: usize = super::PATH_MAX;

/// The longest of the other texts.
const TEXT_MAX: usize = 256;

/// The status for a request that was given no answer, as nginx has it.
const NO_ANSWER: u16 = 499;

/// What is known of a request.
pub(super) struct Facts<'f> {
    pub(super) server: &'f str,
    pub(super) peer: Peer,
    /// None: it was not understood.
    pub(super) request: Option<RequestFacts<'f>>,
    pub(super) status: Option<StatusCode>,
    pub(super) error: Option<&'f dyn Display>,
    pub(super) message: &'static str,
}

/// What is known of a request that was understood.
pub(super) struct RequestFacts<'f> {
    pub(super) version: Version,
    pub(super) method: &'f Method,
    pub(super) path: &'f str,
    pub(super) bytes: u64,
    pub(super) took: Duration,
    pub(super) id: &'f dyn Display,
    pub(super) traceparent: Option<&'f [u8]>,
    pub(super) user_agent: Option<&'f [u8]>,
    pub(super) referer: Option<&'f [u8]>,
}

/// A second in the forms of both formats.
#[derive(Clone, Copy)]
struct Second {
    number: u64,
    /// `28/Nov/2026:14:29:27`
    combined: [u8; 20],
    /// `2026-11-28T14:29:27`
    rfc3339: [u8; 19],
}

// === impl Facts ===

impl Facts<'_> {
    /// Writes the line, its end included.
    pub(super) fn write(&self, format: AccessFormat, line: &mut Vec<u8>) {
        let now = SystemTime::now();
        match format {
            AccessFormat::Combined => self.combined(now, line),
            AccessFormat::Json => self.json(now, line),
        }
    }

    fn combined(&self, now: SystemTime, line: &mut Vec<u8>) {
        let (second, _) = Second::of(now);
        client(self.peer, false, Escape::Combined, line);
        line.extend_from_slice(b" - - [");
        line.extend_from_slice(&second.combined);
        line.extend_from_slice(b" +0000] \"");
        if let Some(request) = &self.request {
            Escaped::new(line, Escape::Combined, TEXT_MAX)
                .bytes(request.method.as_str().as_bytes());
            line.push(b' ');
            Escaped::new(line, Escape::Combined, PATH_MAX).bytes(request.path.as_bytes());
            line.push(b' ');
            line.extend_from_slice(version(request.version));
        } else {
            line.push(b'-');
        }
        line.extend_from_slice(b"\" ");
        decimal(self.status.map_or(NO_ANSWER, |status| status.as_u16()).into(), line);
        line.push(b' ');
        decimal(self.request.as_ref().map_or(0, |request| request.bytes), line);
        let texts = self.request.as_ref().map(|request| [request.referer, request.user_agent]);
        for text in texts.unwrap_or_default() {
            line.extend_from_slice(b" \"");
            Escaped::new(line, Escape::Combined, TEXT_MAX).bytes(text.unwrap_or(b"-"));
            line.push(b'"');
        }
        line.push(b'\n');
    }

    fn json(&self, now: SystemTime, line: &mut Vec<u8>) {
        let (second, micros) = Second::of(now);
        line.extend_from_slice(b"{\"time\":\"");
        line.extend_from_slice(&second.rfc3339);
        line.push(b'.');
        digits(micros.into(), 6, line);
        line.extend_from_slice(b"Z\"");
        text("server", self.server.as_bytes(), line);
        name("peer", line);
        line.push(b'"');
        client(self.peer, true, Escape::Json, line);
        line.push(b'"');
        if let Some(request) = &self.request {
            // As the events have it.
            let version = if request.version == Version::HTTP_2 {
                b"HTTP/2"
            } else {
                version(request.version)
            };
            text("version", version, line);
            text("method", request.method.as_str().as_bytes(), line);
            name("path", line);
            line.push(b'"');
            Escaped::new(line, Escape::Json, PATH_MAX).bytes(request.path.as_bytes());
            line.push(b'"');
        }
        if let Some(status) = self.status {
            number("status", status.as_u16().into(), line);
        }
        if let Some(request) = &self.request {
            number("bytes", request.bytes, line);
            let micros = u64::try_from(request.took.as_micros()).unwrap_or(u64::MAX);
            number("duration_us", micros, line);
            shown("request_id", request.id, line);
            let texts = [
                ("traceparent", request.traceparent),
                ("user_agent", request.user_agent),
                ("referer", request.referer),
            ];
            for (name, value) in texts {
                if let Some(value) = value {
                    text(name, value, line);
                }
            }
        }
        if let Some(error) = self.error {
            shown("error", error, line);
        }
        text("message", self.message.as_bytes(), line);
        line.extend_from_slice(b"}\n");
    }
}

/// Who the client is: its address, with or without the port.
fn client(peer: Peer, with_port: bool, escape: Escape, line: &mut Vec<u8>) {
    match peer.tcp() {
        // As nearly all are; the formatter of the standard library would cost several times as much.
        Some(SocketAddr::V4(address)) => {
            for (place, octet) in address.ip().octets().into_iter().enumerate() {
                if place > 0 {
                    line.push(b'.');
                }
                decimal(octet.into(), line);
            }
            if with_port {
                line.push(b':');
                decimal(address.port().into(), line);
            }
        }
        Some(SocketAddr::V6(address)) if !with_port => {
            display(address.ip(), escape, line);
        }
        _ => display(&peer, escape, line),
    }
}

/// Writes what is formatted, escaped. It cannot fail: what is too long is left out.
fn display(value: &dyn Display, escape: Escape, line: &mut Vec<u8>) {
    let _ = write!(Escaped::new(line, escape, TEXT_MAX), "{value}");
}

fn version(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_2 => b"HTTP/2.0",
        Version::HTTP_10 => b"HTTP/1.0",
        _ => b"HTTP/1.1",
    }
}

fn name(name: &str, line: &mut Vec<u8>) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

fn number(field: &str, value: u64, line: &mut Vec<u8>) {
    name(field, line);
    decimal(value, line);
}

fn text(field: &str, value: &[u8], line: &mut Vec<u8>) {
    name(field, line);
    line.push(b'"');
    Escaped::new(line, Escape::Json, TEXT_MAX).bytes(value);
    line.push(b'"');
}

fn shown(field: &str, value: &dyn Display, line: &mut Vec<u8>) {
    name(field, line);
    line.push(b'"');
    display(value, Escape::Json, line);
    line.push(b'"');
}

fn decimal(number: u64, line: &mut Vec<u8>) {
    digits(number, number.checked_ilog10().unwrap_or(0) as usize + 1, line);
}

fn digits(mut number: u64, count: usize, line: &mut Vec<u8>) {
    let begin = line.len();
    line.resize(begin + count, b'0');
    for digit in line[begin..].iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
}

// === impl Second ===

impl Second {
    /// The second of a time, and the microseconds in it. Formatted anew when it is another second.
    fn of(now: SystemTime) -> (Self, u32) {
        thread_local! {
            static LAST: Cell<Option<Second>> = const { Cell::new(None) };
        }
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = since.as_secs();
        // At the end of a thread it is gone.
        let last = LAST.try_with(Cell::get).ok().flatten().filter(|last| last.number == number);
        let second = last.unwrap_or_else(|| {
            let second = Self::new(number);
            let _ = LAST.try_with(|last| last.set(Some(second)));
            second
        });
        (second, since.subsec_micros())
    }

    fn new(number: u64) -> Self {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        // The last that httpdate knows is the year 9999.
        let number = number.min(253_402_300_799);
        // Sun, 06 Nov 1994 08:49:37 GMT
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(number));
        let [day, name, year, time] = [5..7, 8..11, 12..16, 17..25].map(|part| &date[part]);
        let month = MONTHS.iter().position(|month| *month == name).map_or(1, |place| place + 1);
        Self {
            number,
            combined: array(&format!("{day}/{name}/{year}:{time}")),
            rfc3339: array(&format!("{year}-{month:02}-{day}T{time}")),
        }
    }
}

/// A text of a length that is known.
fn array<const N: usize>(text: &str) -> [u8; N] {
    std::array::from_fn(|place| text.as_bytes().get(place).copied().unwrap_or(b' '))
}

#[cfg(test)]
mod tests;
