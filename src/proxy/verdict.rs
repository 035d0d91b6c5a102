//! What a failed attempt proves, and so whether the request may be sent again.
//!
//! # The rule
//! A request is sent again when its application provably has not read it, whatever its method; or when its method is
//! idempotent, and all of its body is still there. Otherwise the client gets 502.
//!
//! # The proof
//! An application executes a request when it has read its whole head: before the empty line there is no request
//! (RFC 9112 section 2.1). So it is enough to know that the head's last byte was not read.
//!
//! 1. *The head has not been written whole* ([`Wire::is_head_sent`]). Then its last byte was never sent.
//! 2. *The connection is a Unix socket, everything that we have written ends with the head's last byte, and the kernel
//!    says `ECONNRESET`.* On a Unix stream the kernel says so for one reason: the peer's end was closed while bytes
//!    were in its queue, or before anybody had accepted it (`unix_release_sock` in `net/unix/af_unix.c`). The queue is
//!    first in, first out. So the last byte that we have written was not read, and it is the head's last.
//!
//! 3. *The application says so, in HTTP/2:* it resets the stream with `REFUSED_STREAM`, or its GOAWAY names a last
//!    stream before it (RFC 9113 sections 8.7 and 6.8). h2 gives the error of a remote GOAWAY to the streams behind
//!    the last one, and to no other.
//!
//! In HTTP/2 the first does not hold as it stands, since frames of the connection go before the head: there any byte
//! that has been written since the request began counts as the head's last. The second does hold: while nothing has
//! come since the request began, hyper has had nothing to write behind the head.
//!
//! For the second to hold for requests with a body, the head goes first: the body is not read from the client, and
//! not sent, until the application has taken all of the head. On a Unix socket the kernel tells that: `SIOCOUTQ` is
//! (nearly) 0 when the peer's queue is empty, and the socket becomes writable with it, so nothing is polled for. It is
//! 0 as well when the peer has closed and the queue was thrown away; so it counts only while the peer's end is open. The
//! kernel tells a reset once: nobody but the reader may ask for it (`SO_ERROR`, `MSG_PEEK`).
//!
//! # Its limits
//! - On TCP a reset proves nothing: a process that has read everything sends one as well, if it closes with
//!   `SO_LINGER` at 0; and acknowledged bytes were taken by the kernel, not by the application. There only the first
//!   holds, and connections that were refused. So a request whose method is not idempotent never goes over a kept TCP
//!   connection, which the application may be about to close.
//! - Something between us and the application that is a process of its own, such as `docker-proxy` or
//!   `systemd-socket-proxyd`, reads for it: what that has read counts as read.
//! - An application that closes after the head was read and before it has done anything looks like one that has.
//! - An application that acts on less than a whole head, such as a script that reads one line, or on bytes that it has
//!   only peeked at, may be asked twice. No HTTP server that is known of does.
//!
//! # Source
//! RFC 9110 section 9.2.2 (idempotent methods; what a proxy may repeat); unix(7); tcp(7), `SO_LINGER` in socket(7).

#[cfg(feature = "http2")]
use std::error::Error as _;

use crate::proxy::wire::Wire;

/// What the application has seen of a request whose attempt failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// Not its head's last byte: it was not executed.
    NotItsHead,
    /// Perhaps all of it: it may have been executed.
    PerhapsAll,
    /// All of it: an answer had begun.
    All,
}

/// Reads off the connection, and the error with which it ended, what the application has seen.
pub(super) fn seen(wire: &Wire, error: &hyper::Error) -> Seen {
    if !wire.is_begun() || is_refused(error) {
        // What has come then is no answer to it.
        Seen::NotItsHead
    } else if wire.has_answered() {
        Seen::All
    } else if !wire.is_head_sent() || wire.is_head_unread() {
        Seen::NotItsHead
    } else {
        Seen::PerhapsAll
    }
}

/// Tells whether the application has said that it has not executed the request, and will not.
#[cfg(feature = "http2")]
fn is_refused(error: &hyper::Error) -> bool {
    of_http2(error).is_some_and(|error| {
        let is_refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || is_refused)
    })
}

#[cfg(not(feature = "http2"))]
fn is_refused(_: &hyper::Error) -> bool {
    false
}

/// Tells whether what has come is no answer.
pub(super) fn is_malformed(error: &hyper::Error) -> bool {
    #[cfg(feature = "http2")]
    if let Some(error) = of_http2(error) {
        return error.is_library() || error.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED);
    }
    error.is_parse() || error.is_parse_too_large()
}

/// What HTTP/2 has to say of it.
#[cfg(feature = "http2")]
pub(super) fn of_http2(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}
