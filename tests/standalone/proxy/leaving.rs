//! Clients that close their connection, or their half of it, before they have their answer.

use super::{Place, application, assert_in_flight, request};

use crate::support::{End, Launch, PATIENCE, wait_until};

#[test]
fn the_request_of_a_client_that_closes_its_connection_ends() {
    let place = Place::new();
    let mut there = place.application(&[]);
    let mut daemon = place.launch().start();
    let client = End::asking(&daemon.public(), request("GET /hang?id=first", ""));
    there.executes("first");
    drop(client);
    assert_eq!(there.gone(), "/hang first");
    assert_in_flight(&mut daemon, 0);
}

#[test]
fn the_request_of_a_client_that_closes_its_unix_socket_ends() {
    let place = Place::new();
    let mut there = place.application(&[]);
    let public = format!("unix:{}", place.directory.path().join("public.sock").display());
    let launch = Launch::on(&public, &format!("{}:0", Launch::address()));
    let _daemon = launch.args(["--public-proxy", &place.address()]).start();
    let client = End::asking(&public, request("GET /hang?id=first", ""));
    there.executes("first");
    drop(client);
    assert_eq!(there.gone(), "/hang first");
}

#[test]
fn a_client_that_closes_while_it_waits_is_not_asked_about() {
    let place = Place::new();
    let mut daemon = place.launch().start();
    let public = daemon.public();
    let body = "Content-Length: 5\r\n";
    let closes = End::asking(&public, request("POST /?id=1", body) + "hello");
    let mut stays = End::asking(&public, request("POST /?id=2", body) + "hello");
    wait_until("both wait", PATIENCE, || application(&mut daemon)["waiting_requests"] == 2);
    drop(closes);
    wait_until("one waits", PATIENCE, || application(&mut daemon)["waiting_requests"] == 1);
    let there = place.application(&[]);
    assert_eq!(stays.head().status(), 200);
    assert_eq!(there.executed_ids(), ["2"]);
}

#[test]
fn a_client_that_shuts_its_half_down_is_told_to_continue_once_and_gets_its_answer() {
    let place = Place::new();
    let _there = place.application(&[]);
    let mut daemon = place.launch().start();
    let mut client = End::asking(&daemon.public(), request("GET /slow?ms=2500", ""));
    client.end_writing();
    assert_eq!(client.head().text, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    client.hears("Hello -\n");
    assert_eq!(client.rest(), "");
}

#[test]
fn an_old_client_and_one_on_a_unix_socket_hear_nothing_but_their_answer() {
    let place = Place::new();
    let _there = place.application(&[]);
    let socket = format!("unix:{}", place.directory.path().join("public.sock").display());
    let launch = Launch::on(&socket, &format!("{}:0", Launch::address()));
    let port = Launch::free_address();
    let listen = ["--public", &port, "--public-proxy", &place.address()];
    let _daemon = launch.args(listen).start();
    let old = "GET /slow?ms=1500 HTTP/1.0\r\n\r\n";
    let mut old = End::asking(&port, old);
    let mut local = End::asking(&socket, request("GET /slow?ms=1500", ""));
    for (client, first) in [(&mut old, "HTTP/1.0 200 OK"), (&mut local, "HTTP/1.1 200 OK")] {
        client.end_writing();
        assert_eq!(client.head().first(), first);
        client.hears("Hello -\n");
    }
}
