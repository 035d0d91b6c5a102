//! What becomes of a request after an attempt: it is answered, it goes on as a tunnel, or it is sent again.
//!
//! Nothing is waited for here, but for a tunnel: the future of a request would keep room for the answer's head.

use std::future::poll_fn;
use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::http::tunnel::BecomesTunnel;
use crate::proxy::answer::AnswerBody;
use crate::proxy::attempt::End;
use crate::proxy::connection::Connection;
use crate::proxy::failure::Failure;
use crate::proxy::fields::{has_other_coding, is_endless, pass_back};
use crate::proxy::forward::{Forward, REPEATS_MAX};
use crate::proxy::metrics::Retry;
use crate::proxy::request_body::RequestBody;
use crate::proxy::room::{Active, Permit};
use crate::proxy::tunnel;
use crate::proxy::upstream::Upstream;
#[cfg(feature = "http2")]
use crate::proxy::verdict::of_http2;
use crate::proxy::verdict::{Seen, is_malformed, seen};

/// Why `101 Switching Protocols` is no answer.
const UNASKED: &str = "it switches protocols, unasked";

/// What becomes of a request after an attempt.
pub(super) enum Next {
    Answer(Response<AnswerBody>),
    /// Over another connection, at once.
    Again,
    /// The application is away.
    Away,
    /// The door has been shut meanwhile, or the application is held.
    Behind,
    /// The application goes on in another protocol.
    Switch(Box<(Response<Incoming>, Connection)>),
}

/// What an attempt was made with.
pub(super) struct Tried {
    pub(super) connection: Connection,
    pub(super) is_kept: bool,
    pub(super) began: Instant,
    pub(super) active: Active,
}

// === impl Forward ===

impl Forward {
    /// Decides what follows from how an attempt has ended.
    pub(super) fn ended(
        &mut self,
        end: End,
        tried: Tried,
        upstream: &Upstream,
        permit: &mut Permit,
    ) -> Result<Next, Failure> {
        if tried.is_kept {
            if matches!(end, End::Broken(_)) && !tried.connection.wire.is_begun() {
                // The application had closed it, or said something unasked, before there was a request.
                return Ok(Next::Again);
            }
            self.state.metrics.reused.add(1);
        }
        match end {
            End::Answered(answer) => {
                self.state.metrics.answered(tried.began.elapsed());
                if answer.status() == StatusCode::SERVICE_UNAVAILABLE && self.may_wait_on_503() {
                    self.last = "the application says 503".into();
                    self.state.metrics.retried(Retry::Starting);
                    return Ok(Next::Away);
                }
                self.state.taken(permit);
                self.misses = 0;
                if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                    if tried.connection.wire.is_http2() {
                        return Err(Failure::Malformed(UNASKED.to_owned()));
                    }
                    return Ok(Next::Switch(Box::new((answer, tried.connection))));
                }
                self.pass_back(answer, tried, upstream).map(Next::Answer)
            }
            End::TimedOut => Err(Failure::Timeout),
            End::Broken(error) => self.broken(&error, &tried, upstream),
        }
    }

    /// The connection ended without an answer.
    fn broken(
        &mut self,
        error: &hyper::Error,
        tried: &Tried,
        upstream: &Upstream,
    ) -> Result<Next, Failure> {
        self.last = text(error).into();
        if is_malformed(error) {
            return Err(Failure::Malformed(self.last.to_string()));
        }
        if self.body.as_ref().is_some_and(RequestBody::is_broken) {
            return Err(Failure::Body);
        }
        let is_there = self.body.as_ref().is_none_or(RequestBody::is_there);
        let wire = &tried.connection.wire;
        match seen(wire, error) {
            Seen::NotItsHead if is_there => {
                let why = if wire.is_head_sent() { Retry::NotRead } else { Retry::NotSent };
                self.state.metrics.retried(why);
                // One fresh connection may have been closed for a reason of its own; two in a row were not.
                if !tried.is_kept && std::mem::replace(&mut self.was_unread, true) {
                    return Ok(Next::Away);
                }
            }
            _ if is_there && self.head.method.is_idempotent() && self.repeats < REPEATS_MAX => {
                self.repeats += 1;
                self.state.metrics.retried(Retry::Idempotent);
            }
            _ => return Err(Failure::Closed),
        }
        // The others that are kept are probably closed as well.
        upstream.pool.clear();
        Ok(Next::Again)
    }

    fn may_wait_on_503(&self) -> bool {
        let is_there = self.body.as_ref().is_none_or(RequestBody::is_there);
        self.settings.wait_on_503 && is_there && !self.patience.is_zero()
    }

    /// Makes the application's answer the client's.
    fn pass_back(
        &self,
        answer: Response<Incoming>,
        tried: Tried,
        upstream: &Upstream,
    ) -> Result<Response<AnswerBody>, Failure> {
        let (mut parts, incoming) = answer.into_parts();
        if has_other_coding(&parts.headers) {
            return Err(Failure::Malformed("a transfer coding that is not chunked".to_owned()));
        }
        pass_back(&mut parts, &self.settings);
        let active = (!is_endless(&parts.headers)).then_some(tried.active);
        let body = AnswerBody::streamed(
            incoming,
            tried.connection,
            Arc::clone(&upstream.pool),
            Arc::clone(&self.state.metrics),
            active,
            self.settings.idle_timeout,
        );
        Ok(Response::from_parts(parts, body))
    }

    /// Makes a tunnel of both connections, if the client has offered what the application agrees to.
    pub(super) async fn switch(
        &mut self,
        (answer, mut connection): (Response<Incoming>, Connection),
    ) -> Result<Response<AnswerBody>, Failure> {
        let (mut parts, incoming) = answer.into_parts();
        let agreed = parts.headers.get(header::UPGRADE).filter(|agreed| {
            let offer = self.head.offer.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
            agreed.as_bytes().trim_ascii().eq_ignore_ascii_case(offer.trim_ascii())
        });
        let (Some(agreed), Some(client)) = (agreed.cloned(), self.upgrade.take()) else {
            return Err(Failure::Malformed(UNASKED.to_owned()));
        };
        pass_back(&mut parts, &self.settings);
        parts.headers.insert(header::UPGRADE, agreed);
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        drop(incoming);
        poll_fn(|cx| connection.poll(cx)).await;
        let Some((stream, read)) = connection.into_parts() else {
            return Err(Failure::Closed);
        };
        parts.extensions.insert(BecomesTunnel);
        tunnel::open(client, stream, read, &self.state.metrics);
        Ok(Response::from_parts(parts, AnswerBody::empty()))
    }
}

/// What was wrong, in words.
fn text(error: &hyper::Error) -> String {
    #[cfg(feature = "http2")]
    if let Some(of_http2) = of_http2(error) {
        let hint =
            if of_http2.is_library() { " (does it speak HTTP/1.1? see proxy.http2)" } else { "" };
        return format!("HTTP/2: {of_http2}{hint}");
    }
    let text = error.to_string();
    // What a server of HTTP/2 says first is no line of HTTP/1.1.
    let hint = if error.is_parse() && text.contains("version") {
        " (does it speak HTTP/2? see proxy.http2)"
    } else {
        ""
    };
    text + hint
}
