//! Clients that speak TLS. The arguments are the port on this machine, the version of TLS (1.2 or 1.3), and the key
//! exchange: classic (X25519), or hybrid (X25519 with ML-KEM, as browsers have it, where the server has it too).
//!
//! What they do is said line by line on standard input, and each line is answered with one:
//!
//! - `full SECONDS`, `resumed SECONDS`: connections with a handshake, one request and one answer each, for so long; the
//!   answer is how many.
//! - `hold COUNT`: so many connections, each of which has had an answer, that stay.
//! - `ask`: a request on each of those that stay.
//!
//! No certificate is looked at: what clients spend is not what is measured.

use std::{
    error::Error,
    io::{self, BufRead, ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
    StreamOwned,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs::{default_provider, kx_group},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::{TLS12, TLS13},
};

type Trouble = Box<dyn Error + Send + Sync>;

/// How many are connecting at the same time: with servers that have Nagle's algorithm on their sockets a connection
/// waits for 40 ms.
const AT_ONCE: usize = 32;

const BODY: &[u8] = b"Hello, Serve is running...\n";

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9443\r\n\r\n";

const PATIENCE: Duration = Duration::from_secs(60);

/// Whom to connect to, and how.
#[derive(Clone, Copy, Debug)]
struct Target {
    port: u16,
    is_old: bool,
    is_hybrid: bool,
}

/// A connection that has had an answer, or will have one.
struct Client(StreamOwned<ClientConnection, TcpStream>);

/// Anybody is believed to be the server.
#[derive(Debug)]
struct Anybody;

fn main() -> Result<(), Trouble> {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, port, version, exchange] = &arguments[..] else {
        return Err("a port, a version and a key exchange are the arguments".into());
    };
    let target =
        Target { port: port.parse()?, is_old: version == "1.2", is_hybrid: exchange == "hybrid" };
    let mut held = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        let count = match words[..] {
            [kind @ ("full" | "resumed"), seconds] => {
                target.connect_for(Duration::from_secs(seconds.parse()?), kind == "resumed")?
            }
            ["hold", count] => {
                let more = count.parse::<usize>()?.saturating_sub(held.len());
                held.extend(target.answered(more)?);
                held.len()
            }
            ["ask"] => {
                held.iter_mut().try_for_each(Client::ask)?;
                held.len()
            }
            _ => return Err(format!("what is {line}?").into()),
        };
        println!("{count}");
    }
    Ok(())
}

// === impl Target ===

impl Target {
    fn config(self, resumes: bool) -> Result<Arc<ClientConfig>, Trouble> {
        let mut provider = default_provider();
        // OpenSSL's server wants to hear of the certificate's curve with TLS 1.2.
        provider.kx_groups = vec![kx_group::X25519, kx_group::SECP256R1];
        if self.is_hybrid {
            provider.kx_groups.insert(0, kx_group::X25519MLKEM768);
        }
        let version = if self.is_old { &TLS12 } else { &TLS13 };
        let mut config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        config.resumption =
            if resumes { Resumption::in_memory_sessions(16) } else { Resumption::disabled() };
        Ok(config.into())
    }

    fn connect(self, config: &Arc<ClientConfig>) -> Result<Client, Trouble> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let connection = ClientConnection::new(Arc::clone(config), name)?;
        Ok(Client(StreamOwned::new(connection, socket)))
    }

    /// So many connections that have had an answer.
    fn answered(self, count: usize) -> Result<Vec<Client>, Trouble> {
        let config = self.config(false)?;
        let left = AtomicUsize::new(count);
        let connect = || {
            let mut clients = Vec::new();
            let is_left = |left: usize| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_left).is_ok() {
                let mut client = self.connect(&config)?;
                client.ask()?;
                clients.push(client);
            }
            Ok(clients)
        };
        Ok(at_once(connect)?.into_iter().flatten().collect())
    }

    /// Connects for so long, again and again; answers how many connections there were.
    fn connect_for(self, duration: Duration, resumes: bool) -> Result<usize, Trouble> {
        let end = Instant::now() + duration;
        let connect = || {
            // Of its own: a ticket is good for one connection.
            let config = self.config(resumes)?;
            let (mut count, mut resumed) = (0_usize, 0_usize);
            while Instant::now() < end {
                let mut client = self.connect(&config)?;
                client.ask()?;
                count += 1;
                let kind = client.0.conn.handshake_kind();
                resumed += usize::from(kind == Some(HandshakeKind::Resumed));
                client.end();
            }
            if resumes && resumed + 1 < count {
                return Err(format!("only {resumed} of {count} were resumed").into());
            }
            Ok(count)
        };
        Ok(at_once(connect)?.into_iter().sum())
    }
}

/// Does the same in many threads.
fn at_once<T: Send>(work: impl Fn() -> Result<T, Trouble> + Sync) -> Result<Vec<T>, Trouble> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(&work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

// === impl Client ===

impl Client {
    fn ask(&mut self) -> Result<(), Trouble> {
        self.0.write_all(REQUEST)?;
        let mut answer = [0; 4096];
        let mut read = 0;
        while !answer[..read].ends_with(BODY) {
            match self.0.read(&mut answer[read..])? {
                0 => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                length => read += length,
            }
        }
        let is_good = answer.starts_with(b"HTTP/1.1 200 ");
        if is_good { Ok(()) } else { Err(String::from_utf8_lossy(&answer[..read]).into()) }
    }

    fn end(mut self) {
        self.0.conn.send_close_notify();
        // The server may have gone first.
        let _ = self.0.flush();
    }
}

// === impl Anybody ===

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
