//! The end of a connection that hyper had: what is answered last, logged and counted.

use std::time::SystemTime;

#[cfg(feature = "http2")]
use bytes::Bytes;
use http::StatusCode;

#[cfg(feature = "http2")]
use super::joined;
use super::lingering_close;
use super::{End, Served, refuse_http2};
use crate::connections::limits::{Limits, Timeout};
use crate::connections::registry::Handle;
use crate::http::access::{self, AccessSetting};
use crate::http::io::Io;
use crate::http::refusal::Refusal;
use crate::sockets::peer::Peer;

/// What a client of TLS begins with: a record of its handshake (RFC 8446, 5.1).
const TLS_HANDSHAKE: &[u8] = &[22, 3];

/// Ends a connection, and logs and counts why. `answering`: a request has no answer yet; `unused`: what hyper has
/// read and not used.
pub(super) async fn close(
    end: End,
    mut io: Io,
    handle: &Handle,
    access: &AccessSetting,
    limits: &Limits,
    answering: bool,
    unused: &[u8],
) -> Served {
    let (server, peer) = (handle.registry(), io.idle.stream.peer());
    let lingers = match end {
        // hyper may have been given none of it, and call that an ordinary end.
        End::Hyper(_) if io.activity.wire().is_http2() => {
            // It is the first thing that a client sends, or none of HTTP/2.
            #[cfg(feature = "http2")]
            if io.activity.requests() == 0 && io.idle.waiting == Timeout::FirstByte {
                let Io { mut idle, registration, .. } = io;
                idle.unread = joined(Bytes::copy_from_slice(unused), idle.unread);
                return Served::Http2(idle, registration);
            }
            refuse_http2::refuse(&mut io, server);
            true
        }
        // It was given all of it at once, behind a request.
        End::Hyper(Err(error)) if error.is_parse_version_h2() => {
            refuse_http2::refuse(&mut io, server);
            true
        }
        End::Hyper(Err(error)) => {
            match refusal_of(&error, unused, limits) {
                Some(refusal) => access::refused(access, server, peer, refusal.status(), &refusal),
                None if error.is_parse() => {
                    access::refused(access, server, peer, StatusCode::BAD_REQUEST, &error);
                }
                None => log_end(server.server(), peer, &error),
            }
            true
        }
        End::Hyper(Ok(())) => !unused.is_empty() || io.activity.is_cut_short(),
        End::TimedOut(waiting) => {
            server.metrics.timeouts[waiting as usize].add(1);
            if waiting == Timeout::Head {
                let refusal = Refusal::HeadTimeout;
                access::refused(access, server, peer, refusal.status(), &refusal);
            }
            let answers = waiting == Timeout::Head || (waiting == Timeout::Body && answering);
            if answers {
                io.put_off(request_timeout().as_bytes());
            }
            answers
        }
        End::Over => true,
        End::Idle(_) | End::Recalled | End::Unanswered => false,
    };
    if lingers || (!io.activity.will_client_close() && io.idle.stream.has_unread()) {
        let (idle, registration) = lingering_close::begin(io).await;
        return Served::LingeringClose(idle, registration);
    }
    // The connection stops counting as open when its socket is closed, not before.
    drop(io);
    Served::Closed
}

/// What is known better than hyper tells it of a head of which `read` has come: that it is none, or the limit that it has
/// exceeded.
fn refusal_of(error: &hyper::Error, read: &[u8], limits: &Limits) -> Option<Refusal> {
    if error.is_parse() && read.starts_with(TLS_HANDSHAKE) {
        return Some(Refusal::Secured);
    }
    if !error.is_parse_too_large() {
        return None;
    }
    if error.to_string() == "URI too long" {
        return Some(Refusal::Target);
    }
    // Behind the request line and each field comes an end of line.
    let head = read.trim_ascii_start();
    let head = &head[..head.len().min(limits.head_size)];
    let ends = head.split(|byte| *byte == b'\n').skip(1);
    Some(if ends.count() > limits.headers {
        Refusal::Fields(limits.headers)
    } else {
        Refusal::Head(limits.head_size)
    })
}

fn log_end(server: &str, peer: Peer, error: &hyper::Error) {
    let error: &dyn std::error::Error = error;
    tracing::debug!(server, %peer, error, "connection ended");
}

/// The answer to a request that did not come in time, if no answer has begun.
fn request_timeout() -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    format!(
        "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\ndate: {date}\r\n\r\n"
    )
}
