//! The access log: one event per request, when its response has been sent or given up, or one line of a file; and the
//! IDs of requests.

mod escaped;
mod file;
mod line;
mod queue;
mod rare;
mod request_id;
mod setting;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, StatusCode, Version};
use tracing::field;

pub use self::file::{AccessFile, AccessFormat};
use self::line::{Facts, RequestFacts};
use self::rare::Rare;
use self::request_id::{RequestId, hexadecimal, is_traceparent};
pub use self::setting::AccessLog;
pub(crate) use self::setting::AccessSetting;
use crate::connections::registry::Registry;
use crate::http::refusal::Refusal;
use crate::http::request_fields::RequestFields;
use crate::log::file as log_file;
use crate::sockets::peer::Peer;

/// The longest path in a log line, in bytes.
const PATH_MAX: usize = 1024;

/// How many lines a second clients can cause where only errors are logged.
const ERRORS_PER_SECOND: u64 = 100;

/// What is remembered of a request until it has been answered. Small: every request carries one, and
/// few are logged.
#[derive(Debug)]
pub(crate) struct Record {
    mode: AccessLog,
    version: Version,
    method: Method,
    path: Option<PathAndQuery>,
    id: RequestId,
    traceparent: Option<Box<HeaderValue>>,
    rare: Option<Box<Rare>>,
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

// === impl AccessSetting ===

impl AccessSetting {
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
        let mut rare = self.file().map(|file| Box::new(Rare::for_file(file, request.headers())));
        if path.is_none() && method == Method::CONNECT {
            rare.get_or_insert_default().authority = request.uri().authority().cloned();
        }
        Some(Record {
            mode,
            version: request.version(),
            method,
            path,
            id: RequestId::of(fields.request_id),
            traceparent: traceparent.cloned().map(Box::new),
            rare,
        })
    }
}

/// Waits until what was logged so far is an event, or in its file, for a second at most each.
pub(crate) fn flush() {
    queue::flush();
    log_file::flush();
}

/// Like [`flush`], but waits for the file no longer than this.
pub(crate) fn flush_within(timeout: Duration) {
    queue::flush();
    log_file::flush_within(timeout);
}

/// Waits like [`flush`] for the file alone, before requests are held up; answers how long to wait for it after that.
pub(crate) fn settle() -> Duration {
    log_file::settle()
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
    let mode = setting.mode();
    if let Some(file) = setting.file().filter(|_| mode != AccessLog::Off) {
        let facts = Facts {
            server: server.server(),
            peer,
            request: None,
            status: Some(status),
            error: Some(why),
            message: NOT_UNDERSTOOD,
        };
        if file::push(file, &facts) {
            return;
        }
    }
    let refused = || Refused { server: Arc::clone(server), peer, status, why: why.to_string() };
    match mode {
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
            // The line of a file may have no room for one.
            RequestId::Made(_) if self.has_no_id() => None,
            RequestId::Made(id) if self.mode == AccessLog::All || is_error(status) => {
                HeaderValue::from_bytes(&hexadecimal(*id)).ok()
            }
            RequestId::Made(_) => None,
        }
    }

    /// Its line is going to be without its ID.
    fn has_no_id(&self) -> bool {
        let file = self.rare.as_ref().and_then(|rare| rare.file.as_ref());
        file.is_some_and(|file| file::format(file) == Some(AccessFormat::Combined))
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
        if self.mode == AccessLog::Errors && whole && !status.is_none_or(is_error) {
            return;
        }
        self.log(server, peer, status, bytes, whole, took);
    }

    /// On its own, as few requests come here by default: their way out stays short.
    #[inline(never)]
    fn log(
        self,
        server: &Arc<Registry>,
        peer: Peer,
        status: Option<StatusCode>,
        bytes: u64,
        whole: bool,
        took: Duration,
    ) {
        let mode = self.mode;
        if let Some(file) = self.rare.as_ref().and_then(|rare| rare.file.as_ref()) {
            let request = self.facts(bytes, took);
            let error = self.refusal().map(|refusal| refusal as &dyn fmt::Display);
            let (server, message) = (server.server(), message(whole));
            if file::push(
                file,
                &Facts { server, peer, request: Some(request), status, error, message },
            ) {
                return;
            }
        }
        let server = Arc::clone(server);
        let entry = Entry { record: self, server, peer, status, bytes, whole, took };
        match mode {
            AccessLog::All => queue::push(Line::Entry(entry)),
            _ if within_rate() => entry.log(),
            _ => {}
        }
    }

    fn refusal(&self) -> Option<&Refusal> {
        self.rare.as_ref()?.refusal.as_ref()
    }

    /// What a file is to have of it.
    fn facts(&self, bytes: u64, took: Duration) -> RequestFacts<'_> {
        let rare = self.rare.as_deref();
        let user_agent = rare.and_then(|rare| rare.user_agent.as_ref());
        let referer = rare.and_then(|rare| rare.referer.as_ref());
        RequestFacts {
            version: self.version,
            method: &self.method,
            path: self.path(),
            bytes,
            took,
            id: &self.id,
            traceparent: self.traceparent.as_deref().map(HeaderValue::as_bytes),
            user_agent: user_agent.map(HeaderValue::as_bytes),
            referer: referer.map(HeaderValue::as_bytes),
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
            "{NOT_UNDERSTOOD}",
        );
    }
}

// === impl Entry ===

impl Entry {
    fn log(&self) {
        let Self { record, status, bytes, peer, .. } = self;
        tracing::info!(
            target: "lockstepd::access",
            server = self.server.server(),
            %peer,
            version = (record.version == Version::HTTP_2).then_some("HTTP/2"),
            method = %record.method,
            path = bounded(record.path()),
            status = status.map(|status| status.as_u16()),
            bytes,
            duration_us = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX),
            request_id = %record.id,
            traceparent = record.traceparent.as_ref().and_then(|parent| parent.to_str().ok()),
            error = record.refusal().map(field::display),
            "{}",
            message(self.whole),
        );
    }
}

/// What is said of what was refused before it was a request.
const NOT_UNDERSTOOD: &str = "request not understood";

fn message(is_whole: bool) -> &'static str {
    if is_whole { "request" } else { "request not answered to its end" }
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
