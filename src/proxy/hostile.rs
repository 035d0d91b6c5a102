//! Applications that break the rules, or leave in the middle, exact on the wire.

#[cfg(feature = "http2")]
mod http2;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::iter;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::service::Service;
use tokio::task::consume_budget;
use tokio::time::timeout;

use crate::proxy::answer::AnswerBody;
use crate::proxy::service::Proxy;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The proxy of an application that does `serve` on each of its connections.
struct Case {
    proxy: Proxy,
    /// What `serve` tells.
    told: Receiver<String>,
    _directory: tempfile::TempDir,
}

impl Case {
    fn new(serve: impl Fn(UnixStream, &Sender<String>) -> io::Result<()> + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (tell, told) = channel();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // What goes wrong with a connection, the client finds out.
                let _ = serve(stream, &tell);
            }
        });
        Self { proxy: Proxy::to(&*path), told, _directory: directory }
    }

    async fn ask<B>(&self, request: Request<B>) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let answer = Service::call(&self.proxy, request);
        timeout(Duration::from_secs(60), answer).await.expect("an answer").unwrap()
    }
}

fn request(method: Method) -> Request<Empty<Bytes>> {
    let request = Request::builder().method(method).uri("/").header("host", "x");
    request.body(Empty::new()).unwrap()
}

fn read_head(stream: &mut UnixStream) -> io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head).unwrap())
}

/// Answers every request with the same bytes.
fn always(answer: &'static [u8]) -> Case {
    Case::new(move |mut stream, tell| {
        loop {
            let _ = tell.send(read_head(&mut stream)?);
            stream.write_all(answer)?;
        }
    })
}

async fn text(answer: Response<AnswerBody>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn what_came_unasked_on_a_kept_connection_is_nobodys_answer() {
    let (go, may_go) = channel();
    let case = Case::new(move |mut stream, tell| {
        read_head(&mut stream)?;
        stream.write_all(OK)?;
        may_go.recv().map_err(io::Error::other)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale")?;
        let _ = tell.send(String::new());
        stream.read(&mut [0]).map(drop)
    });
    for method in [Method::GET, Method::POST, Method::POST] {
        assert_eq!(text(case.ask(request(method)).await).await, "ok");
        // The runtime does not look meanwhile: this blocks its only thread.
        go.send(()).unwrap();
        case.told.recv().unwrap();
    }
}

#[tokio::test]
async fn a_request_is_sent_again_as_it_was() {
    let (mut heads, told) = (0, AtomicUsize::new(0));
    let case = Case::new(move |mut stream, tell| {
        let _ = tell.send(read_head(&mut stream)?);
        // A connection ends when it has read a request, or answered one.
        match told.fetch_add(1, Ordering::Relaxed) {
            0 | 1 | 3 => Ok(()),
            _ => stream.write_all(OK),
        }
    });
    for path in ["/first?a=b:c", "/second"] {
        let request = Request::get(path)
            .header("host", "x:80")
            .header("accept", "a")
            .header("accept", "b: c")
            .header("empty", "")
            .header("name", "\u{e9}");
        let answer = case.ask(request.body(Empty::<Bytes>::new()).unwrap()).await;
        assert_eq!(text(answer).await, "ok");
        let sent: Vec<_> = case.told.try_iter().collect();
        heads += sent.len();
        assert!(sent[0].starts_with(&format!("GET {path} HTTP/1.1\r\nhost: x:80\r\n")));
        assert!(sent[0].contains("accept: b: c\r\n") && sent[0].contains("name: \u{e9}\r\n"));
        assert!(sent.iter().all(|head| *head == sent[0]), "{sent:?}");
    }
    assert_eq!(heads, 5);
}

/// A body of two pieces: at the second the application is told to answer and to leave, and has done so.
struct Pieces {
    go: Sender<()>,
    left: Receiver<String>,
    polls: u32,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls += 1;
        match self.polls {
            // What there is so far is sent.
            2 => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            3 => {
                self.go.send(()).unwrap();
                self.left.recv().unwrap();
            }
            _ => {}
        }
        Poll::Ready((self.polls <= 3).then(|| Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

#[tokio::test]
async fn an_answer_counts_though_the_application_takes_no_more_of_the_body() {
    let (go, may_go) = channel();
    let mut case = Case::new(move |mut stream, tell| {
        read_head(&mut stream)?;
        may_go.recv().map_err(io::Error::other)?;
        stream
            .write_all(b"HTTP/1.1 413 Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")?;
        drop(stream);
        let _ = tell.send(String::new());
        Ok(())
    });
    let left = std::mem::replace(&mut case.told, channel().1);
    let request = request(Method::POST).map(|_| Pieces { go, left, polls: 0 });
    let answer = case.ask(request).await;
    assert_eq!((answer.status().as_u16(), &*text(answer).await), (413, "no"));
}

#[tokio::test]
async fn the_length_beside_a_coding_is_not_passed_on() {
    let case = always(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n",
    );
    let answer = case.ask(request(Method::GET)).await;
    assert!(!answer.headers().contains_key(header::CONTENT_LENGTH));
    assert_eq!(text(answer).await, "abcdef");
}

#[tokio::test]
async fn an_answer_in_a_coding_that_was_not_asked_for_is_none() {
    for coding in ["gzip, chunked", "gzip"] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
        let case = always(answer.leak().as_bytes());
        assert_eq!(case.ask(request(Method::GET)).await.status(), 502, "{coding}");
    }
}

#[tokio::test]
async fn a_connection_is_kept_behind_trailers() {
    let case = always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n");
    let mut body = case.ask(request(Method::GET)).await.into_body();
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert!(body.is_end_stream());
    drop(body);
    assert_eq!(case.proxy.state().upstream().kept(), 1);
}

#[tokio::test]
async fn an_answers_trailers_say_nothing_that_only_a_head_may() {
    let case = always(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx_a: 1\r\nConnection: x\r\nTE: x\r\n\
          Transfer-Encoding: x\r\nContent-Length: 7\r\nKeep-Alive: 1\r\nUpgrade: x\r\nSet-Cookie: x\r\n\r\n",
    );
    let mut body = case.ask(request(Method::GET)).await.into_body();
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x_a"]);
}

#[tokio::test]
async fn an_upgrade_of_http_1_0_is_not_offered() {
    let case = always(OK);
    let mut request = request(Method::GET);
    *request.version_mut() = Version::HTTP_10;
    request.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
    request.headers_mut().insert(header::UPGRADE, "websocket".parse().unwrap());
    assert_eq!(text(case.ask(request).await).await, "ok");
    let head = case.told.recv().unwrap();
    assert!(!head.contains("upgrade"), "{head}");
}

#[tokio::test]
async fn trailers_say_nothing_of_where_a_request_comes_from() {
    let case = Case::new(|mut stream, tell| {
        read_head(&mut stream)?;
        // The body and its trailers end as a head does.
        let _ = tell.send(read_head(&mut stream)?);
        stream.write_all(OK)
    });
    let mut trailers = HeaderMap::new();
    for name in ["x-a", "x-forwarded-for", "script_name", "connection", "forwarded"] {
        trailers.insert(name, HeaderValue::from_static("1"));
    }
    let frames = [Frame::data(Bytes::from_static(b"x")), Frame::trailers(trailers)];
    let body = StreamBody::new(iter(frames.map(Ok)));
    let mut request = request(Method::POST).map(|_| body);
    let named = "x-a, x-forwarded-for, script_name, connection, forwarded";
    request.headers_mut().insert(header::TRAILER, HeaderValue::from_static(named));
    assert_eq!(text(case.ask(request).await).await, "ok");
    assert_eq!(case.told.recv().unwrap(), "1\r\nx\r\n0\r\nx-a: 1\r\n\r\n");
}

#[tokio::test]
async fn an_application_that_keeps_its_request_busy_has_no_more_time() {
    let case = Case::new(|mut stream, _| stream.read_to_end(&mut Vec::new()).map(drop));
    let proxy = case.proxy.clone().response_timeout(Duration::from_millis(10));
    let mut answer = Service::call(&proxy, request(Method::GET));
    let busy = poll_fn(|cx| {
        // As bytes without an end do, of interim answers say.
        while pin!(consume_budget()).poll(cx).is_ready() {}
        answer.as_mut().poll(cx)
    });
    let answer = timeout(Duration::from_secs(60), busy).await.expect("an answer").unwrap();
    assert_eq!(answer.status(), 504);
}

#[test]
fn an_answer_may_be_dropped_where_there_is_no_runtime() {
    let case = always(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    drop(runtime.block_on(case.ask(request(Method::GET))));
}
