//! Bodies that handlers do not read, made of requests that nobody has sent: every POST has one answer, and
//! what follows its body is the next request.

use std::{
    fmt::Write as _,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::StatusCode,
    routing::{any, get, post},
};
use http_body_util::BodyExt as _;
use lockstepd::{Daemon, Exit};

use crate::{
    Running,
    support::{Heard, exchange},
};

/// A request that must not be taken out of a body, 29 bytes long.
const INSIDE: &str = "GET /in HTTP/1.1\r\nHost: x\r\n\r\n";

/// The request behind each body; it is the client's last.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// What handlers do with a request.
const CONDUCTS: [&str; 8] =
    ["ignore", "refuse", "close", "late", "keep", "panic", "part", "nowhere"];

/// How many requests have come out of bodies.
type Inside = Arc<AtomicUsize>;

fn router(inside: &Inside) -> Router {
    let inside = Arc::clone(inside);
    let seen = move || async move {
        inside.fetch_add(1, Ordering::Relaxed);
        "inside\n"
    };
    Router::new()
        .route("/in", any(seen))
        .route("/last", get(|| async { "last\n" }))
        .route("/ignore", post(|| async { "ignored\n" }))
        .route("/refuse", post(|| async { (StatusCode::PAYLOAD_TOO_LARGE, "refused\n") }))
        .route("/close", post(|| async { ([("connection", "close")], "refused\n") }))
        .route("/late", post(late))
        .route("/keep", post(keep))
        .route("/panic", post(panic))
        .route("/part", post(part))
}

/// A daemon with these handlers, and the count of what comes out of bodies.
fn start() -> (Running, Inside) {
    let inside = Inside::default();
    let daemon = Daemon::new("test").server("public", "127.0.0.1:0", router(&inside));
    (Running::start(daemon), inside)
}

async fn late() -> &'static str {
    tokio::time::sleep(Duration::from_millis(1)).await;
    "late\n"
}

/// The request lives longer than its answer.
async fn keep(request: Request) -> &'static str {
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(request);
    });
    "kept\n"
}

async fn panic(_: Request) -> &'static str {
    std::panic::resume_unwind(Box::new("as planned"))
}

async fn part(body: Body) -> &'static str {
    // One piece, or none.
    let _ = pin!(body).frame().await;
    "read\n"
}

/// A POST with a body of `length` bytes, and another request behind it.
fn request(path: &str, fields: &str, length: usize, is_chunked: bool) -> Vec<u8> {
    let mut head = format!("POST /{path} HTTP/1.1\r\nHost: x\r\n{fields}");
    let mut body: Vec<_> = INSIDE.bytes().cycle().take(length).collect();
    if is_chunked {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        let chunks = body.chunks(10 * INSIDE.len());
        let chunked =
            |chunk: &[u8]| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        body = chunks.flat_map(chunked).collect();
        body.extend(b"0\r\n\r\n");
    } else {
        let _ = write!(head, "Content-Length: {length}\r\n\r\n");
    }
    [head.as_bytes(), &body, LAST.as_bytes()].concat()
}

/// What is wrong with what came back, if something is: one answer to the POST, and one to what follows,
/// unless the first says that it is the last.
fn fault(heard: &Heard, path: &str) -> Option<String> {
    let first = match path {
        "refuse" => 413,
        "panic" => 500,
        "nowhere" => 404,
        _ => 200,
    };
    let is_sound = match heard.answers.as_slice() {
        [answer] => answer.status == first && answer.closes(),
        [answer, last] => answer.status == first && !answer.closes() && last.body == b"last\n",
        _ => false,
    };
    (!is_sound || !heard.rest.is_empty()).then(|| heard.summary())
}

#[test]
fn a_body_that_nobody_reads_is_no_request_whatever_the_handler_does() {
    let (running, inside) = start();
    let address = running.address("public");
    let mut faults = Vec::new();
    for path in CONDUCTS {
        for fields in ["", "Expect: 100-continue\r\n", "Connection: Upgrade\r\nUpgrade: x\r\n"] {
            for length in [INSIDE.len(), 40_000, 1_100_000, 2_000_000] {
                for is_chunked in [false, true] {
                    let heard =
                        exchange(&address, &request(path, fields, length, is_chunked), false);
                    if let Some(fault) = fault(&heard, path) {
                        let framing = if is_chunked { "chunked" } else { "counted" };
                        faults.push(format!("{path} {fields:?} {length} {framing}: {fault}"));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(inside.load(Ordering::Relaxed), 0, "requests out of bodies");
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn a_short_body_that_nobody_reads_does_not_cost_the_connection() {
    let (running, _) = start();
    for path in ["ignore", "refuse", "late", "keep", "panic", "part", "nowhere"] {
        for is_chunked in [false, true] {
            let request = request(path, "", 40_000, is_chunked);
            let heard = exchange(&running.address("public"), &request, false);
            assert_eq!(heard.answers.len(), 2, "{path} {is_chunked}: {}", heard.summary());
        }
    }
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn an_answer_that_is_the_last_says_so_where_the_body_was_not_asked_for() {
    let (running, _) = start();
    for path in ["ignore", "refuse", "late", "keep", "panic", "nowhere"] {
        let request = request(path, "Expect: 100-continue\r\n", INSIDE.len(), false);
        let heard = exchange(&running.address("public"), &request, false);
        let [answer] = heard.answers.as_slice() else { panic!("{path}: {}", heard.summary()) };
        assert!(answer.closes(), "{path}: {}", answer.head);
    }
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}
