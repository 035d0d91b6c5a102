//! A model of the promise: no request is executed twice unless its method is idempotent, and none is lost that may be
//! repeated.
//!
//! A real application behind a real socket does, for each request that it gets, the next thing of a generated list:
//! it answers, or closes at some place. Beside it a reference says, from the same list, what the client has to get.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::service::Service;
use proptest::prelude::*;
use rustix::net::{RecvFlags, recv};
use tokio::runtime;
use tokio::time::timeout;

use crate::proxy::request_body::KEPT_MAX;
use crate::proxy::service::Proxy;

/// What the application does with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Act {
    Answer,
    /// Answers, says that this was the last, and closes.
    AnswerLast,
    /// Closes without reading anything.
    CloseUnread,
    /// Closes having read a part of the head.
    CloseInHead,
    /// Closes having read the head.
    CloseBehindHead,
    /// Closes having read everything.
    CloseBehindAll,
    /// Closes in its own head.
    CloseInAnswer,
}

/// A request of the client's.
#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    body: usize,
}

/// What the application has done.
#[derive(Debug, Default)]
struct Done {
    acts: VecDeque<Act>,
    /// How often it has read the whole head of the present request.
    executed: u32,
}

const BODIES: [usize; 3] = [0, 5, 100 << 10];

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Answer),
        1 => Just(Act::AnswerLast),
        2 => Just(Act::CloseUnread),
        2 => Just(Act::CloseInHead),
        2 => Just(Act::CloseBehindHead),
        2 => Just(Act::CloseBehindAll),
        1 => Just(Act::CloseInAnswer),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let method = prop::sample::select(vec![Method::GET, Method::POST, Method::PUT, Method::PATCH]);
    (method, prop::sample::select(&BODIES[..])).prop_map(|(method, body)| Asked { method, body })
}

/// The reference: goes through the list as the rule says; `repeats` may have been executed already.
fn expected(asked: &Asked, acts: &mut VecDeque<Act>, is_unix: bool, mut repeats: u32) -> Vec<u16> {
    let is_idempotent = asked.method.is_idempotent();
    loop {
        let act = acts.pop_front().unwrap_or(Act::Answer);
        let may_repeat = is_idempotent && repeats < 2;
        match act {
            Act::Answer | Act::AnswerLast => return vec![200],
            Act::CloseUnread | Act::CloseInHead if is_unix => {}
            // So much is not kept, once it was sent; whether it was depends on who is quicker.
            Act::CloseUnread | Act::CloseInHead | Act::CloseBehindHead
                if may_repeat && asked.body > KEPT_MAX =>
            {
                let mut statuses = expected(asked, acts, is_unix, repeats + 1);
                statuses.push(502);
                return statuses;
            }
            _ if may_repeat && asked.body <= KEPT_MAX => repeats += 1,
            _ => return vec![502],
        }
    }
}

/// A connection of the application's.
trait Socket: Read + Write + AsFd {}

impl<S: Read + Write + AsFd> Socket for S {}

/// Does the next thing for each request that comes.
fn serve(mut stream: impl Socket, done: &Mutex<Done>) -> io::Result<()> {
    loop {
        // Something has come, and is not read.
        if recv(&stream, &mut [0; 1][..], RecvFlags::PEEK)?.1 == 0 {
            return Ok(());
        }
        let act = done.lock().unwrap().acts.pop_front().unwrap_or(Act::Answer);
        let mut head = Vec::new();
        let mut read = |stream: &mut _| -> io::Result<Vec<u8>> {
            let mut byte = [0];
            Read::read_exact(stream, &mut byte)?;
            head.push(byte[0]);
            Ok(head.clone())
        };
        match act {
            Act::CloseUnread => return Ok(()),
            Act::CloseInHead => return (0..9).try_for_each(|_| read(&mut stream).map(drop)),
            _ => {}
        }
        let head = loop {
            let head = read(&mut stream)?;
            if head.ends_with(b"\r\n\r\n") {
                break String::from_utf8(head).unwrap().to_ascii_lowercase();
            }
        };
        done.lock().unwrap().executed += 1;
        if act == Act::CloseBehindHead {
            return Ok(());
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body)?;
        match act {
            Act::CloseBehindAll => return Ok(()),
            Act::CloseInAnswer => return stream.write_all(b"HTTP/1.1 200 O"),
            Act::AnswerLast => {
                let last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
                return stream.write_all(last);
            }
            _ => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?,
        }
    }
}

/// Serves each connection that `accept` brings on a thread of its own, until it brings none.
fn serve_all<S: Socket + Send + 'static>(
    accept: impl Fn() -> io::Result<S> + Send + 'static,
    done: Arc<Mutex<Done>>,
) {
    thread::spawn(move || {
        while let Ok(stream) = accept() {
            let done = Arc::clone(&done);
            // What goes wrong with a connection, the client finds out.
            thread::spawn(move || serve(stream, &done));
        }
    });
}

/// Sends a request through the proxy; answers the status.
async fn ask(proxy: &Proxy, asked: &Asked) -> u16 {
    let body = Full::new(Bytes::from(vec![b'x'; asked.body]));
    let request = Request::builder().method(&asked.method).uri("/").header("host", "x");
    let answer = Service::call(proxy, request.body(body).unwrap());
    let answer = timeout(Duration::from_secs(60), answer).await.expect("an answer").unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.expect("a whole body");
    status
}

/// Sends the requests, and holds what comes of them against the reference.
fn check(requests: Vec<(Asked, Vec<Act>)>, is_unix: bool) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let done = Arc::<Mutex<Done>>::default();
    let proxy = if is_unix {
        let path = directory.path().join("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        serve_all(move || listener.accept().map(|(stream, _)| stream), Arc::clone(&done));
        Proxy::to(&*path)
    } else {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve_all(move || listener.accept().map(|(stream, _)| stream), Arc::clone(&done));
        Proxy::to(address)
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (asked, acts) in requests {
        let mut acts = VecDeque::from(acts);
        *done.lock().unwrap() = Done { acts: acts.clone(), executed: 0 };
        let statuses = expected(&asked, &mut acts, is_unix, 0);
        let status = runtime.block_on(ask(&proxy, &asked));
        let executed = done.lock().unwrap().executed;
        prop_assert!(
            statuses.contains(&status),
            "{}: {} not in {:?}",
            asked.method,
            status,
            statuses
        );
        if !asked.method.is_idempotent() {
            prop_assert!(executed <= 1, "{} was executed {} times", asked.method, executed);
        }
        if is_unix || status == 200 {
            prop_assert!(executed > 0, "{} was lost", asked.method);
        }
    }
    Ok(())
}

fn requests() -> impl Strategy<Value = Vec<(Asked, Vec<Act>)>> {
    prop::collection::vec((asked(), prop::collection::vec(act(), 0..6)), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_request_is_executed_twice_or_lost_on_a_unix_socket(requests in requests()) {
        check(requests, true)?;
    }

    #[test]
    fn no_request_is_executed_twice_on_a_port(requests in requests()) {
        check(requests, false)?;
    }
}
