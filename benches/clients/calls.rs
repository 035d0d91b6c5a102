//! Clients of tonic: unary calls until standard input ends, and then what became of them, as JSON.

use std::{
    collections::BTreeMap,
    error::Error,
    io::Read,
    iter,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use http::uri::PathAndQuery;
use serde_json::json;
use tokio::{runtime::Runtime, task::JoinSet};
use tonic::{
    Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::CLIENTS;

/// What makes this program the client.
pub(crate) const ARGUMENT: &str = "calls";

#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

static IS_OVER: AtomicBool = AtomicBool::new(false);

/// All clients share a channel, as configured by default, and pause for 10 ms between calls.
pub(crate) fn main(url: &str) -> ExitCode {
    let runtime = Runtime::new().expect("there is a runtime");
    let mut requests = 0;
    let mut slowest = Duration::ZERO;
    let mut failures = BTreeMap::<_, u64>::new();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("it is a URL");
        let channel = endpoint.connect_lazy();
        let mut clients: JoinSet<_> = (0..CLIENTS).map(|_| run(channel.clone())).collect();
        let end = || std::io::stdin().read_to_end(&mut Vec::new());
        tokio::task::spawn_blocking(end).await.expect("it does not panic").ok();
        IS_OVER.store(true, Ordering::Relaxed);
        while let Some(calls) = clients.join_next().await {
            for (took, failure) in calls.expect("it does not panic") {
                requests += 1;
                slowest = slowest.max(took);
                if let Some(failure) = failure {
                    *failures.entry(failure).or_default() += 1;
                }
            }
        }
    });
    let slowest = slowest.as_secs_f64() * 1e3;
    println!("{}", json!({ "requests": requests, "slowest": slowest, "failures": failures }));
    ExitCode::SUCCESS
}

/// Calls until it is over; answers how long each call took, and why it failed.
async fn run(channel: Channel) -> Vec<(Duration, Option<String>)> {
    let mut calls = Vec::new();
    while !IS_OVER.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let failure = greet(&channel).await.err();
        let words = |status: Status| {
            format!("{:?}: {}{}", status.code(), status.message(), causes(&status))
        };
        calls.push((begin.elapsed(), failure.map(words)));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    calls
}

async fn greet(channel: &Channel) -> Result<(), Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/greeter.Greeter/Greet");
    let name = Request::new(Text { text: "you".to_owned() });
    client.unary(name, path, ProstCodec::<Text, Text>::default()).await.map(drop)
}

/// What is behind a status, which itself says little.
fn causes(status: &Status) -> String {
    let causes = iter::successors(status.source(), |error| (*error).source());
    causes.fold(String::new(), |text, cause| format!("{text}: {cause}"))
}
