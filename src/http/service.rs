//! All bounds on a service, under one name.

use http::{Request, Response};
use hyper::service::Service;

use crate::BoxError;
use crate::http::body::Body;

/// A service that a server can run: any of hyper's, with any body.
pub(crate) trait HttpService:
    Service<
        Request<Body>,
        Response = Response<Self::Content>,
        Future: Send + 'static,
        Error: Into<BoxError>,
    > + Send
    + Sync
    + 'static
{
    /// The body of its answers.
    type Content: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Body>, Response = Response<B>> + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Content = B;
}
