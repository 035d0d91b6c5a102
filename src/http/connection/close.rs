//! The end of a connection that hyper had: what is answered last, logged and counted.

use std::future::poll_fn;
use std::time::SystemTime;

use http::StatusCode;
use tokio::time::timeout;

use super::lingering_close::{self, LAST_WRITE_TIMEOUT};
use super::{End, Served};
use crate::connections::limits::Timeout;
use crate::connections::registry::Handle;
use crate::http::access::{self, AccessSetting};
use crate::http::io::Io;
use crate::sockets::peer::Peer;

/// Ends a connection, and logs and counts why. `answering`: a request has no answer yet; `is_heard_out`: hyper has
/// used all that it has read, and no body was cut short.
pub(super) async fn close(
    end: End,
    mut io: Io,
    handle: &Handle,
    access: &AccessSetting,
    answering: bool,
    is_heard_out: bool,
) -> Served {
    let (server, peer) = (handle.registry(), io.idle.stream.peer());
    let lingers = match end {
        End::Hyper(Err(error)) => {
            match status_of(&error) {
                Some(status) => access::refused(access, server, peer, status, &error),
                None => log_end(server.server(), peer, &error),
            }
            true
        }
        End::Hyper(Ok(())) => !is_heard_out,
        End::TimedOut(waiting) => {
            server.metrics.timeouts[waiting as usize].add(1);
            if waiting == Timeout::Head {
                let why = "its head did not come in time";
                access::refused(access, server, peer, StatusCode::REQUEST_TIMEOUT, &why);
            }
            let answers = waiting == Timeout::Head || (waiting == Timeout::Body && answering);
            if answers {
                let said = request_timeout();
                let answer = poll_fn(|cx| io.idle.stream.poll_write(cx, said.as_bytes()));
                // A client that does not take so few bytes in time does not get them.
                let _ = timeout(LAST_WRITE_TIMEOUT, answer).await;
            }
            answers
        }
        End::Over => true,
        End::Idle(_) | End::Unanswered => false,
    };
    if lingers || (!io.activity.will_client_close() && io.idle.stream.has_unread()) {
        let (idle, registration) = lingering_close::begin(io).await;
        return Served::LingeringClose(idle, registration);
    }
    // The connection stops counting as open when its socket is closed, not before.
    drop(io);
    Served::Closed
}

/// The status with which hyper has answered a request that it could not understand.
fn status_of(error: &hyper::Error) -> Option<StatusCode> {
    if !error.is_parse() || error.is_parse_version_h2() {
        None
    } else if !error.is_parse_too_large() {
        Some(StatusCode::BAD_REQUEST)
    } else if error.to_string() == "URI too long" {
        Some(StatusCode::URI_TOO_LONG)
    } else {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    }
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
