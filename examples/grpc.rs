//! gRPC with tonic: a call with one answer, a conversation that ends with the drain, and the standard health service.
//!
//! `cargo run --example grpc`, and then with any client of gRPC `greeter.Greeter/Greet` and `greeter.Greeter/Talk` on
//! `localhost:8080`, without TLS. The messages are those of
//!
//! ```proto
//! message Name { string name = 1; }
//! message Greeting { string text = 1; }
//! service Greeter { rpc Greet(Name) returns (Greeting); rpc Talk(stream Name) returns (stream Greeting); }
//! ```
//!
//! Written by hand here, so that nothing has to be installed; what `tonic-prost-build` makes of such a file is a
//! service as well, which `axum::Router::route_service` or `Daemon::server` takes.
//!
//! At a stop, a restart and an upgrade in place each client's connection is told by GOAWAY; calls in flight are
//! answered, and the client's next is made over a new connection, to the next process. A conversation would hold that up for as
//! long as it lasts, so it ends with UNAVAILABLE, upon which clients of gRPC call again.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::process::ExitCode;

use axum::{Router, extract::Request, response::IntoResponse, routing::post};
use futures_util::{Stream, StreamExt, stream};
use lockstepd::{BoxError, Daemon, Shutdown};
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct Name {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Greeting {
    #[prost(string, tag = "1")]
    text: String,
}

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let daemon = Daemon::new("greeter");
    let greeter = Greeter(daemon.shutdown());
    let talker = greeter.clone();
    let (reporter, health) = tonic_health::server::health_reporter();
    let router = Router::new()
        .route("/greeter.Greeter/Greet", post(|request| greeter.greet(request)))
        .route("/greeter.Greeter/Talk", post(|request| talker.talk(request)))
        .route_service("/grpc.health.v1.Health/{call}", health);
    daemon
        .server("public", address, router)
        .task("health", |shutdown| report(reporter, shutdown))
        .run()
}

/// Tells balancers that the server ends as soon as that is known, so before a lame duck time, and ends `Watch` with the
/// drain: whoever watches asks the next process.
async fn report(mut reporter: HealthReporter, shutdown: Shutdown) -> Result<(), BoxError> {
    tokio::select! {
        () = shutdown.triggered() => {}
        () = shutdown.draining() => {}
    }
    // At an upgrade in place nothing has triggered: the next process serves.
    let is_ending = shutdown.is_triggered();
    let status = if is_ending { ServingStatus::NotServing } else { ServingStatus::Serving };
    if is_ending {
        reporter.set_service_status("", status).await;
    }
    shutdown.draining().await;
    reporter.clear_service_status("").await;
    reporter.set_service_status("", status).await;
    shutdown.triggered().await;
    Ok(())
}

#[derive(Clone)]
struct Greeter(Shutdown);

impl Greeter {
    async fn greet(self, request: Request) -> impl IntoResponse {
        let answer = Grpc::new(ProstCodec::default()).unary(self, request).await;
        answer.map(axum::body::Body::new)
    }

    async fn talk(self, request: Request) -> impl IntoResponse {
        let answer = Grpc::new(ProstCodec::default()).streaming(self, request).await;
        answer.map(axum::body::Body::new)
    }
}

fn greeting(name: &Name) -> Greeting {
    Greeting { text: format!("Hello, {}", name.name) }
}

impl UnaryService<Name> for Greeter {
    type Response = Greeting;
    type Future = Ready<Result<tonic::Response<Greeting>, Status>>;

    fn call(&mut self, request: tonic::Request<Name>) -> Self::Future {
        ready(Ok(tonic::Response::new(greeting(request.get_ref()))))
    }
}

impl StreamingService<Name> for Greeter {
    type Response = Greeting;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Greeting, Status>> + Send>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Name>>) -> Self::Future {
        let talk = (request.into_inner(), Box::pin(self.0.draining()));
        let greetings = stream::unfold(Some(talk), async |talk| {
            let (mut names, mut draining) = talk?;
            tokio::select! {
                name = names.next() => match name? {
                    Ok(name) => Some((Ok(greeting(&name)), Some((names, draining)))),
                    Err(status) => Some((Err(status), None)),
                },
                () = &mut draining => {
                    Some((Err(Status::unavailable("the server restarts: call again")), None))
                }
            }
        });
        ready(Ok(tonic::Response::new(Box::pin(greetings))))
    }
}
