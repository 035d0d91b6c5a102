//! Clients that never retry, and keep their connections unless told to come and go: each answer they
//! miss counts.

use std::{
    borrow::Cow,
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::wait::PATIENCE;

/// A crowd of clients.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) server: Server,
    pub(crate) clients: usize,
    /// The longest pause between an answer and the next request; zero for full load.
    pub(crate) think: Duration,
    /// What is asked, in turn. `{id}` in it becomes a number that no other request of the crowd has.
    pub(crate) requests: Vec<Vec<u8>>,
    /// After how many answers a client closes its connection and opens another; never, if `None`.
    pub(crate) stay: Option<u32>,
}

/// Where clients connect to.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Ends the crowd, and tells how far it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stop: AtomicBool,
    answers: AtomicU64,
    connections: AtomicU64,
    told_to_close: AtomicU64,
    ids: AtomicU64,
    /// How long each answer took.
    times_us: Mutex<Vec<u32>>,
    failures: Mutex<Vec<String>>,
}

/// What the crowd saw.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) answers: u64,
    pub(crate) connections: u64,
    /// How many connections ended because an answer said so.
    pub(crate) told_to_close: u64,
    pub(crate) median: Duration,
    /// 99 of 100 answers took no longer.
    pub(crate) percentile_99: Duration,
    pub(crate) slowest: Duration,
    pub(crate) failures: Vec<String>,
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// A connection with what was read too far.
struct Connection {
    socket: Box<dyn Socket>,
    unread: Vec<u8>,
    answers: u32,
}

// === impl Load ===

impl Load {
    /// The usual crowd: 32 clients that think up to 20 ms, with GET and POST.
    pub(crate) fn on(server: Server) -> Self {
        let body = "b".repeat(3000);
        let requests = vec![
            b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            format!("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n{body}")
                .into_bytes(),
        ];
        Self { server, clients: 32, think: Duration::from_millis(20), requests, stay: None }
    }

    /// Runs the crowd on this thread until `control` ends it.
    pub(crate) fn run(&self, control: &Control) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be had").block_on(async {
            let mut clients = JoinSet::new();
            for number in 0..self.clients {
                let (load, control) = (self.clone(), control.clone());
                clients.spawn(async move { load.client(number, &control).await });
            }
            clients.join_all().await;
        });
        control.report()
    }

    async fn client(&self, number: usize, control: &Control) {
        let mut random = number as u64 * 7919 + 1;
        let mut connection = None;
        let mut turn = number;
        while !control.inner.stop.load(Ordering::Relaxed) {
            let open = match connection.take() {
                Some(open) => open,
                None => match self.server.connect().await {
                    Ok(open) => {
                        control.inner.connections.fetch_add(1, Ordering::Relaxed);
                        open
                    }
                    Err(error) => {
                        control.fail(format!("client {number}: connect: {error}"));
                        sleep(Duration::from_millis(10)).await;
                        continue;
                    }
                },
            };
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if !self.think.is_zero() {
                // 16 random bits, as a fraction of the longest pause.
                sleep(self.think * (random >> 48) as u32 / (1 << 16)).await;
            }
            let request = &self.requests[turn % self.requests.len()];
            turn += 1;
            connection = self.ask(open, request, number, control).await;
        }
    }

    /// One request and its answer; gives the connection back where it may be kept.
    async fn ask(
        &self,
        mut connection: Connection,
        request: &[u8],
        number: usize,
        control: &Control,
    ) -> Option<Connection> {
        let request = control.numbered(request);
        let begin = Instant::now();
        let exchange = async {
            connection.socket.write_all(&request).await?;
            connection.answer().await
        };
        match timeout(PATIENCE, exchange).await {
            Ok(Ok(keep)) => {
                let took = u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX);
                lock(&control.inner.times_us).push(took);
                control.inner.answers.fetch_add(1, Ordering::Relaxed);
                connection.answers += 1;
                if !keep {
                    control.inner.told_to_close.fetch_add(1, Ordering::Relaxed);
                } else if self.stay.is_none_or(|stay| connection.answers < stay) {
                    return Some(connection);
                }
            }
            Ok(Err(error)) => {
                control.fail(format!("client {number}: {}: {error}", first(&request)));
            }
            Err(_) => control.fail(format!("client {number}: {}: no answer", first(&request))),
        }
        None
    }
}

// === impl Server ===

impl Server {
    async fn connect(&self) -> std::io::Result<Connection> {
        let socket: Box<dyn Socket> = match self {
            Self::Tcp(address) => {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                Box::new(socket)
            }
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        Ok(Connection { socket, unread: Vec::new(), answers: 0 })
    }
}

// === impl Connection ===

impl Connection {
    /// Reads an answer whole; tells whether the connection stays.
    async fn answer(&mut self) -> std::io::Result<bool> {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8_lossy(&self.unread[..head_end]).to_lowercase();
        if !head.starts_with("http/1.1 200 ") {
            return Err(std::io::Error::other(head));
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
            .ok_or_else(|| std::io::Error::other("no Content-Length"))?;
        while self.unread.len() < head_end + length {
            self.read_more().await?;
        }
        self.unread.drain(..head_end + length);
        if !self.unread.is_empty() {
            return Err(std::io::Error::other("more came than was asked for"));
        }
        Ok(!head.contains("\r\nconnection: close\r\n"))
    }

    async fn read_more(&mut self) -> std::io::Result<()> {
        match self.socket.read_buf(&mut self.unread).await? {
            0 => Err(std::io::Error::other(format!(
                "closed instead of an answer, after {} bytes",
                self.unread.len()
            ))),
            _ => Ok(()),
        }
    }
}

// === impl Control ===

impl Control {
    /// Lets every client finish its request and end.
    pub(crate) fn stop(&self) {
        self.inner.stop.store(true, Ordering::Relaxed);
    }

    /// How many requests have been answered so far.
    pub(crate) fn answers(&self) -> u64 {
        self.inner.answers.load(Ordering::Relaxed)
    }

    /// How many connections have been opened so far.
    pub(crate) fn connections(&self) -> u64 {
        self.inner.connections.load(Ordering::Relaxed)
    }

    /// A request with a number of its own, if it wants one.
    fn numbered<'r>(&self, request: &'r [u8]) -> Cow<'r, [u8]> {
        const PLACE: &[u8] = b"{id}";
        let at = request.windows(PLACE.len()).position(|text| text == PLACE);
        let Some(at) = at else { return Cow::Borrowed(request) };
        let id = self.inner.ids.fetch_add(1, Ordering::Relaxed).to_string();
        Cow::Owned([&request[..at], id.as_bytes(), &request[at + PLACE.len()..]].concat())
    }

    fn fail(&self, failure: String) {
        lock(&self.inner.failures).push(failure);
    }

    pub(crate) fn report(&self) -> Report {
        let Inner { answers, connections, told_to_close, times_us, failures, .. } = &*self.inner;
        let mut times = lock(times_us).clone();
        times.sort_unstable();
        let micros = |time: Option<&u32>| Duration::from_micros(time.copied().unwrap_or(0).into());
        Report {
            answers: answers.load(Ordering::Relaxed),
            connections: connections.load(Ordering::Relaxed),
            told_to_close: told_to_close.load(Ordering::Relaxed),
            median: micros(times.get(times.len() / 2)),
            percentile_99: micros(times.get(times.len() * 99 / 100)),
            slowest: micros(times.last()),
            failures: lock(failures).clone(),
        }
    }
}

/// A request's first line.
fn first(request: &[u8]) -> String {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Report ===

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests answered, {} failed, {} connections opened ({} told to close), slowest {:.1} ms",
            self.answers,
            self.failures.len(),
            self.connections,
            self.told_to_close,
            self.slowest.as_secs_f64() * 1000.0,
        )
    }
}
