//! Tunnels of a server: how they begin, are held, and end.

use std::convert::Infallible;
use std::future::Ready;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Mutex;

use http::{Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::service::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::*;
use crate::connections::drain::{Drain, Unfinished};
use crate::connections::limits::Limits;
use crate::connections::parked::Idle;
use crate::handover::carrier::{Carrier, CarrierContents};
use crate::handover::drain_history::DrainHistory;
use crate::http::access::AccessLog;
use crate::http::body::Body;
use crate::http::connection::{HttpSettings, Shared};
use crate::http::server::{Serve, ServerOf};
use crate::http::tunnel::BecomesTunnel;
use crate::lifecycle::shutdown::Shutdown;
use crate::sockets::own_stream::OwnStream;
use crate::sockets::peer::Peer;

/// Longer than a test may take.
const ENDLESS: Duration = Duration::from_secs(3600);

const PATIENCE: Duration = Duration::from_secs(60);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

/// Makes a tunnel of its first request's connection, once it is allowed to begin.
#[derive(Debug)]
struct Joins {
    upstream: Mutex<Option<Stream>>,
    allowed: Arc<Notify>,
    metrics: Arc<ProxyMetrics>,
}

struct Served {
    server: Arc<dyn Serve>,
    application: UnixStream,
    allowed: Arc<Notify>,
    metrics: Arc<ProxyMetrics>,
}

impl Service<Request<Body>> for Joins {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Body>) -> Self::Future {
        let client = hyper::upgrade::on(&mut request);
        let upstream = self.upstream.lock().unwrap().take().unwrap();
        let (allowed, metrics) = (Arc::clone(&self.allowed), Arc::clone(&self.metrics));
        tokio::spawn(async move {
            allowed.notified().await;
            open(client, upstream, Bytes::from_static(b"hello "), &metrics);
        });
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
        response.extensions_mut().insert(BecomesTunnel);
        std::future::ready(Ok(response))
    }
}

// === impl Served ===

impl Served {
    fn new() -> Self {
        let (application, upstream) = UnixStream::pair().unwrap();
        application.set_nonblocking(true).unwrap();
        let (allowed, metrics) = (Arc::<Notify>::default(), Arc::<ProxyMetrics>::default());
        let upstream = Mutex::new(Some(Stream::adopt(upstream.into()).unwrap()));
        let shared = Shared {
            service: Joins {
                upstream,
                allowed: Arc::clone(&allowed),
                metrics: Arc::clone(&metrics),
            },
            tell_peer: false,
            recalls: false,
            on_connect: None,
            title_case: false,
            probe: None,
            idle_timeout_max: ENDLESS,
            #[cfg(feature = "tls")]
            tls: None,
            http_settings: Arc::new(HttpSettings::new(AccessLog::Off, Limits::default())),
        };
        let server = Arc::new(ServerOf::new("public".to_owned(), shared));
        Self { server, application, allowed, metrics }
    }

    fn registry(&self) -> &Arc<Registry> {
        self.server.registry()
    }

    fn drain(&self) -> Drain {
        let servers = vec![Arc::clone(self.registry())];
        Drain::new(servers, None, ENDLESS, ENDLESS, Shutdown::default())
    }

    /// A client that has sent the request, and this behind it.
    fn client(&self, behind: &[u8]) -> UnixStream {
        let (mut client, stream) = UnixStream::pair().unwrap();
        client.write_all(&[REQUEST, behind].concat()).unwrap();
        client.set_nonblocking(true).unwrap();
        self.server.open(Idle::fresh(Stream::connected(stream.into()).unwrap()));
        client
    }

    /// A client without a socket.
    async fn own_client(&self) -> DuplexStream {
        let (mut client, stream) = duplex(4096);
        client.write_all(REQUEST).await.unwrap();
        self.server.open(Idle::fresh(Stream::own(OwnStream::new(stream), Peer::Other)));
        client
    }
}

/// Reads until `end` has come, or the connection has ended.
async fn read_until(mut socket: &UnixStream, end: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while end.is_empty() || !all.ends_with(end) {
        let mut bytes = [0; 256];
        match socket.read(&mut bytes) {
            Ok(0) => return all,
            Ok(length) => all.extend(&bytes[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => yield_now().await,
            Err(error) => panic!("{error} after {}", all.escape_ascii()),
        }
    }
    all
}

#[tokio::test]
async fn a_tunnel_goes_to_the_next_process_with_what_was_read_and_counts_as_a_connection() {
    let served = Served::new();
    served.allowed.notify_one();
    let client = served.client(b"first ");
    read_until(&client, b"\r\n\r\nhello ").await;
    assert_eq!(read_until(&served.application, b"first ").await, b"first ");
    let registry = served.registry();
    assert!(registry.is_active() && registry.connections() == 1);
    assert_eq!((registry.metrics.in_flight(), served.metrics.tunnels()), (0, 1));

    let drain = served.drain();
    assert_eq!(timeout(PATIENCE, drain.hold()).await.unwrap(), Unfinished::default());
    (&client).write_all(b"second").unwrap();
    let (mut carrier, read_end) = Carrier::new().unwrap();
    carrier.load([registry], false, Instant::now()).await;
    carrier.finish(DrainHistory::default()).unwrap();
    registry.set_handed_over();
    assert_eq!(registry.connections(), 0);

    let (mut contents, error) = CarrierContents::take(&read_end, &|_| 0);
    assert!(error.is_none() && contents.tunnels.len() == 1, "{error:?}");
    let next = Arc::new(Registry::new("public".to_owned()));
    let proxy = Proxy::to(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    resume(contents.tunnels.remove(0).1, &next, Some(&proxy));
    assert_eq!(proxy.state().metrics.tunnels(), 1);
    assert!(next.is_active() && next.connections() == 1);
    assert_eq!(read_until(&served.application, b"second").await, b"second");
    drop(client);
    assert_eq!(read_until(&served.application, b"").await, b"");
    drop(served.application);
    timeout(PATIENCE, next.quiet()).await.unwrap();
    assert!(!next.is_active());
    while proxy.state().metrics.tunnels() > 0 {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_hand_over_waits_for_a_tunnel_that_has_been_agreed_on_and_not_begun() {
    let served = Served::new();
    let client = served.client(b"first");
    read_until(&client, b"\r\n\r\n").await;
    served.registry().hold();
    let mut held = pin!(served.registry().held());
    for _ in 0..100 {
        let polled = poll_fn(|cx| Poll::Ready(held.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
        yield_now().await;
    }
    served.allowed.notify_one();
    timeout(PATIENCE, held).await.unwrap();
    served.registry().with_unsent_tunnels(|tunnels| {
        let unsent: Vec<_> = tunnels.map(|(tunnel, _)| tunnel.to_upstream.unsent.clone()).collect();
        assert_eq!(unsent, [&b"first"[..]]);
    });
    served.registry().release();
    assert_eq!(read_until(&served.application, b"first").await, b"first");
}

#[tokio::test]
async fn a_stop_without_a_next_process_does_not_wait_for_tunnels_and_closes_both_ends() {
    let served = Served::new();
    served.allowed.notify_one();
    let client = served.client(b"first");
    read_until(&client, b"hello ").await;
    let drain = served.drain();
    assert_eq!(timeout(PATIENCE, drain.end()).await.unwrap(), Unfinished::default());
    assert_eq!(read_until(&served.application, b"").await, b"first");
    assert_eq!(read_until(&client, b"").await, b"");
    assert_eq!(served.registry().connections(), 0);
}

#[tokio::test]
async fn a_tunnel_goes_on_while_another_connection_lingers() {
    let served = Served::new();
    served.allowed.notify_one();
    let client = served.client(b"first");
    read_until(&client, b"hello ").await;
    let (lingers, stream) = UnixStream::pair().unwrap();
    (&lingers).write_all(b"GET / ").unwrap();
    served.server.open(Idle::fresh(Stream::connected(stream.into()).unwrap()));
    let drain = served.drain();
    let end = tokio::spawn(async move { drain.end().await });
    while served.registry().join_acceptor().handle().mode() != Mode::Linger {
        yield_now().await;
    }
    (&client).write_all(b"second").unwrap();
    assert_eq!(read_until(&served.application, b"second").await, b"firstsecond");
    drop(lingers);
    timeout(PATIENCE, end).await.unwrap().unwrap();
    assert_eq!(read_until(&client, b"").await, b"");
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_whose_client_is_a_stream_of_the_programs_own_ends_when_all_else_is_held() {
    let served = Served::new();
    // What has accepted it.
    let _acceptor = served.registry().join_own_acceptor();
    served.allowed.notify_one();
    let mut client = served.own_client().await;
    let mut all = vec![0; 256];
    let mut length = 0;
    while !all[..length].ends_with(b"hello ") {
        length += client.read(&mut all[length..]).await.unwrap();
    }
    assert!(served.registry().is_active());
    assert_eq!(served.drain().hold().await, Unfinished::default());
    assert_eq!(client.read(&mut all).await.unwrap(), 0);
    assert_eq!(read_until(&served.application, b"").await, b"");
}
