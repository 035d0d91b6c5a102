//! One service on its listeners.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::BoxError;
use crate::connections::parked::Idle;
use crate::connections::poll_counter::Counted;
use crate::connections::registry::{Registration, Registry, Woken};
use crate::http::accept::{accept, accept_from};
use crate::http::connection::{self, HttpSettings, Shared, end_of};
use crate::http::probe;
use crate::http::service::HttpService;
use crate::sockets::address::Address;
use crate::sockets::listener::Listener;
use crate::sockets::own_listener::OwnListener;
use crate::sockets::stream::Stream;

/// A server whose service's type is no longer known.
pub(crate) trait Serve: Send + Sync {
    /// The server's acceptors and connections.
    fn registry(&self) -> &Arc<Registry>;

    /// The settings of its connections.
    fn http_settings(&self) -> &Arc<HttpSettings>;

    /// Serves a connection in a task of its own.
    fn open(&self, idle: Idle);

    /// Serves a connection of another process, once its client has sent something.
    fn take_over(&self, idle: Idle);

    /// Sends the service a request for `/`, as a client would but without a socket; tells whether it answered.
    fn probe(&self) -> Pin<Box<dyn Future<Output = bool> + Send>>;
}

/// A service and its connections.
#[derive(Debug)]
pub(crate) struct ServerOf<S> {
    registry: Arc<Registry>,
    shared: Arc<Shared<S>>,
}

/// Why a server came to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// A listener is broken.
    #[error("cannot accept on {address}: {source}")]
    Accept {
        /// The listener's address.
        address: Address,
        /// The error of accept(2).
        source: io::Error,
    },
    /// A listener of the program's own is broken.
    #[error("cannot accept from a listener of its own: {0}")]
    AcceptFrom(io::Error),
    /// The failure was requested on the admin server.
    #[error("{0}")]
    Requested(String),
}

/// Makes a server fail on request, so that operators can try what happens then.
#[derive(Clone, Debug)]
pub(crate) struct Failure(
    #[cfg_attr(not(feature = "admin"), expect(dead_code, reason = "the admin server's"))]
    mpsc::Sender<String>,
);

// === impl ServerOf ===

impl<S> ServerOf<S> {
    pub(crate) fn new(name: String, shared: Shared<S>) -> Self {
        Self::with(Arc::new(Registry::new(name)), shared)
    }

    /// A server with a registry that exists already.
    pub(crate) fn with(registry: Arc<Registry>, shared: Shared<S>) -> Self {
        Self { registry, shared: Arc::new(shared) }
    }
}

impl<S> Serve for ServerOf<S>
where
    S: HttpService,
{
    fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    fn http_settings(&self) -> &Arc<HttpSettings> {
        &self.shared.http_settings
    }

    fn open(&self, idle: Idle) {
        self.attend();
        let registration = self.registry.join_connection(idle.stream.socket());
        serve(&self.shared, idle, registration, Instant::now());
    }

    fn take_over(&self, idle: Idle) {
        self.attend();
        let registration = self.registry.join_connection(idle.stream.socket());
        let (now, shared) = (Instant::now(), &self.shared);
        let limits = shared.http_settings.limits();
        let end = end_of(&idle, now, &limits, shared.idle_timeout_max);
        if let Some((idle, registration)) = registration.park(idle, now, end) {
            serve(shared, idle, registration, now);
        }
    }

    fn probe(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let shared = Arc::clone(&self.shared);
        // Its requests are not those of clients: they are counted and logged nowhere.
        let uncounted = Arc::new(Registry::new(self.registry.server().to_owned()));
        Box::pin(probe::probe(shared, uncounted))
    }
}

impl<S> ServerOf<S>
where
    S: HttpService,
{
    /// Sees to it that somebody attends to parked connections.
    fn attend(&self) {
        match self.registry.attend() {
            Ok(None) => {}
            Ok(Some(mut attendant)) => {
                let shared = Arc::clone(&self.shared);
                tokio::spawn(async move {
                    while let Some(woken) = attendant.woken().await {
                        for Woken { idle, registration, since } in woken {
                            serve(&shared, idle, registration, since);
                        }
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "idle connections keep their tasks: none can be watched without");
            }
        }
    }
}

/// Runs a connection in a task of its own.
fn serve<S>(shared: &Arc<Shared<S>>, idle: Idle, registration: Registration, since: Instant)
where
    S: HttpService,
{
    let signal = registration.signal();
    let life = connection::run(idle, registration, since, Arc::clone(shared));
    tokio::spawn(Counted::new(life, signal));
}

impl fmt::Debug for dyn Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Serve").field(&self.registry().server()).finish()
    }
}

/// Accepts on every listener until the server stops.
///
/// The acceptors are registered from the call on, not from the first poll: a stop that comes before that
/// has to wait for them, or the files of Unix sockets would be left.
///
/// # Errors
/// When a listener is broken, or `failures` brings a request to fail. What is open then goes on:
/// the daemon's drain ends it.
pub(crate) fn run(
    server: Arc<dyn Serve>,
    listeners: Vec<Listener>,
    own_listeners: Vec<OwnListener>,
    failures: mpsc::Receiver<String>,
) -> impl Future<Output = Result<(), BoxError>> + Send {
    let join = |listener| (listener, server.registry().join_acceptor());
    let acceptors = listeners.into_iter().map(join).collect();
    let join = |listener| (listener, server.registry().join_own_acceptor());
    let own_acceptors = own_listeners.into_iter().map(join).collect();
    run_acceptors(server, acceptors, own_acceptors, failures)
}

async fn run_acceptors(
    server: Arc<dyn Serve>,
    listeners: Vec<(Listener, Registration)>,
    own_listeners: Vec<(OwnListener, Registration)>,
    mut failures: mpsc::Receiver<String>,
) -> Result<(), BoxError> {
    let mut acceptors = JoinSet::new();
    for (listener, registration) in listeners {
        let server = Arc::clone(&server);
        acceptors.spawn(async move {
            let address = listener.address.clone();
            let serve = |stream: Stream| server.open(Idle::fresh(stream));
            accept(listener, registration, serve)
                .await
                .map_err(|source| ServerError::Accept { address, source })
        });
    }
    for (listener, registration) in own_listeners {
        let server = Arc::clone(&server);
        let signal = registration.signal();
        let accepting = async move {
            let serve = |stream: Stream| server.open(Idle::fresh(stream));
            accept_from(listener, registration, serve).await.map_err(ServerError::AcceptFrom)
        };
        // The program's own code may block.
        acceptors.spawn(Counted::new(accepting, signal));
    }
    let result = loop {
        tokio::select! {
            Some(reason) = failures.recv() => break Err(ServerError::Requested(reason).into()),
            ended = acceptors.join_next() => match ended {
                None => break Ok(()),
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => break Err(error.into()),
                Some(Err(error)) => break Err(Box::<dyn StdError + Send + Sync>::from(error)),
            },
        }
    };
    acceptors.detach_all();
    result
}

// === impl Failure ===

impl Failure {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// Makes the server end with an error; only the first request counts.
    #[cfg(feature = "admin")]
    pub(crate) fn request(&self, reason: String) {
        // Full or closed: it is failing already.
        let _ = self.0.try_send(reason);
    }
}
