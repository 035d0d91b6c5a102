//! More clients than there may be: idle connections make room, the longest idle first, and nobody else does.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use tempfile::TempDir;

use crate::{
    program::Samples,
    support::{Client, Daemon, Launch, PATIENCE, ask, wait_until},
};

const CONNECTIONS: &str = "lockstepd_connections{server=\"public\"}";
const CLOSED: &str = "lockstepd_connections_closed_for_others_total{server=\"public\"}";
const TOLD: &str = "closed the connections that had been idle longest, to make room for others";
const PAUSES: &str = "lockstepd_accept_pauses_total{server=\"public\"}";
const SHORTAGES: &str = "lockstepd_accept_errors_total{server=\"public\",cause=\"shortage\"}";

/// A daemon whose limit of connections is in a file.
struct Limited {
    daemon: Daemon,
    directory: TempDir,
    public: String,
    admin: String,
}

impl Limited {
    fn to(connections: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write_limit(&directory, connections);
        let file = directory.path().join("lockstepd.toml");
        let launch = Launch::daemon().args(["--config".as_ref(), file.as_os_str()]);
        let mut daemon = launch.start();
        let (public, admin) = (daemon.public(), daemon.admin());
        Self { daemon, directory, public, admin }
    }

    /// Idle clients, the first of which has been so longest.
    fn idle(&self, count: usize) -> Vec<Client> {
        let one = |_| {
            a_moment();
            self.client()
        };
        (0..count).map(one).collect()
    }

    fn client(&self) -> Client {
        let mut client = Client::connect(&self.public);
        assert_eq!(client.request("GET", "/").status, 200);
        client
    }

    fn half_a_request(&self) -> Client {
        let mut client = Client::connect(&self.public);
        client.send("GET / HTTP/1.1\r\nHost: te");
        client
    }

    #[track_caller]
    fn wait_for_connections(&self, count: u32) {
        wait_until(&format!("{count} connections"), PATIENCE, || {
            (Samples::of(&self.admin).value(CONNECTIONS) - f64::from(count)).abs() < 0.5
        });
    }
}

fn write_limit(directory: &TempDir, connections: usize) {
    let text = format!("[limits]\nmax_connections = {connections}\n");
    fs::write(directory.path().join("lockstepd.toml"), text).unwrap();
}

/// Lets time go on, so that who is asked after it has been idle for less: a client has its answer before its
/// connection is idle.
fn a_moment() {
    let begin = Instant::now();
    wait_until("time goes on", PATIENCE, || begin.elapsed() > Duration::from_millis(5));
}

/// Lets a daemon have so many descriptors from now on.
fn limit_descriptors(daemon: &Daemon, most: u64) {
    let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw);
    let few = Rlimit { current: Some(most), maximum: Some(most) };
    prlimit(pid, Resource::Nofile, few).expect("a child's limit may be lowered");
}

#[track_caller]
fn assert_served(client: &mut Client) {
    assert_eq!(client.request("GET", "/").status, 200);
}

#[test]
fn a_new_client_gets_the_place_of_the_one_that_has_been_idle_longest() {
    let limited = Limited::to(8);
    let mut clients = limited.idle(8);
    a_moment();
    // Whoever says something is not idle any more.
    assert_served(&mut clients[0]);
    let _new = [limited.client(), limited.client()];
    for gone in [2, 1] {
        assert!(clients.remove(gone).is_closed());
    }
    for client in &mut clients {
        assert_served(client);
    }
    Samples::wait_for(&limited.admin, CLOSED, 2.0);
    let ended = limited.daemon.stop();
    ended.assert(
        0,
        &["all the connections it may have; idle ones are closed", "raise max_connections"],
    );
    assert_eq!(ended.event(TOLD)["server"], "public");
    // Not all at once, but all in the end.
    let events = ended.events();
    let told = events.iter().filter(|event| event["message"] == TOLD);
    assert_eq!(told.filter_map(|event| event["connections"].as_u64()).sum::<u64>(), 2);
}

#[test]
fn a_client_that_has_said_nothing_yet_makes_room_too() {
    let limited = Limited::to(4);
    let mut silent = Vec::new();
    for count in 1..=4 {
        silent.push(Client::connect(&limited.public));
        limited.wait_for_connections(count);
        a_moment();
    }
    let _new = limited.client();
    assert!(silent.remove(0).is_closed());
    for client in &mut silent {
        assert_served(client);
    }
}

#[test]
fn with_nobody_waiting_nobody_is_closed_however_full_it_is() {
    let limited = Limited::to(8);
    let mut clients = limited.idle(8);
    limited.wait_for_connections(8);
    // Longer than anybody has to be idle, and than the acceptor needs to have seen that it is full.
    for _ in 0..50 {
        assert_eq!(ask(&limited.admin, "GET", "/live").status, 200);
        for client in &mut clients {
            assert_served(client);
        }
    }
    assert!(Samples::of(&limited.admin).value(CLOSED).abs() < 0.5);
    assert!(Samples::of(&limited.admin).value(PAUSES).abs() < 0.5);
}

#[test]
fn a_request_in_flight_and_half_a_request_are_closed_for_nobody() {
    let limited = Limited::to(2);
    let mut half_a_head = limited.half_a_request();
    // Answered, and its body is still waited for.
    let mut half_a_body = Client::connect(&limited.public);
    half_a_body.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhe");
    assert_eq!(half_a_body.response("POST").status, 200);
    limited.wait_for_connections(2);
    let mut new = Client::connect(&limited.public);
    new.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    Samples::wait_for(&limited.admin, PAUSES, 1.0);
    half_a_head.send("st\r\n\r\n");
    assert_eq!(half_a_head.response("GET").status, 200);
    // Now it is idle, and the only one that is.
    assert_eq!(new.response("GET").status, 200);
    assert!(half_a_head.is_closed());
    half_a_body.send("llo");
    assert_served(&mut half_a_body);
}

#[test]
fn clients_that_ask_again_and_again_do_not_keep_others_out_for_ever() {
    let limited = Limited::to(4);
    let over = AtomicBool::new(false);
    let ask_again_and_again = || {
        let mut stream = TcpStream::connect(&limited.public).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
        // Never idle for as long as somebody should be, but idle. It may be closed at any time.
        while !over.load(Ordering::Relaxed)
            && stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").is_ok()
        {
            let mut answer = [0; 1024];
            while matches!(stream.read(&mut answer), Ok(1..)) {}
        }
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(ask_again_and_again);
        }
        limited.wait_for_connections(4);
        let mut new = Client::connect(&limited.public);
        assert_served(&mut new);
        over.store(true, Ordering::Relaxed);
    });
    Samples::wait_for(&limited.admin, CLOSED, 1.0);
}

#[test]
fn more_clients_than_places_are_all_served() {
    let limited = Limited::to(8);
    let mut clients: Vec<_> = (0..200).map(|_| Client::connect(&limited.public)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response("GET").status, 200);
    }
    limited.daemon.stop().assert(0, &[]);
}

#[test]
fn the_admin_server_has_room_for_one_more() {
    let limited = Limited::to(100);
    let mut scrapers: Vec<_> = (0..16).map(|_| Client::connect(&limited.admin)).collect();
    for scraper in &mut scrapers {
        assert_eq!(scraper.request("GET", "/live").status, 200);
        a_moment();
    }
    let mut operator = Client::connect(&limited.admin);
    assert_eq!(operator.request("GET", "/live").status, 200);
    assert!(scrapers[0].is_closed());
    assert_eq!(scrapers[1].request("GET", "/live").status, 200);
}

#[test]
fn a_reload_that_lowers_the_limit_closes_the_longest_idle_and_nobody_else() {
    let mut limited = Limited::to(8);
    let mut busy = limited.half_a_request();
    limited.wait_for_connections(1);
    let mut clients = limited.idle(7);
    write_limit(&limited.directory, 3);
    limited.daemon.signal(Signal::HUP);
    limited.daemon.event("reloaded");
    for gone in &mut clients[..5] {
        assert!(gone.is_closed());
    }
    limited.wait_for_connections(3);
    for client in &mut clients[5..] {
        assert_served(client);
    }
    busy.send("st\r\n\r\n");
    assert_eq!(busy.response("GET").status, 200);
    Samples::wait_for(&limited.admin, CLOSED, 5.0);
}

#[test]
fn above_a_lowered_limit_who_was_busy_goes_when_it_is_idle() {
    let mut limited = Limited::to(4);
    let mut busy: Vec<_> = (0..4).map(|_| limited.half_a_request()).collect();
    limited.wait_for_connections(4);
    write_limit(&limited.directory, 2);
    limited.daemon.signal(Signal::HUP);
    limited.daemon.event("reloaded");
    for client in &mut busy {
        a_moment();
        client.send("st\r\n\r\n");
        assert_eq!(client.response("GET").status, 200);
    }
    limited.wait_for_connections(2);
    assert!(busy[0].is_closed() && busy[1].is_closed());
    for client in &mut busy[2..] {
        assert_served(client);
    }
}

#[test]
fn a_program_that_may_have_fewer_connections_takes_those_that_were_asked_last() {
    let mut limited = Limited::to(20);
    let mut busy = limited.half_a_request();
    limited.wait_for_connections(1);
    let mut clients = limited.idle(12);
    a_moment();
    assert_served(&mut clients[0]);
    write_limit(&limited.directory, 4);
    limited.daemon.signal(Signal::USR2);
    assert_eq!(limited.daemon.event("took connections over")["connections"], 4);
    let told = limited.daemon.find("what was closed, and what to do", |event| {
        event["message"].as_str().is_some_and(|text| text.contains("more than there may be now"))
    });
    assert_eq!((&told["server"], &told["connections"]), (&"public".into(), &9.into()));
    assert!(told["message"].as_str().unwrap().contains("raise max_connections"), "{told}");
    for gone in &mut clients[1..10] {
        assert!(gone.is_closed());
    }
    let (first, last) = clients.split_at_mut(10);
    for client in last.iter_mut().chain(&mut first[..1]) {
        assert_served(client);
    }
    busy.send("st\r\n\r\n");
    assert_eq!(busy.response("GET").status, 200);
    let admin = limited.daemon.admin();
    assert_eq!(ask(&admin, "GET", "/live").status, 200);
}

#[test]
fn where_descriptors_are_short_idle_connections_make_room() {
    let limited = Limited::to(1000);
    let mut clients = limited.idle(60);
    limit_descriptors(&limited.daemon, 40);
    let mut new = limited.client();
    assert!(Samples::of(&limited.admin).value(SHORTAGES) > 0.5);
    assert_served(&mut new);
    assert!(clients[0].is_closed());
    assert_served(&mut clients[59]);
}
