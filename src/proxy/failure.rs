//! Why the proxy answers itself, and how.

use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::proxy::answer::AnswerBody;

/// A request that the application has not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection could be had in time.
    #[error("the application could not be reached in time: {0}")]
    Away(String),
    /// As many wait as may.
    #[error("the application is away, and as many requests wait for it as may")]
    Full,
    /// The connection ended, and the request may have been executed.
    #[error("the application closed the connection before it answered")]
    Closed,
    /// What has come is no answer.
    #[error("the application's answer is no HTTP: {0}")]
    Malformed(String),
    /// No answer has come in time.
    #[error("the application did not answer in time")]
    Timeout,
    /// The client's body is broken, or has not come whole.
    #[error("the request's body could not be read")]
    Body,
}

/// When a client may try again, in seconds: most applications are back by then.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Methods that the proxy passes on; CONNECT and TRACE are for the proxy itself.
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

// === impl Failure ===

impl Failure {
    /// Its place in [`FAILURES`](crate::proxy::metrics::FAILURES); the client's own mistake has none.
    pub(super) fn index(&self) -> Option<usize> {
        match self {
            Self::Away(_) => Some(0),
            Self::Full => Some(1),
            Self::Closed => Some(2),
            Self::Malformed(_) => Some(3),
            Self::Timeout => Some(4),
            Self::Body => None,
        }
    }

    /// The answer: what the client can know, and nothing of where the application is.
    pub(super) fn answer(&self) -> Response<AnswerBody> {
        let (status, text) = match self {
            Self::Away(_) | Self::Full => {
                (StatusCode::SERVICE_UNAVAILABLE, "the application is not there; try again later\n")
            }
            Self::Closed => (StatusCode::BAD_GATEWAY, "the application ended without an answer\n"),
            Self::Malformed(_) => {
                (StatusCode::BAD_GATEWAY, "the application gave no proper answer\n")
            }
            Self::Timeout => {
                (StatusCode::GATEWAY_TIMEOUT, "the application did not answer in time\n")
            }
            Self::Body => (StatusCode::BAD_REQUEST, "the request's body could not be read\n"),
        };
        let mut response = Response::new(AnswerBody::text(text));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// The answer to a method that is not passed on, if it is one.
pub(super) fn refused(method: &Method) -> Option<Response<AnswerBody>> {
    matches!(*method, Method::CONNECT | Method::TRACE).then(|| {
        let mut response = Response::new(AnswerBody::empty());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(header::ALLOW, ALLOW);
        response
    })
}
