//! The client of the model: sends what it is told, hears everything, and judges it.

use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::handlers::{Conduct, Handlers};
use super::sequence::{Framing, Sent, Sequence};

/// How long a client waits for more.
const QUIET: Duration = Duration::from_secs(200);

/// A client that reads all the time.
pub(super) struct Client {
    writer: OwnedWriteHalf,
    reader: JoinHandle<(Vec<u8>, bool)>,
}

/// What came to a client, and what the handlers saw.
#[derive(Debug)]
pub(super) struct Heard {
    answers: Vec<Answer>,
    /// What came behind the last whole answer.
    rest: String,
    /// The server ended the connection.
    ended: bool,
    seen: Vec<String>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
    closes: bool,
}

// === impl Client ===

impl Client {
    pub(super) fn new(stream: StdStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        let (mut reader, writer) = UnixStream::from_std(stream).unwrap().into_split();
        let reader = tokio::spawn(async move {
            let mut bytes = Vec::new();
            loop {
                match timeout(QUIET, reader.read_buf(&mut bytes)).await {
                    Ok(Ok(0) | Err(_)) => return (bytes, true),
                    Ok(Ok(_)) => {}
                    Err(_) => return (bytes, false),
                }
            }
        });
        Self { writer, reader }
    }

    pub(super) async fn send(&mut self, bytes: &[u8], wait: Duration) {
        sleep(wait).await;
        // A server that has ended the connection, or reads no more, does not get it.
        let _ = timeout(QUIET, self.writer.write_all(bytes)).await;
    }

    /// What was heard to the end, or until nothing has come for long.
    pub(super) async fn end(mut self, hangs_up: bool, handlers: &Handlers) -> Heard {
        if hangs_up {
            let _ = self.writer.shutdown().await;
        }
        let (bytes, ended) = self.reader.await.unwrap();
        let mut answers = Vec::new();
        let mut rest = &bytes[..];
        while let Some((answer, length)) = Answer::parse(rest, ended) {
            rest = &rest[length..];
            if answer.status >= 200 {
                answers.push(answer);
            }
        }
        let seen = handlers.seen.lock().unwrap().clone();
        Heard { answers, rest: rest.escape_ascii().to_string(), ended, seen }
    }
}

// === impl Heard ===

impl Heard {
    /// What holds for every server: the requests are those that were sent, and so are the answers.
    pub(super) fn check_answers(&self, sequence: &Sequence) -> Result<(), String> {
        for (place, path) in self.seen.iter().enumerate() {
            if *path != format!("/{place}") || place >= sequence.requests.len() {
                return Err(format!("{path} was seen in place {place}: {self:?}"));
            }
        }
        let (_, begun) = sequence.sent();
        for (place, answer) in self.answers.iter().enumerate() {
            let fits = match answer.status {
                200 => answer.body == format!("/{place}") && place < self.seen.len(),
                // Of a handler that failed or panicked.
                500 => sequence.requests.get(place).is_some_and(|sent| sent.plan.conduct.fails()),
                // Of the server's own, to the beginning of a request.
                400 | 408 => place + 1 == self.answers.len() && begun,
                _ => false,
            };
            if !fits {
                return Err(format!("answer {place} is to another request: {self:?}"));
            }
            let is_followed = place + 1 < self.answers.len() || !self.rest.is_empty();
            if answer.closes && is_followed {
                return Err(format!("answer {place} was to be the last: {self:?}"));
            }
        }
        Ok(())
    }

    /// What holds for this server: whole requests have their answers, and a connection ends for a reason.
    pub(super) fn check_end(&self, sequence: &Sequence) -> Result<(), String> {
        let (whole, begun) = sequence.sent();
        let is_announced = self.answers.last().is_some_and(|answer| answer.closes);
        if is_announced && !self.ended {
            return Err(format!("the last answer did not end the connection: {self:?}"));
        }
        if sequence.lingers() {
            return Ok(());
        }
        if sequence.hangs_up {
            // Behind its last word it waits for the answers all the same.
            let is_short =
                self.answers.len() < whole && !sequence.may_end_early(self.answers.len());
            return if is_short { Err(format!("answers are missing: {self:?}")) } else { Ok(()) };
        }
        if is_announced {
            let last = sequence.requests.get(self.answers.len() - 1);
            let is_due = last
                .is_some_and(|sent| sent.may_be_last() || sent.plan.conduct == Conduct::Refuses);
            // The beginning of a request that was not whole is refused.
            let is_refusal = begun && self.answers.len() >= whole;
            let what = "the connection was ended without a reason";
            return (is_due || is_refusal).then_some(()).ok_or_else(|| format!("{what}: {self:?}"));
        }
        let next = sequence.requests.get(self.answers.len());
        let hangs = next.is_some_and(|sent| sent.plan.conduct == Conduct::Hangs);
        if !self.ended && self.answers.len() < whole && !hangs {
            return Err(format!("answers are missing: {self:?}"));
        }
        // A request that is not whole, or was not even begun, is waited for in vain.
        if !self.ended || (begun && self.answers.len() >= whole) || whole == 0 || hangs {
            return Ok(());
        }
        let seen = &sequence.requests[..self.seen.len()];
        if seen.iter().any(|sent| sent.plan.conduct == Conduct::PanicsInAnswer) {
            return Ok(());
        }
        // hyper 1.12 never tells the end of a body with trailers to a handler that still reads it when the answer
        // has been sent, and a body before it may still be in a handler's hands as well.
        let reads_late = |sent: &Sent| sent.plan.conduct.reads_late();
        let has_trailers =
            |sent: &Sent| matches!(sent.framing, Framing::Chunked { has_trailers: true, .. });
        if seen.iter().any(reads_late) && seen.iter().any(has_trailers) {
            return Ok(());
        }
        Err(format!("ended without a reason, and unannounced: {self:?}"))
    }

    /// There are no fewer answers than hyper gives, but where this server announces an end that hyper does not.
    pub(super) fn check_beside(&self, hypers: &Self, sequence: &Sequence) -> Result<(), String> {
        let is_announced = self.answers.last().is_some_and(|answer| answer.closes);
        if is_announced || sequence.hangs_up || sequence.has_changes() {
            return Ok(());
        }
        if self.answers.len() < hypers.answers.len() {
            return Err(format!("fewer answers than hyper gives, {hypers:?}: {self:?}"));
        }
        Ok(())
    }
}

// === impl Answer ===

impl Answer {
    /// The answer at the beginning of `bytes`, and how long it is.
    fn parse(bytes: &[u8], ended: bool) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..end]).ok()?.to_ascii_lowercase();
        let status = head.strip_prefix("http/1.1 ").or_else(|| head.strip_prefix("http/1.0 "))?;
        let status: u16 = status.get(..3)?.parse().ok()?;
        let value = |name| head.lines().find_map(|line| line.strip_prefix(name));
        let connection = value("connection: ").unwrap_or_default();
        let mut closes = connection.contains("close")
            || (head.starts_with("http/1.0") && !connection.contains("keep-alive"));
        let content = &bytes[end..];
        let (body, length) = if status < 200 {
            (Vec::new(), 0)
        } else if let Some(length) = value("content-length: ") {
            let length: usize = length.parse().ok()?;
            (content.get(..length)?.to_vec(), length)
        } else if value("transfer-encoding: ").is_some() {
            dechunked(content)?
        } else if ended {
            closes = true;
            (content.to_vec(), content.len())
        } else {
            return None;
        };
        let body = String::from_utf8(body).ok()?;
        Some((Self { status, body, closes }, end + length))
    }
}

/// The chunked body at the beginning of `bytes`, without trailers, and how long it is.
fn dechunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|end| end == b"\r\n")?;
        let length = std::str::from_utf8(&bytes[at..at + line]).ok()?;
        let length = usize::from_str_radix(length, 16).ok()?;
        at += line + 2;
        body.extend(bytes.get(at..at + length)?);
        if bytes.get(at + length..at + length + 2)? != b"\r\n" {
            return None;
        }
        at += length + 2;
        if length == 0 {
            return Some((body, at));
        }
    }
}
