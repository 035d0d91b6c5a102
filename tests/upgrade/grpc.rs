//! The example `grpc`, and a client that calls again where gRPC says that it may.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use http::uri::PathAndQuery;
use rustix::process::Signal;
use tokio::sync::mpsc::Sender;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;

use super::support::{Daemon, Launch, PATIENCE, example, wait_until};

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

/// The example.
struct Program {
    daemon: Daemon,
    /// On a port that stays the same.
    address: String,
    starts: usize,
}

impl Program {
    fn start() -> Self {
        let address = Launch::free_address();
        let daemon = Launch::program(example("grpc")).args([&address]).spawn();
        let mut program = Self { daemon, address: format!("http://{address}"), starts: 0 };
        program.wait_until_it_is_ready();
        program
    }

    fn upgrade(&mut self) {
        self.daemon.signal(Signal::USR2);
        self.wait_until_it_is_ready();
    }

    fn wait_until_it_is_ready(&mut self) {
        self.starts += 1;
        self.daemon.lines_with(self.starts, " ready ");
    }
}

async fn greet(channel: &Channel, name: &str) -> Result<String, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/greeter.Greeter/Greet");
    let request = Request::new(Name { name: name.to_owned() });
    let codec = ProstCodec::<Name, Greeting>::default();
    Ok(client.unary(request, path, codec).await?.into_inner().text)
}

/// Begins a conversation: what is sent into the first is said, and the answers come out of the second.
async fn talk(channel: Channel) -> (Sender<Name>, Streaming<Greeting>) {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let (names, said) = tokio::sync::mpsc::channel::<Name>(1);
    let said = stream::unfold(said, async |mut said| Some((said.recv().await?, said)));
    let path = PathAndQuery::from_static("/greeter.Greeter/Talk");
    let codec = ProstCodec::<Name, Greeting>::default();
    let answers = client.streaming(Request::new(said), path, codec).await.unwrap().into_inner();
    (names, answers)
}

/// Tells whether a client of gRPC may make the call again: the server says so, or has not executed it. Of the latter
/// other clients say UNAVAILABLE themselves.
fn may_be_repeated(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some_and(is_unexecuted)
}

/// Tells whether hyper gave a request back, as its connection was about to end, or the server's GOAWAY was about those
/// before it.
fn is_unexecuted(error: &(dyn Error + 'static)) -> bool {
    // As h2 words GOAWAY with NO_ERROR.
    let is_left_out = error.to_string().ends_with("received: not a result of an error");
    let is_given_back = error.downcast_ref().is_some_and(hyper::Error::is_canceled);
    is_left_out || is_given_back || error.source().is_some_and(is_unexecuted)
}

/// Calls until it is told to stop; answers the statuses that do not let a call be repeated.
async fn call(address: String, stop: &AtomicBool, answers: &AtomicU64) -> Vec<Status> {
    let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
    let mut failures = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match greet(&channel, "you").await {
            Ok(text) => {
                assert_eq!(text, "Hello, you");
                answers.fetch_add(1, Ordering::Relaxed);
            }
            Err(status) if may_be_repeated(&status) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(status) => failures.push(status),
        }
    }
    failures
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn calls_of_grpc_outlive_upgrades_with_a_client_that_calls_again() {
    static STOP: AtomicBool = AtomicBool::new(false);
    static ANSWERS: AtomicU64 = AtomicU64::new(0);
    let mut program = Program::start();
    let runtime = runtime();
    let clients: Vec<_> =
        (0..4).map(|_| runtime.spawn(call(program.address.clone(), &STOP, &ANSWERS))).collect();
    let more = || {
        let before = ANSWERS.load(Ordering::Relaxed);
        wait_until("more answers", PATIENCE, || ANSWERS.load(Ordering::Relaxed) > before + 50);
    };
    for _ in 0..5 {
        more();
        program.upgrade();
    }
    more();
    STOP.store(true, Ordering::Relaxed);
    for client in clients {
        let failures = runtime.block_on(client).unwrap();
        assert!(failures.is_empty(), "{failures:#?}");
    }
}

#[test]
fn calls_of_grpc_go_through_the_proxy_in_http2_and_are_answered_with_their_trailers() {
    let application = Program::start();
    let behind = application.address.strip_prefix("http://").unwrap();
    let options = ["--public-proxy", behind, "--proxy-http2", "true"];
    let mut daemon = Launch::daemon().args(options).start();
    let runtime = runtime();
    let address = format!("http://{}", daemon.public());
    runtime.block_on(async {
        let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
        for _ in 0..3 {
            assert_eq!(greet(&channel, "you").await.unwrap(), "Hello, you");
        }
        let (names, mut answers) = talk(channel).await;
        for name in ["Ann", "Bob"] {
            names.send(Name { name: name.to_owned() }).await.unwrap();
            assert_eq!(answers.next().await.unwrap().unwrap().text, format!("Hello, {name}"));
        }
        // The application ends the conversation, and its status comes behind what it has said.
        application.daemon.signal(Signal::TERM);
        let status = answers.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert_eq!(status.message(), "the server restarts: call again");
    });
    drop(runtime);
    application.daemon.end().assert(0, &[]);
    let text = daemon.stop().text();
    assert!(!text.contains("not answered to its end"), "{text}");
}

#[test]
fn a_call_of_grpc_that_is_answered_is_not_logged_as_cut_off() {
    let program = Program::start();
    let runtime = runtime();
    runtime.block_on(async {
        let channel = Endpoint::from_shared(program.address.clone()).unwrap().connect_lazy();
        for _ in 0..3 {
            assert_eq!(greet(&channel, "you").await.unwrap(), "Hello, you");
        }
    });
    drop(runtime);
    let text = program.daemon.stop().text();
    assert!(!text.contains("not answered to its end"), "{text}");
}

#[test]
fn whoever_watches_the_health_of_a_server_of_grpc_hears_that_it_ends() {
    let mut program = Program::start();
    let runtime = runtime();
    let channel = {
        let _entered = runtime.enter();
        Endpoint::from_shared(program.address.clone()).unwrap().connect_lazy()
    };
    let watch = async || {
        let mut client = HealthClient::new(channel.clone());
        client.watch(HealthCheckRequest::default()).await.unwrap().into_inner()
    };
    let next = |watched: &mut Streaming<HealthCheckResponse>| {
        runtime.block_on(watched.next()).map(|next| next.unwrap().status())
    };
    let mut watched = runtime.block_on(watch());
    assert_eq!(next(&mut watched), Some(ServingStatus::Serving));
    program.upgrade();
    // Its stream ends, and the next process serves.
    assert_eq!(next(&mut watched), None);
    let mut watched = runtime.block_on(watch());
    assert_eq!(next(&mut watched), Some(ServingStatus::Serving));
    program.daemon.signal(Signal::TERM);
    assert_eq!(next(&mut watched), Some(ServingStatus::NotServing));
    assert_eq!(next(&mut watched), None);
    drop(runtime);
    program.daemon.end().assert(0, &[]);
}

#[test]
fn a_conversation_of_grpc_is_told_that_it_may_go_on_elsewhere() {
    let mut program = Program::start();
    let runtime = runtime();
    let channel = {
        let _entered = runtime.enter();
        Endpoint::from_shared(program.address.clone()).unwrap().connect_lazy()
    };
    for _ in 0..3 {
        let (names, mut answers) = runtime.block_on(talk(channel.clone()));
        for name in ["Ann", "Bob"] {
            let next = async {
                names.send(Name { name: name.to_owned() }).await.unwrap();
                answers.next().await.unwrap().unwrap().text
            };
            assert_eq!(runtime.block_on(next), format!("Hello, {name}"));
        }
        program.upgrade();
        let status = runtime.block_on(answers.next()).unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
}
