//! An application behind the proxy that speaks HTTP/2 with prior knowledge, and nothing else.
//!
//! ```text
//! application_http2 unix:PATH|IP:PORT EXECUTED [--refuse N]
//! ```
//!
//! Like `application` it says `listening on ADDRESS`, and `gone PATH ID` when a client has left; what it executes is
//! appended to the file `EXECUTED`, before the answer. `SIGTERM` lets streams in flight finish, and tells clients which
//! were not begun. The first N requests are refused, with `REFUSED_STREAM`.
//!
//! | path | |
//! |---|---|
//! | `/fields` | answers with what it has got: the pseudo fields, the others in order, and trailers |
//! | `/echo` | sends each piece back as it comes, and the trailers |
//! | `/early` | answers before the body has come, and waits for that |
//! | `/reset` | executes, and resets the stream |
//! | `/hang` | never answers |
//! | others | `METHOD PATH LENGTH` |

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream, server};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

struct Application {
    executed: File,
    to_refuse: AtomicU64,
    connections: AtomicU64,
}

/// Says so when the client has left, by a reset or with its connection.
struct Left(String);

impl Drop for Left {
    fn drop(&mut self) {
        println!("{}", self.0);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next();
    let (address, executed) = (next().expect("an address"), next().expect("a file"));
    let refuse = match next().as_deref() {
        Some("--refuse") => next().and_then(|number| number.parse().ok()).expect("a number"),
        Some(other) => panic!("no option is called {other}"),
        None => 0,
    };
    let application = Arc::new(Application {
        executed: File::options().append(true).create(true).open(executed)?,
        to_refuse: AtomicU64::new(refuse),
        connections: AtomicU64::new(0),
    });
    let mut term = signal(SignalKind::terminate())?;
    let (stops, stop) = watch::channel(false);
    let accepting = accept(application, &address, stop);
    tokio::select! {
        error = accepting => return error,
        _ = term.recv() => {}
    }
    stops.send_replace(true);
    // Until no connection watches any longer.
    stops.closed().await;
    Ok(())
}

async fn accept(
    application: Arc<Application>,
    address: &str,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let begin = |stream| {
        let connection = serve(Arc::clone(&application), stream, stop.clone());
        tokio::spawn(async {
            // How it ended is for the client to see.
            let _ = connection.await;
        });
    };
    if let Some(path) = address.strip_prefix("unix:") {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        println!("listening on {address}");
        loop {
            begin(Box::new(listener.accept().await?.0) as Box<dyn Duplex>);
        }
    }
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        begin(Box::new(listener.accept().await?.0) as Box<dyn Duplex>);
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn serve(
    application: Arc<Application>,
    stream: Box<dyn Duplex>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), h2::Error> {
    let number = 1 + application.connections.fetch_add(1, SeqCst);
    let mut connection = server::handshake(stream).await?;
    let mut answers = FuturesUnordered::new();
    let mut is_stopping = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond) = accepted?;
                answers.push(answer(Arc::clone(&application), number, request, respond));
            }
            Some(_) = answers.next() => {}
            _ = stop.wait_for(|stop| *stop), if !is_stopping => {
                is_stopping = true;
                connection.graceful_shutdown();
            }
        }
    }
}

async fn answer(
    application: Arc<Application>,
    connection: u64,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let left = |count: u64| count.checked_sub(1);
    if application.to_refuse.fetch_update(SeqCst, SeqCst, left).is_ok() {
        respond.send_reset(Reason::REFUSED_STREAM);
        return Ok(());
    }
    let (head, mut body) = request.into_parts();
    assert_eq!(head.version, Version::HTTP_2);
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let id = query.strip_prefix("id=").unwrap_or("-");
    let mut response = Response::new(());
    response.headers_mut().insert("x-connection", HeaderValue::from(connection));
    if path == "/echo" {
        application.execute(&head.method, path, id, 0);
        return echo(body, respond.send_response(response, false)?).await;
    }
    if path == "/early" {
        respond.send_response(response, false)?.send_data(Bytes::from_static(b"early\n"), true)?;
        // Dropped, it would be reset.
        while body.data().await.transpose()?.is_some() {}
        return Ok(());
    }
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    application.execute(&head.method, path, id, length);
    let text = match path {
        "/reset" => {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        "/hang" => {
            let _left = Left(format!("gone {path} {id}"));
            poll_fn(|cx| respond.poll_reset(cx)).await?;
            return Ok(());
        }
        "/fields" => fields(&head, &body.trailers().await?.unwrap_or_default()),
        _ => format!("{} {path} {length}\n", head.method),
    };
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    respond.send_response(response, false)?.send_data(text.into(), true)
}

async fn echo(mut body: RecvStream, mut answer: SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        answer.send_data(data, false)?;
    }
    answer.send_trailers(body.trailers().await?.unwrap_or_else(HeaderMap::new))
}

fn fields(head: &http::request::Parts, trailers: &HeaderMap) -> String {
    let authority = head.uri.authority().map_or("-", |authority| authority.as_str());
    let scheme = head.uri.scheme_str().unwrap_or("-");
    let path = head.uri.path_and_query().map_or("-", |path| path.as_str());
    let mut lines =
        vec![format!(":{} {path}", head.method), format!(":{authority}"), format!(":{scheme}")];
    let value = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let fields = head.headers.iter().chain(trailers);
    lines.extend(fields.map(|(name, of)| format!("{name}: {}", value(of))));
    lines.join("\n")
}

// === impl Application ===

impl Application {
    fn execute(&self, method: &http::Method, path: &str, id: &str, length: usize) {
        let line = format!("{method} {path} {id} {length}\n");
        if (&self.executed).write_all(line.as_bytes()).is_err() {
            process::abort();
        }
    }
}
