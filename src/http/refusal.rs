//! Why a request is refused before the service sees it, in an operator's words.

use std::fmt;

use http::uri::Authority;
use http::{HeaderValue, StatusCode};

/// The longest part of a request that a reason shows, in bytes.
const SHOWN_MAX: usize = 64;

/// What is wrong with a request that the service is not called for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no Host")]
    NoHost,
    #[error("more than one Host")]
    Hosts,
    #[error("the Host {} is no host name", Shown(.0.as_bytes()))]
    Host(HeaderValue),
    #[error("the target's host {} is no host name", Shown(.0.as_str().as_bytes()))]
    TargetHost(Authority),
    #[error("the target of CONNECT is no host name and port")]
    ConnectTarget,
    #[cfg(feature = "http2")]
    #[error("CONNECT over HTTP/2")]
    ConnectOfStream,
    #[error("the target is *, which only OPTIONS may ask for")]
    Asterisk,
    #[error("the target is neither a path nor a URL")]
    TargetForm,
    #[error("a transfer coding that is not chunked, or more than one")]
    Codings,
    #[error("what follows the head is not the body that it announces")]
    Framing,
    #[error("more than {0} fields (max_headers)")]
    Fields(usize),
    #[error("a head of more than {0} bytes (max_head_size)")]
    Head(usize),
    #[error("a target of more than 65534 bytes")]
    Target,
    #[error("its head did not come in time (head_timeout)")]
    HeadTimeout,
    #[cfg(feature = "tls")]
    #[error("a request in clear text, where TLS is spoken")]
    ClearText,
    #[error("a handshake of TLS, where clear text is spoken")]
    Secured,
}

/// A part of a request, in quotes, escaped and cut to a length that does no harm to a log.
struct Shown<'a>(&'a [u8]);

// === impl Refusal ===

impl Refusal {
    /// The status that tells the client.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Codings => StatusCode::NOT_IMPLEMENTED,
            #[cfg(feature = "http2")]
            Self::ConnectOfStream => StatusCode::NOT_IMPLEMENTED,
            Self::Fields(_) | Self::Head(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Target => StatusCode::URI_TOO_LONG,
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

// === impl Shown ===

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(SHOWN_MAX)];
        let rest = if shown.len() < self.0.len() { "…" } else { "" };
        write!(f, "\"{}{rest}\"", shown.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(bytes: &[u8]) -> String {
        Refusal::Host(HeaderValue::from_bytes(bytes).unwrap()).to_string()
    }

    #[test]
    fn a_host_is_shown_without_what_could_harm_a_log() {
        assert_eq!(host(b"a b"), r#"the Host "a b" is no host name"#);
        assert_eq!(host(b"a\"\t\xff"), r#"the Host "a\"\t\xff" is no host name"#);
    }

    #[test]
    fn a_long_host_is_cut() {
        let shown = "x".repeat(SHOWN_MAX);
        assert_eq!(host(&[b'x'; 5000]), format!("the Host \"{shown}…\" is no host name"));
        assert_eq!(host(&[b'x'; SHOWN_MAX]), format!("the Host \"{shown}\" is no host name"));
    }
}
