//! Services whose clients speak HTTP/2.

use std::net::SocketAddr;

use axum::{
    Extension, Router,
    extract::{ConnectInfo, Request},
    response::Response,
    routing::{get, post},
};
use http::{Extensions, HeaderMap, Version, header};
use lockstepd::{Connection, Daemon, Exit, Limits, Peer, Server};

use crate::{
    Running,
    support::{
        Client, Http2,
        http2::{ALL_STREAMS, END_STREAM, NO_ERROR, RST_STREAM, WINDOW_UPDATE},
    },
};

/// What the program makes of a connection.
#[derive(Clone)]
struct Made(String);

/// The parts of a request that tell of its connection, and the fields that may come in another form.
async fn seen(
    ConnectInfo(tcp): ConnectInfo<SocketAddr>,
    Extension(peer): Extension<Peer>,
    Extension(Made(made)): Extension<Made>,
    version: Version,
    headers: HeaderMap,
) -> String {
    let cookies: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
    let host = &headers[header::HOST];
    format!("{version:?} {tcp} {peer} {made} {host:?} {cookies:?}")
}

#[test]
fn a_service_sees_a_request_of_http2_as_it_sees_others() {
    let make = |connection: Connection<'_>| {
        let mut made = Extensions::new();
        made.insert(Made(format!("for {}", connection.peer())));
        made
    };
    let server = Server::new("public", "127.0.0.1:0", Router::new().route("/", get(seen)));
    let running = Running::start(Daemon::new("test").add_server(server.on_connect(make)));
    let mut client = Http2::connect(&running.address("public"));
    let peer = client.address();
    for _ in 0..2 {
        let stream = client.request("GET", "/", &[("cookie", "a=1"), ("cookie", "b=2")], true);
        let expected = format!("HTTP/2.0 {peer} {peer} for {peer} \"test\" [\"a=1; b=2\"]");
        assert_eq!(client.answer(stream).text(), expected);
    }
    drop(client);
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn a_body_that_the_service_does_not_want_costs_its_client_no_other_stream() {
    let early = |request: Request| async move {
        drop(request);
        "early"
    };
    let router = Router::new()
        .route("/early", post(early))
        .route("/echo", post(|body: String| async move { body }));
    let running = Running::start(Daemon::new("test").server("public", "127.0.0.1:0", router));
    let mut client = Http2::connect(&running.address("public"));
    for _ in 0..20 {
        let stream = client.request("POST", "/early", &[], false);
        client.data(stream, &[b'x'; 16_000], false);
        assert_eq!(client.answer(stream).text(), "early");
        // It may send no more, or was told to.
        while !client.seen.iter().any(|frame| frame.kind == RST_STREAM && frame.stream == stream) {
            client.frame().expect("the connection goes on");
        }
        let reset = client.seen.iter().find(|frame| frame.kind == RST_STREAM).unwrap();
        assert_eq!(reset.number(0), NO_ERROR);
        client.seen.clear();
        let stream = client.request("POST", "/echo", &[], false);
        client.data(stream, &[b'y'; 16_000], true);
        assert_eq!(client.answer(stream).body.len(), 16_000);
        client.seen.clear();
    }
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn an_answer_of_many_megabytes_is_whole_and_goes_on_as_it_is_taken() {
    let router = Router::new().route("/", get(|| async { vec![b'x'; 20 << 20] }));
    let running = Running::start(Daemon::new("test").server("public", "127.0.0.1:0", router));
    let mut client = Http2::connect(&running.address("public"));
    let streams = [client.get("/"), client.get("/")];
    let mut lengths = [0; 2];
    let mut open = 2;
    while open > 0 {
        let frame = client.frame().expect("the connection goes on");
        let place = streams.iter().position(|stream| *stream == frame.stream);
        if let (0, Some(place)) = (frame.kind, place) {
            lengths[place] += frame.payload.len();
            open -= usize::from(frame.flags & END_STREAM);
        }
        client.seen.clear();
    }
    assert_eq!(lengths, [20 << 20; 2]);
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn an_idle_connection_of_http2_makes_room_for_another_client_and_is_told() {
    let mut limits = Limits::default();
    limits.connections = Some(1);
    let router = Router::new().route("/", get(|| async { "Hello" }));
    let daemon = Daemon::new("test").server("public", "127.0.0.1:0", router).limits(limits);
    let running = Running::start(daemon);
    let mut client = Http2::connect(&running.address("public"));
    let asked = client.get("/");
    assert_eq!(client.answer(asked).text(), "Hello");
    let mut other = Client::connect(&running.address("public"));
    other.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.rest(), [(ALL_STREAMS, NO_ERROR), (asked, NO_ERROR)]);
    assert_eq!(other.response("GET").body, "Hello");
    drop(other);
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn a_connection_of_http2_makes_room_for_another_client_once_it_has_no_stream() {
    let mut limits = Limits::default();
    limits.connections = Some(2);
    let router = Router::new().route("/", get(|| async { "Hello" }));
    let daemon = Daemon::new("test").server("public", "127.0.0.1:0", router).limits(limits);
    let running = Running::start(daemon);
    let address = running.address("public");
    // What is in flight waits for a window.
    let mut clients = [(); 2].map(|()| Http2::with_settings(&address, &[(4, 0)]));
    let streams = clients.each_mut().map(|client| client.get("/"));
    for (client, stream) in clients.iter_mut().zip(streams) {
        while !client.seen.iter().any(|frame| frame.stream == stream) {
            client.frame().expect("an answer begins");
        }
    }
    let mut other = Client::connect(&address);
    other.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let [mut busy, mut done] = clients;
    let [busy_stream, done_stream] = streams;
    let window = 1000_u32.to_be_bytes();
    done.send(WINDOW_UPDATE, 0, done_stream, &window);
    assert_eq!(done.answer(done_stream).text(), "Hello");
    assert_eq!(done.rest(), [(ALL_STREAMS, NO_ERROR), (done_stream, NO_ERROR)]);
    assert_eq!(other.response("GET").body, "Hello");
    busy.send(WINDOW_UPDATE, 0, busy_stream, &window);
    assert_eq!(busy.answer(busy_stream).text(), "Hello");
    assert_eq!(busy.goaways(), []);
    drop((other, busy));
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn a_service_that_answers_with_a_change_of_protocols_has_answered_500() {
    let switch = || async {
        Response::builder()
            .status(101)
            .header("upgrade", "x")
            .body(axum::body::Body::empty())
            .unwrap()
    };
    let router = Router::new().route("/", get(switch));
    let running = Running::start(Daemon::new("test").server("public", "127.0.0.1:0", router));
    let mut client = Http2::connect(&running.address("public"));
    let asked = client.get("/");
    assert_eq!(client.answer(asked).status, Some(500));
    drop(client);
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}
