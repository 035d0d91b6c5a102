//! A model of what a connection does: generated requests, handlers and changes of mode.
//!
//! What has to hold for all of them ([`Heard`]):
//! 1. The handlers see the requests that were sent, in their order, each once, and nothing else. Bodies
//!    are made of requests, so that a byte of a body that is taken for a request shows at once.
//! 2. Every answer belongs to the request of its place, and comes whole.
//! 3. An answer that says `Connection: close` is the last, and the connection ends behind it.
//! 4. A connection ends unannounced only where a request or a mode gives a reason to.
//!
//! The same sequences are sent to hyper by itself, whose answers have to hold to the same, and of which
//! there may not be more than this server's.

mod client;
mod handlers;
mod sequence;

use std::os::unix::net::UnixStream as StdStream;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::service::Service;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use tokio::io::BufStream;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::client::{Client, Heard};
use self::handlers::{Content, Handlers, Planned};
use self::sequence::{Change, Sequence};
use super::*;
use crate::connections::registry::{Registry, Woken};
use crate::handover::carrier::{Carrier, CarrierContents};
use crate::handover::drain_history::DrainHistory;
use crate::http::framing::{Fault, PLANTED};
use crate::manager::notify::as_received::SPAWNING;
use crate::sockets::own_stream::OwnStream;
use crate::sockets::peer::Peer;
use crate::sockets::stream::Stream;

/// How often a connection's task is polled at most: for each byte that comes, and then some.
const POLLS_MAX: u32 = 100_000;

/// A server for one connection; it may be followed by another, as after a restart.
struct Stage {
    registry: Arc<Registry>,
    handlers: Arc<Handlers>,
    task: JoinHandle<()>,
    /// Of a stream of the program's own, which is not handed over.
    is_own: bool,
}

/// The service, of this server and of hyper's.
#[derive(Debug)]
struct Handling(Arc<Handlers>);

impl<B> Service<Request<B>> for Handling
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<Content>;
    type Error = Planned;
    type Future = handlers::Handling;

    fn call(&self, request: Request<B>) -> Self::Future {
        self.0.call(request)
    }
}

// === impl Stage ===

impl Stage {
    fn begin(idle: Idle, handlers: Arc<Handlers>) -> Self {
        let is_own = idle.stream.socket().is_none();
        let registry = Arc::new(Registry::new("model".to_owned()));
        let shared = Arc::new(Shared {
            service: Handling(Arc::clone(&handlers)),
            tell_peer: false,
            recalls: true,
            on_connect: None,
            title_case: false,
            probe: None,
            #[cfg(feature = "tls")]
            tls: None,
            idle_timeout_max: Duration::MAX,
            http_settings: Arc::new(HttpSettings::new(AccessLog::Off, Limits::default())),
        });
        let registration = registry.join_connection(idle.stream.socket());
        let mut attendant = registry.attend().unwrap().unwrap();
        let life = run(idle, registration, Instant::now(), Arc::clone(&shared));
        // A connection that waits in its task keeps it, and there may be ten thousand of them.
        assert!(size_of_val(&life) <= 528, "{}", size_of_val(&life));
        let task = tokio::spawn(async move {
            counted(life).await;
            while let Some(woken) = attendant.woken().await {
                for Woken { idle, registration, since } in woken {
                    counted(run(idle, registration, since, Arc::clone(&shared))).await;
                }
            }
        });
        Self { registry, handlers, task, is_own }
    }

    async fn change(self, change: Change) -> Self {
        match change {
            Change::Hold(time) | Change::Restart(time) if self.is_own => {
                self.hold(time).await;
                self
            }
            Change::Hold(time) => {
                self.hold(time).await;
                self
            }
            Change::Restart(time) => self.restart(time).await,
            Change::Linger => {
                self.registry.linger();
                self
            }
        }
    }

    async fn hold(&self, time: Duration) {
        self.registry.hold();
        let _ = timeout(time, self.registry.held()).await;
        self.registry.release();
    }

    /// Hands the connection to a next server, if it comes to rest in time.
    async fn restart(self, time: Duration) -> Self {
        self.registry.hold();
        if timeout(time, self.registry.held()).await.is_err() {
            self.registry.release();
            return self;
        }
        let (mut carrier, theirs) = Carrier::new().unwrap();
        let load = carrier.load([&self.registry], false, Instant::now()).await;
        assert!(load.shortage.is_none(), "{load:?}");
        carrier.finish(DrainHistory::default()).unwrap();
        self.task.abort();
        ended(self.task).await;
        let (taken, error) = CarrierContents::take(&theirs, &|_| usize::MAX);
        assert!(error.is_none(), "{error:?}");
        let Some((_, idle)) = taken.connections.into_iter().next() else {
            // It had ended.
            return Self { task: tokio::spawn(async {}), ..self };
        };
        Self::begin(idle, self.handlers)
    }
}

/// A task that makes progress: the clock stands still while any task is awake, and one that wakes itself for
/// nothing would be polled for ever.
async fn counted(task: impl Future<Output = ()>) {
    let mut task = pin!(task);
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        assert!(polls < POLLS_MAX, "the connection's task spins");
        task.as_mut().poll(cx)
    })
    .await;
}

/// What a client that sends `sequence` to this server hears, and what its handlers saw. `is_own`: through a stream of
/// the program's own, which is not handed over.
async fn ours(sequence: &Sequence, is_own: bool) -> Heard {
    let handlers = Arc::new(Handlers::new(&sequence.requests));
    let (theirs, client) = StdStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let stream = if is_own {
        let stream = BufStream::new(UnixStream::from_std(theirs).unwrap());
        Stream::own(OwnStream::new(stream), Peer::Other)
    } else {
        Stream::unix(theirs.into())
    };
    let mut stage = Stage::begin(Idle::fresh(stream), Arc::clone(&handlers));
    let mut client = Client::new(client);
    for (number, (bytes, wait)) in sequence.segments().into_iter().enumerate() {
        for change in sequence.changes_before(number) {
            stage = stage.change(change).await;
        }
        client.send(&bytes, wait).await;
    }
    let heard = client.end(sequence.hangs_up, &handlers).await;
    stage.task.abort();
    ended(stage.task).await;
    heard
}

/// A connection's task may be over, or aborted, but not have panicked.
async fn ended(task: JoinHandle<()>) {
    if let Err(error) = task.await {
        assert!(error.is_cancelled(), "the connection's task has panicked: {error}");
    }
}

/// The same from hyper by itself.
async fn hypers(sequence: &Sequence) -> Heard {
    let handlers = Arc::new(Handlers::new(&sequence.requests));
    let (theirs, client) = StdStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let theirs = UnixStream::from_std(theirs).unwrap();
    let service = Handling(Arc::clone(&handlers));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
    tokio::spawn(connection);
    let mut client = Client::new(client);
    for (bytes, wait) in sequence.segments() {
        client.send(&bytes, wait).await;
    }
    client.end(sequence.hangs_up, &handlers).await
}

/// Runs a sequence to its end, on a clock of its own that no wait is felt on. That clock does not wait for a
/// descriptor that another process has for a moment, either.
fn at_once<T>(run: impl Future<Output = T>) -> T {
    let _alone = SPAWNING.read().unwrap_or_else(PoisonError::into_inner);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(run)
}

/// Runs generated sequences, eight for each case of other tests; the first that does not hold, made small.
fn run_cases() -> Result<(), TestError<Sequence>> {
    let config = Config::default();
    let config = Config { cases: config.cases * 8, failure_persistence: None, ..config };
    let mut runner = TestRunner::new(config);
    runner.run(&Sequence::any(), |sequence| {
        let hypers = at_once(hypers(&sequence));
        hypers
            .check_answers(&sequence)
            .map_err(|why| TestCaseError::fail(format!("hyper: {why}")))?;
        for is_own in [false, true] {
            let ours = at_once(ours(&sequence, is_own));
            let held = ours
                .check_answers(&sequence)
                .and_then(|()| ours.check_end(&sequence))
                .and_then(|()| ours.check_beside(&hypers, &sequence));
            held.map_err(|why| TestCaseError::fail(format!("is_own: {is_own}: {why}")))?;
        }
        Ok(())
    })
}

#[test]
fn handlers_see_the_requests_that_were_sent_and_nothing_else() {
    if let Err(error) = run_cases() {
        panic!("{error}");
    }
}

#[test]
fn bytes_of_a_body_that_are_taken_for_requests_are_found() {
    PLANTED.set(Some(Fault::EndedUnread));
    let error = run_cases().expect_err("the model does not find what it is made for").to_string();
    let is_found = ["was seen in place", "is to another request"].map(|what| error.contains(what));
    assert!(is_found.contains(&true), "{error}");
}

#[test]
fn a_connection_that_is_parked_with_bytes_that_were_read_is_found() {
    PLANTED.set(Some(Fault::ParkedWithUnread));
    run_cases().expect_err("the model does not find what it is made for");
}

#[test]
fn a_recalled_request_that_is_not_put_back_whole_is_found() {
    PLANTED.set(Some(Fault::RecalledInPart));
    let error = run_cases().expect_err("the model does not find what it is made for").to_string();
    assert!(error.contains("Restart") || error.contains("Hold"), "{error}");
}
