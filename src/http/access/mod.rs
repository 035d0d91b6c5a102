//! The access log: one event per request, when its response has been sent or given up; and the IDs of
//! requests.

mod queue;

use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, StatusCode, Version};
use tracing::field;

pub(crate) use self::queue::flush;
use crate::connections::registry::Registry;
use crate::http::refusal::Refusal;
use crate::http::request_fields::RequestFields;
use crate::log::invalid_setting::InvalidSetting;
use crate::sockets::peer::Peer;

/// The longest path and request ID in a log line, in bytes.
const PATH_MAX: usize = 1024;
const ID_MAX: usize = 64;

/// How many lines a second clients can cause where only errors are logged.
const ERRORS_PER_SECOND: u64 = 100;

/// Which requests are logged.
///
/// # Examples
/// ```
/// use lockstepd::{AccessLog, Daemon};
///
/// let wanted: AccessLog = "all".parse()?;
/// let daemon = Daemon::new("shop").access_log(wanted);
/// # let _ = daemon;
/// # Ok::<(), lockstepd::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
#[repr(u8)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those answered with a status of 400 or more, or not answered to their end; at most 100 a
    /// second, so that no client can flood the log.
    #[default]
    Errors,
    /// All.
    All,
}

/// The access log's setting of one daemon, shared by its servers and changeable while they run.
#[derive(Debug)]
pub(crate) struct AccessSetting {
    mode: AtomicU8,
}

/// What is remembered of a request until it has been answered. Small: every request carries one, and
/// few are logged.
#[derive(Debug)]
pub(crate) struct Record {
    mode: AccessLog,
    is_http2: bool,
    method: Method,
    path: Option<PathAndQuery>,
    id: RequestId,
    traceparent: Option<Box<HeaderValue>>,
    rare: Option<Box<Rare>>,
}

/// What few requests have to be remembered.
#[derive(Debug, Default)]
struct Rare {
    /// What CONNECT has for a path.
    authority: Option<Authority>,
    refusal: Option<Refusal>,
}

/// All that is known of a request that has been answered.
#[derive(Debug)]
struct Entry {
    record: Record,
    server: Arc<Registry>,
    peer: Peer,
    status: Option<StatusCode>,
    bytes: u64,
    whole: bool,
    took: Duration,
}

/// All that is known of what was refused before it was a request: its head did not come, or could not be understood.
#[derive(Debug)]
struct Refused {
    server: Arc<Registry>,
    peer: Peer,
    status: StatusCode,
    why: String,
}

/// A line of the access log, to be formatted.
#[derive(Debug)]
enum Line {
    Entry(Entry),
    Refused(Refused),
}

/// The ID of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
enum RequestId {
    /// The client's own.
    Given(Box<HeaderValue>),
    /// Made here: unique among those of this process and unlikely to recur in others.
    Made(u64),
}

// === impl AccessLog ===

impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Errors => "errors",
            Self::All => "all",
        })
    }
}

impl FromStr for AccessLog {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        match text {
            "off" => Ok(Self::Off),
            "errors" => Ok(Self::Errors),
            "all" => Ok(Self::All),
            _ => Err(InvalidSetting::new("the access log is off, errors or all")),
        }
    }
}

// === impl AccessSetting ===

impl AccessSetting {
    pub(crate) const fn new(mode: AccessLog) -> Self {
        Self { mode: AtomicU8::new(mode as u8) }
    }

    pub(crate) fn set(&self, mode: AccessLog) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    pub(crate) fn mode(&self) -> AccessLog {
        match self.mode.load(Ordering::Relaxed) {
            0 => AccessLog::Off,
            1 => AccessLog::Errors,
            _ => AccessLog::All,
        }
    }

    /// Begins the record of a request, where one may be wanted.
    pub(crate) fn begin<B>(
        &self,
        request: &Request<B>,
        fields: &RequestFields<'_>,
    ) -> Option<Record> {
        let mode = self.mode();
        if mode == AccessLog::Off {
            return None;
        }
        let traceparent = fields.traceparent.filter(|value| is_traceparent(value));
        let (method, path) = (request.method().clone(), request.uri().path_and_query().cloned());
        let rare = (path.is_none() && method == Method::CONNECT).then(|| {
            Box::new(Rare { authority: request.uri().authority().cloned(), refusal: None })
        });
        Some(Record {
            mode,
            is_http2: request.version() == Version::HTTP_2,
            method,
            path,
            id: RequestId::of(fields.request_id),
            traceparent: traceparent.cloned().map(Box::new),
            rare,
        })
    }
}

/// Counts and logs a request that was refused: its head did not come, or could not be understood.
pub(crate) fn refused(
    setting: &AccessSetting,
    server: &Arc<Registry>,
    peer: Peer,
    status: StatusCode,
    why: &dyn fmt::Display,
) {
    server.metrics.refused(status);
    let refused = || Refused { server: Arc::clone(server), peer, status, why: why.to_string() };
    match setting.mode() {
        // Through the queue, so that it comes after the requests before it.
        AccessLog::All => queue::push(Line::Refused(refused())),
        AccessLog::Errors if within_rate() => refused().log(),
        AccessLog::Errors | AccessLog::Off => {}
    }
}

// === impl Record ===

impl Record {
    /// Notes why the service is not called.
    pub(super) fn refused(&mut self, refusal: Refusal) {
        self.rare.get_or_insert_default().refusal = Some(refusal);
    }

    /// The path as it is logged; of CONNECT, which has none, the host and port.
    fn path(&self) -> &str {
        let authority = || self.rare.as_ref()?.authority.as_ref().map(Authority::as_str);
        let path = self.path.as_ref().map(PathAndQuery::path);
        path.or_else(authority).unwrap_or_default()
    }

    /// The ID to return with an answer: the client's own, or one that is going to be in the log.
    pub(crate) fn id_to_return(&self, status: StatusCode) -> Option<HeaderValue> {
        match &self.id {
            RequestId::Given(id) => Some(HeaderValue::clone(id)),
            RequestId::Made(id) if self.mode == AccessLog::All || is_error(status) => {
                HeaderValue::from_bytes(&hexadecimal(*id)).ok()
            }
            RequestId::Made(_) => None,
        }
    }

    /// Logs the request, if it is one to be logged. `status` is absent where the service gave no answer.
    pub(crate) fn end(
        self,
        server: &Arc<Registry>,
        peer: Peer,
        status: Option<StatusCode>,
        bytes: u64,
        whole: bool,
        took: Duration,
    ) {
        let mode = self.mode;
        if mode == AccessLog::Errors && whole && !status.is_none_or(is_error) {
            return;
        }
        let server = Arc::clone(server);
        let entry = Entry { record: self, server, peer, status, bytes, whole, took };
        match mode {
            AccessLog::All => queue::push(Line::Entry(entry)),
            _ if within_rate() => entry.log(),
            _ => {}
        }
    }
}

// === impl Line ===

impl Line {
    fn log(&self) {
        match self {
            Self::Entry(entry) => entry.log(),
            Self::Refused(refused) => refused.log(),
        }
    }
}

// === impl Refused ===

impl Refused {
    fn log(&self) {
        let Self { server, peer, status, why } = self;
        tracing::info!(
            target: "lockstepd::access",
            server = server.server(),
            %peer,
            status = status.as_u16(),
            error = why,
            "request not understood",
        );
    }
}

// === impl Entry ===

impl Entry {
    fn log(&self) {
        let Self { record, status, bytes, peer, .. } = self;
        let refusal = record.rare.as_ref().and_then(|rare| rare.refusal.as_ref());
        tracing::info!(
            target: "lockstepd::access",
            server = self.server.server(),
            %peer,
            version = record.is_http2.then_some("HTTP/2"),
            method = %record.method,
            path = bounded(record.path()),
            status = status.map(|status| status.as_u16()),
            bytes,
            duration_us = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
            request_id = %record.id,
            traceparent = record.traceparent.as_ref().and_then(|parent| parent.to_str().ok()),
            error = refusal.map(field::display),
            "{}",
            if self.whole { "request" } else { "request not answered to its end" },
        );
    }
}

fn bounded(path: &str) -> &str {
    let end = (0..=PATH_MAX.min(path.len())).rev().find(|at| path.is_char_boundary(*at));
    &path[..end.unwrap_or(0)]
}

fn is_error(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

/// Tells whether another line may be written in this second, for the whole process: clients
/// decide how many errors there are.
fn within_rate() -> bool {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    static SECOND: AtomicU64 = AtomicU64::new(0);
    static LINES: AtomicU64 = AtomicU64::new(0);
    let second = BEGIN.elapsed().as_secs() + 1;
    if SECOND.swap(second, Ordering::Relaxed) != second {
        let lines = LINES.swap(0, Ordering::Relaxed);
        if lines > ERRORS_PER_SECOND {
            let suppressed = lines - ERRORS_PER_SECOND;
            tracing::warn!(suppressed, "more failed requests in a second than are logged");
        }
    }
    LINES.fetch_add(1, Ordering::Relaxed) < ERRORS_PER_SECOND
}

// === impl RequestId ===

impl RequestId {
    /// The client's ID, if it is short and plain enough for the log, or a new one.
    fn of(given: Option<&HeaderValue>) -> Self {
        // A random start keeps the IDs of two processes apart.
        static NEXT: LazyLock<AtomicU64> =
            LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(std::process::id())));
        match given {
            Some(id) if is_sane(id.as_bytes()) => Self::Given(Box::new(id.clone())),
            _ => Self::Made(NEXT.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// The number in 16 digits. `format!` would be among the most expensive parts of a request.
fn hexadecimal(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| DIGITS[(number >> (60 - 4 * place) & 15) as usize])
}

fn is_sane(id: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+/=:".contains(byte);
    (1..=ID_MAX).contains(&id.len()) && id.iter().all(fits)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Sane, and so text.
            Self::Given(id) => f.write_str(id.to_str().unwrap_or_default()),
            Self::Made(id) => {
                hexadecimal(*id).iter().try_for_each(|digit| f.write_char(char::from(*digit)))
            }
        }
    }
}

/// Tells whether a `traceparent` has the form of W3C Trace Context, version 00.
fn is_traceparent(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let parts: Vec<_> = text.split('-').collect();
    let lengths = [2, 32, 16, 2];
    let is_hex = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| part.len() == length && is_hex(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> HeaderValue {
        text.parse().unwrap()
    }

    #[test]
    fn a_sane_request_id_is_kept() {
        let id = RequestId::of(Some(&value("0aF-3.b_")));
        assert_eq!(id.to_string(), "0aF-3.b_");
    }

    #[test]
    fn a_request_id_of_ours_has_sixteen_digits() {
        for (number, text) in [(0, "0000000000000000"), (0x12_ab34, "000000000012ab34")] {
            assert_eq!(RequestId::Made(number).to_string(), text);
        }
        assert_eq!(RequestId::Made(u64::MAX).to_string(), "ffffffffffffffff");
    }

    #[test]
    fn a_request_id_that_could_harm_a_log_is_replaced() {
        for bad in ["", "a b", "a\"b", "<script>", &"x".repeat(65)] {
            assert!(matches!(RequestId::of(Some(&value(bad))), RequestId::Made(_)));
        }
        assert!(matches!(RequestId::of(None), RequestId::Made(_)));
    }

    #[test]
    fn only_a_well_formed_traceparent_is_logged() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(&value(good)));
        for bad in ["", "00", "00-xyz-1-01", &good.to_uppercase(), &good[1..]] {
            assert!(!is_traceparent(&value(bad)), "{bad}");
        }
    }
}
