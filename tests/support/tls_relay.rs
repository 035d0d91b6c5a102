//! TLS for clients that do not speak it: what the client of a relay says goes to the daemon over TLS, byte for byte.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use s2n_tls::{config::Builder, security::Policy};
use s2n_tls_tokio::{TlsConnector, TlsStream};
use tokio::{
    io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A relay; each of its clients has a connection of its own behind it. It ends with the test.
pub(crate) struct TlsRelay {
    address: SocketAddr,
    /// How many bytes of each client reach the daemon, encrypted ones.
    allowed: watch::Sender<u64>,
    sent: Arc<AtomicU64>,
}

// === impl TlsRelay ===

impl TlsRelay {
    /// To the daemon's `address`, whose certificate this authority has signed.
    pub(crate) fn to(address: &str, authority: &Path) -> Self {
        Self::speaking(&[], address, authority)
    }

    /// The same for clients that speak one of these protocols, which the daemon is told (ALPN).
    pub(crate) fn speaking(protocols: &[&str], address: &str, authority: &Path) -> Self {
        let target: SocketAddr = address.parse().expect("an address with TLS");
        let mut config = Builder::new();
        let pem = std::fs::read(authority).expect("the certificate is there");
        let policy = Policy::from_version("20251014").expect("s2n has it");
        config.set_security_policy(&policy).expect("s2n has it");
        config.trust_pem(&pem).expect("it is a certificate");
        config.set_application_protocol_preference(protocols).expect("they are names");
        let connector = TlsConnector::new(config.build().expect("it is whole"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        listener.set_nonblocking(true).expect("it can be");
        let relay_address = listener.local_addr().expect("it is bound");
        let (allowed, gate) = watch::channel(u64::MAX);
        let sent = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&sent);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be had").block_on(async {
                let listener = TcpListener::from_std(listener).expect("it is a listener");
                while let Ok((client, _)) = listener.accept().await {
                    let (connector, gate) = (connector.clone(), gate.clone());
                    let counted = Arc::clone(&counted);
                    tokio::spawn(async move {
                        let gated = gated(target, gate, counted).await;
                        // One that the daemon refuses is closed.
                        if let Ok(server) = connector.connect("localhost", gated).await {
                            relay(client, server).await;
                        }
                    });
                }
            });
        });
        Self { address: relay_address, allowed, sent }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many encrypted bytes have been sent to the daemon.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Lets no more than `bytes` encrypted bytes of each client through.
    pub(crate) fn allow(&self, bytes: u64) {
        self.allowed.send_replace(bytes);
    }
}

/// Passes on both directions, and the end of each.
async fn relay(client: TcpStream, server: TlsStream<io::DuplexStream>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = io::split(server);
    let there = async {
        let _ = io::copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
    };
    let back = async {
        let _ = io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(there, back);
}

/// A connection to the daemon, through which only so many bytes go as `gate` says.
async fn gated(
    target: SocketAddr,
    mut gate: watch::Receiver<u64>,
    counted: Arc<AtomicU64>,
) -> io::DuplexStream {
    let (near, far) = io::duplex(64 << 10);
    let socket = TcpStream::connect(target).await.expect("the daemon listens");
    // What is half sent has to have arrived by half.
    socket.set_nodelay(true).expect("it is a TCP socket");
    let (mut from_daemon, mut to_daemon) = socket.into_split();
    let (mut from_near, mut to_near) = io::split(far);
    tokio::spawn(async move {
        let _ = copy(&mut from_daemon, &mut to_near).await;
        let _ = to_near.shutdown().await;
    });
    tokio::spawn(async move {
        let (mut passed, mut bytes) = (0_u64, vec![0; 16 << 10]);
        while let Ok(length @ 1..) = from_near.read(&mut bytes).await {
            let mut rest = &bytes[..length];
            while !rest.is_empty() {
                let Ok(room) =
                    gate.wait_for(|allowed| *allowed > passed).await.map(|it| *it - passed)
                else {
                    return;
                };
                let now = rest.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                if to_daemon.write_all(&rest[..now]).await.is_err() {
                    return;
                }
                passed += now as u64;
                counted.fetch_add(now as u64, Ordering::SeqCst);
                rest = &rest[now..];
            }
        }
        let _ = to_daemon.shutdown().await;
    });
    near
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<u64> {
    io::copy(from, to).await
}
