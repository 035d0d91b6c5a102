//! Answers of services that say what is not so, or give none.

use std::{
    future::ready,
    io::{Read as _, Write as _},
    net::TcpStream,
    pin::Pin,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::Request as AxumRequest, routing::any};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::service::Service;
use lockstepd::{Body, BoxError, Daemon, Exit};
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    Running,
    support::{Heard, exchange, hear},
};

/// The request behind each of the others.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// A service that does what the path says.
struct Wrong;

/// An error with a cause.
#[derive(Debug, thiserror::Error)]
#[error("no answer was to be had")]
struct Failed(#[source] BoxError);

impl Service<Request<Body>> for Wrong {
    type Response = Response<Full<Bytes>>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failed>> + Send>>;

    fn call(&self, request: Request<Body>) -> Self::Future {
        let response = Response::builder();
        let response = match request.uri().path() {
            "/reads" => return Box::pin(read(request.into_body())),
            "/fails" => return Box::pin(ready(Err(Failed("the disk is full".into())))),
            "/length" => response.header("content-length", "3"),
            "/lengths" => response.header("content-length", "3").header("content-length", "4"),
            "/long" => response.header("content-length", "300"),
            "/both" => {
                response.header("content-length", "5").header("transfer-encoding", "chunked")
            }
            "/none" => response.status(StatusCode::NO_CONTENT).header("content-length", "5"),
            "/early" => response.status(StatusCode::PROCESSING),
            "/version" => response.version(Version::HTTP_3),
            _ => response,
        };
        Box::pin(ready(Ok(response.body(Full::from("hello")).expect("it is a response"))))
    }
}

/// Reads a body, and fails as that does.
async fn read(body: Body) -> Result<Response<Full<Bytes>>, Failed> {
    let body = body.collect().await.map_err(|error| Failed(error.into()))?;
    Ok(Response::new(Full::new(body.to_bytes())))
}

fn start() -> Running {
    Running::start(Daemon::new("test").hyper_server("public", "127.0.0.1:0", Wrong))
}

/// What comes of a request and of another behind it.
fn ask(running: &Running, path: &str) -> Heard {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n{LAST}");
    exchange(&running.address("public"), request.as_bytes(), false)
}

#[test]
fn whatever_a_service_says_of_its_answer_the_next_answer_is_the_next_requests() {
    let running = start();
    for (path, status, body) in [
        ("/length", 200, "hello"),
        ("/lengths", 200, "hello"),
        ("/long", 200, "hello"),
        ("/version", 200, "hello"),
        ("/none", 204, ""),
        ("/early", 500, ""),
        ("/fails", 500, ""),
    ] {
        let heard = ask(&running, path);
        let [first, last] = heard.answers.as_slice() else { panic!("{path}: {}", heard.summary()) };
        assert_eq!((first.status, &*first.text()), (status, body), "{path}");
        assert_eq!(last.text(), "hello", "{path}: {}", heard.summary());
        assert!(heard.rest.is_empty(), "{path}: {}", heard.summary());
    }
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn a_service_that_fails_at_a_body_has_a_client_to_blame() {
    let running = start();
    for (body, status) in [
        ("5\r\nhello\r\n0\r\n\r\n", 200),
        ("5\r\nhello\r\nx\r\n\r\n", 400),
        ("5\r\nhello\r\n0\r\n\n", 400),
        ("5\r\nhelloxx0\r\n\r\n", 400),
    ] {
        // Head and body apart: what is known of the body with the head, the service is not asked.
        let mut client = TcpStream::connect(running.address("public")).unwrap();
        let head = "POST /reads HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue";
        let head = format!("{head}\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        let mut asks = [0; 25];
        client.read_exact(&mut asks).unwrap();
        assert_eq!(&asks, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(body.as_bytes()).unwrap();
        let all = hear(&client);
        assert_eq!(all.statuses(), [status], "{body:?}: {}", all.summary());
    }
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn an_answer_without_content_tells_no_length() {
    let running = start();
    let answer = ask(&running, "/none").answers.remove(0);
    assert_eq!((answer.status, answer.header("content-length")), (204, None));
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn an_answer_with_a_coding_tells_no_length() {
    let running = start();
    let request = "GET /both HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let heard = exchange(&running.address("public"), request.as_bytes(), false);
    let answer = &heard.answers[0];
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    assert_eq!(answer.header("content-length"), None);
    assert_eq!(heard.rest, b"5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

/// The hosts that an application sees, and the bodies' lengths.
fn hosts() -> (Router, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&seen);
    let handler = move |request: AxumRequest| async move {
        let fields = request.headers();
        let of = |name| {
            let values = fields.get_all(name).iter().map(|value| value.to_str().unwrap());
            values.collect::<Vec<_>>().join("+")
        };
        told.lock().unwrap().push(format!("{} {}", of("host"), of("content-length")));
    };
    (Router::new().fallback(any(handler)), seen)
}

#[test]
fn the_host_of_a_target_takes_the_place_of_the_field() {
    let (router, seen) = hosts();
    let running = Running::start(Daemon::new("test").server("public", "127.0.0.1:0", router));
    for (head, expected) in [
        ("GET http://good/abs HTTP/1.1\r\nHost: evil", "good "),
        ("GET http://good:81/abs HTTP/1.1\r\nHost: good", "good:81 "),
        ("GET HTTPS://[::1]/ HTTP/1.1\r\nHost:", "[::1] "),
        ("GET http://good/ HTTP/1.0\r\nX: y", "good "),
        ("GET /abs HTTP/1.1\r\nHost: good", "good "),
    ] {
        let request = format!("{head}\r\nConnection: close\r\n\r\n");
        let heard = exchange(&running.address("public"), request.as_bytes(), false);
        assert_eq!(heard.statuses(), [200], "{head}");
        assert_eq!(seen.lock().unwrap().pop().as_deref(), Some(expected), "{head}");
    }
    for target in ["://h/", "1http://h/", "+x://h/", "http://evil@h/", "http:///"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let heard = exchange(&running.address("public"), request.as_bytes(), false);
        assert_eq!(heard.statuses(), [400], "{target}");
    }
    assert_eq!(*seen.lock().unwrap(), [""; 0]);
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn a_length_beside_a_coding_is_seen_by_nobody_and_nothing_follows_it() {
    let (router, seen) = hosts();
    let running = Running::start(Daemon::new("test").server("public", "127.0.0.1:0", router));
    let (length, coding) = ("Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n");
    for fields in [[length, coding], [coding, length]] {
        let fields = fields.concat();
        let body = "5\r\nhello\r\n0\r\n\r\n";
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}{LAST}");
        let heard = exchange(&running.address("public"), request.as_bytes(), false);
        assert_eq!(heard.statuses(), [200], "{fields:?}");
        assert!(heard.answers[0].closes(), "{fields:?}");
        assert_eq!(seen.lock().unwrap().drain(..).collect::<Vec<_>>(), ["x "], "{fields:?}");
    }
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn a_body_with_two_lengths_is_followed_by_nothing_also_when_it_comes_after_its_answer() {
    let router = Router::new().fallback(any(|| async { "Hello\n" }));
    let running = Running::start(Daemon::new("test").server("public", "127.0.0.1:0", router));
    for length in [29, 2_000_000] {
        let mut client = TcpStream::connect(running.address("public")).unwrap();
        let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked";
        client.write_all(format!("{head}\r\n\r\n").as_bytes()).unwrap();
        let mut first = [0; 12];
        client.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        // The server may read it or not.
        let body = format!("{length:x}\r\n{}\r\n0\r\n\r\n{LAST}", "x".repeat(length));
        let _ = client.write_all(body.as_bytes());
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.contains("\r\nconnection: close\r\n"), "{rest}");
        assert!(rest.ends_with("\r\n\r\nHello\n") && !rest.contains("HTTP/1.1"), "{rest}");
    }
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

/// What is logged on one thread.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_error_of_a_service_is_logged_with_its_cause() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let daemon = Daemon::new("test").hyper_server("public", "127.0.0.1:0", Wrong);
    let monitor = daemon.monitor();
    let asked = async {
        monitor.ready().await;
        let address = monitor.addresses("public")[0].to_string();
        let request = format!("GET /fails HTTP/1.1\r\nHost: x\r\n\r\n{LAST}");
        let heard =
            tokio::task::spawn_blocking(move || exchange(&address, request.as_bytes(), false));
        assert_eq!(heard.await.unwrap().statuses(), [500, 200]);
        lockstepd::Cause::Terminate
    };
    assert_eq!(daemon.run_until(asked).await.unwrap(), Exit::Clean);
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = lines.lines().find(|line| line.contains("the service failed"));
    let line = line.unwrap_or_else(|| panic!("{lines}"));
    assert!(line.contains("WARN"), "{line}");
    assert!(line.contains("no answer was to be had: the disk is full"), "{line}");
}
