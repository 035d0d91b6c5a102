//! What a request tells of its connection.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Extension, Router, extract::ConnectInfo, routing::get};
use http::Extensions;
use lockstepd::{Address, Connection, Daemon, Exit, Peer, Server};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, socket};
use rustix::process::{getgid, getuid};

use crate::{Running, support::Client};

async fn who(ConnectInfo(client): ConnectInfo<SocketAddr>) -> String {
    client.to_string()
}

#[test]
fn connect_info_is_the_clients_address_as_with_axum() {
    let router = Router::new().route("/", get(who));
    let daemon = Daemon::new("test")
        .server("v4", "127.0.0.1:0", router.clone())
        .server("dual", "[::]:0", router);
    let running = Running::start(daemon);
    let port = running.address("dual").rsplit_once(':').unwrap().1.to_owned();
    for address in [running.address("v4"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let mut client = Client::connect(&address);
        let ours = client.local_address().to_string();
        for _ in 0..2 {
            assert_eq!(client.request("GET", "/").body, ours, "{address}");
        }
    }
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn a_client_of_a_unix_socket_has_credentials_and_no_connect_info() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", directory.path().join("public").display());
    let credentials = |Extension(peer): Extension<Peer>| async move {
        let peer = peer.credentials().expect("the kernel tells");
        format!("{} {} {}", peer.pid, peer.uid, peer.gid)
    };
    let router = Router::new().route("/", get(credentials)).route("/tcp", get(who));
    let running = Running::start(Daemon::new("test").server("public", &*address, router));
    let mut client = Client::connect(&running.address("public"));
    let ours = format!("{} {} {}", process::id(), getuid().as_raw(), getgid().as_raw());
    assert_eq!(client.request("GET", "/").body, ours);
    assert_eq!(client.request("GET", "/tcp").status, 500);
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

/// Counts the requests of a connection.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

async fn count(Extension(count): Extension<Count>) -> String {
    (count.0.fetch_add(1, Ordering::Relaxed) + 1).to_string()
}

#[test]
fn a_connection_keeps_what_the_program_has_made_of_it() {
    let router = Router::new().route("/", get(count));
    let public = Server::new("public", "127.0.0.1:0", router).on_connect(|_| {
        let mut extensions = Extensions::new();
        extensions.insert(Count::default());
        extensions
    });
    let running = Running::start(Daemon::new("test").add_server(public));
    let mut one = Client::connect(&running.address("public"));
    let mut two = Client::connect(&running.address("public"));
    // Whether it is parked between two of them or not.
    for request in ["1", "2", "3"] {
        assert_eq!(one.request("GET", "/").body, request);
    }
    assert_eq!(two.request("GET", "/").body, "1");
    one.send(&"GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(2));
    assert_eq!([one.response("GET").body, one.response("GET").body], ["4", "5"]);
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

/// The client's path and our address, where there are any.
#[derive(Clone)]
struct Ends(Option<PathBuf>, Option<Address>);

fn with_ends(connection: Connection<'_>) -> Extensions {
    let mut extensions = Extensions::new();
    extensions.insert(Ends(connection.peer_path(), connection.local_address()));
    extensions
}

async fn ends(Extension(Ends(path, local)): Extension<Ends>) -> String {
    let path = path.map_or_else(|| "-".to_owned(), |path| path.display().to_string());
    format!("{path} {}", local.unwrap())
}

#[test]
fn a_connection_knows_which_of_many_addresses_its_client_has_asked() {
    let local =
        |Extension(local): Extension<Option<Address>>| async move { local.unwrap().to_string() };
    let router = Router::new().route("/", get(local));
    let public = Server::new("public", "0.0.0.0:0", router).on_connect(|connection| {
        let mut extensions = Extensions::new();
        extensions.insert(connection.local_address());
        extensions
    });
    let running = Running::start(Daemon::new("test").add_server(public));
    let port = running.address("public").rsplit_once(':').unwrap().1.to_owned();
    for asked in [format!("127.0.0.1:{port}"), format!("127.7.7.7:{port}")] {
        assert_eq!(Client::connect(&asked).request("GET", "/").body, asked);
    }
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn an_ipv4_client_of_a_socket_of_both_families_has_asked_an_ipv4_address() {
    let router = Router::new().route("/", get(ends));
    let public = Server::new("public", "[::]:0", router).on_connect(with_ends);
    let running = Running::start(Daemon::new("test").add_server(public));
    let port = running.monitor.addresses("public")[0].tcp().unwrap().port();
    for asked in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        assert_eq!(Client::connect(&asked).request("GET", "/").body, format!("- {asked}"));
    }
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn both_paths_of_a_unix_connection_are_told_where_there_are_any() {
    let directory = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| directory.path().join(name));
    let router = Router::new().route("/", get(ends));
    let public = Server::new("public", ours.as_path(), router).on_connect(with_ends);
    let running = Running::start(Daemon::new("test").add_server(public));
    let address = running.address("public");
    let mut unnamed = Client::connect(&address);
    assert_eq!(unnamed.request("GET", "/").body, format!("- {address}"));
    // The standard library binds no socket that connects.
    let named = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&named, &SocketAddrUnix::new(&theirs).unwrap()).unwrap();
    connect(&named, &SocketAddrUnix::new(&ours).unwrap()).unwrap();
    let mut named = UnixStream::from(named);
    named.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    named.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(&format!("{} {address}", theirs.display())), "{answer}");
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}

#[test]
fn a_panic_about_a_connection_costs_that_connection_alone() {
    let router = Router::new().route("/", get(async || "Hello"));
    let first = AtomicU64::new(0);
    let public = Server::new("public", "127.0.0.1:0", router).on_connect(move |_| {
        assert!(first.fetch_add(1, Ordering::Relaxed) > 0, "the first is one too many");
        Extensions::new()
    });
    let running = Running::start(Daemon::new("test").add_server(public));
    let mut first = Client::connect(&running.address("public"));
    first.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(first.is_closed());
    assert_eq!(running.get("public", "/").body, "Hello");
    assert_eq!(running.stop().unwrap(), Exit::Clean);
}
