//! A plain hyper service, without a framework: the shortest way from the socket to your code.
//!
//! `cargo run --example hyper_only`, then `curl localhost:8080`. It needs none of the library's features, and
//! no dependency but hyper, http-body-util and lockstepd.

use std::convert::Infallible;
use std::process::ExitCode;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use lockstepd::{Body, Daemon, Peer, Server};

fn main() -> ExitCode {
    // Whoever does without the peer saves each request an allocation.
    let public = Server::hyper("public", "127.0.0.1:8080", service_fn(greet)).tell_peer(true);
    Daemon::new("hyper_only").add_server(public).run()
}

async fn greet(request: Request<Body>) -> Result<Response<Full<Bytes>>, Infallible> {
    let greeting = match request.extensions().get::<Peer>() {
        Some(peer) => format!("Hello, {peer}\n"),
        None => "Hello\n".to_owned(),
    };
    Ok(Response::new(Full::new(Bytes::from(greeting))))
}
