//! What is remembered of a request from its head to the end of its answer, for metrics and log.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, StatusCode, Version};

use crate::connections::metrics::method_index;
use crate::connections::registry::Registry;
use crate::http::access::Record;
use crate::http::refusal::Refusal;
use crate::http::response_rules::Asked;
use crate::sockets::peer::Peer;

/// What is remembered of the request that a connection is at; it has one at a time.
#[derive(Debug)]
pub(crate) struct RequestRecord {
    record: Option<Record>,
    begun: Instant,
    /// When the next one began, if that was before it is read.
    next_began: Option<Instant>,
    /// The method's index in the metrics.
    method: usize,
    /// What decides on the answer's framing.
    asked: Asked,
    status: Option<StatusCode>,
    /// The length of the answer's body, where that is known.
    expected: Option<u64>,
}

// === impl RequestRecord ===

impl RequestRecord {
    pub(crate) fn new() -> Self {
        Self {
            record: None,
            begun: Instant::now(),
            next_began: None,
            method: 0,
            asked: Asked { is_head: false, is_connect: false, version: Version::HTTP_11 },
            status: None,
            expected: None,
        }
    }

    /// Forgets the request before, and remembers this one from now on.
    pub(crate) fn begin(&mut self, method: &Method, version: Version, record: Option<Record>) {
        self.record = record;
        self.begun = self.next_began.take().unwrap_or_else(Instant::now);
        self.method = method_index(method);
        self.asked = Asked {
            is_head: *method == Method::HEAD,
            is_connect: *method == Method::CONNECT,
            version,
        };
        self.status = None;
        self.expected = None;
    }

    /// Notes why the service is not called, for the log.
    pub(crate) fn refused(&mut self, refusal: Refusal) {
        if let Some(record) = &mut self.record {
            record.refused(refusal);
        }
    }

    /// Notes the answer's status, and the length of its body where that is known; answers the request ID if the
    /// client is to be told.
    pub(crate) fn answered(
        &mut self,
        status: StatusCode,
        length: Option<u64>,
    ) -> Option<HeaderValue> {
        let is_bodiless = self.asked.is_head
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.status = Some(status);
        self.expected = if is_bodiless { Some(0) } else { length };
        self.record.as_ref().and_then(|record| record.id_to_return(status))
    }

    /// The next request has been read before, and waits since then.
    pub(crate) fn next_began(&mut self, since: Instant) {
        self.next_began = Some(since);
    }

    /// When the request began.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// The request goes back to where it came from: nothing is to be logged of it.
    pub(crate) fn recalled(&mut self) {
        self.record = None;
    }

    /// What decides on the answer's framing.
    pub(crate) fn asked(&self) -> Asked {
        self.asked
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.status.is_some()
    }

    /// Counts the request, and logs it if it is one to be logged. hyper took `bytes` of the answer's body, and
    /// saw its end if `whole`.
    pub(crate) fn end(&mut self, server: &Arc<Registry>, peer: Peer, bytes: u64, whole: bool) {
        let took = self.begun.elapsed();
        server.metrics.end(self.method, self.status, took);
        if let Some(record) = self.record.take() {
            // hyper drops a body of known length without asking whether more would come.
            let whole = whole || self.expected.is_some_and(|length| bytes >= length);
            record.end(server, peer, self.status, bytes, whole, took);
        }
    }
}
