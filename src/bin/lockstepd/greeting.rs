//! The public server's service: every path answers the same sentence.

use std::convert::Infallible;
use std::future::{Ready, ready};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::Service;
use lockstepd::Body;

const SENTENCE: &[u8] = b"Hello, Serve is running...\n";
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Methods that the sentence can answer; CONNECT and TRACE want something else.
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Answers every path with `Hello, Serve is running...`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Greeting;

// === impl Greeting ===

impl Service<Request<Body>> for Greeting {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Body>) -> Self::Future {
        let mut response = Response::new(Full::new(Bytes::from_static(SENTENCE)));
        // The request's header map has room already.
        std::mem::swap(response.headers_mut(), request.headers_mut());
        response.headers_mut().clear();
        response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            *response.body_mut() = Full::default();
            response.headers_mut().insert(header::ALLOW, ALLOW);
        }
        ready(Ok(response))
    }
}
