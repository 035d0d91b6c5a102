//! A server with settings of its own beside one that has the daemon's, seen on the example `particular`.

use std::time::Duration;

use rustix::process::Signal;

use crate::{
    program::FOR_EVER,
    support::{Client, Daemon, Launch, example},
};

/// The program, and the addresses of its servers.
struct Program {
    daemon: Daemon,
    usual: String,
    special: String,
}

impl Program {
    fn start(drain_timeout: &str, own_drain_timeout: &str) -> Self {
        let launch =
            Launch::program(example("particular")).args([drain_timeout, own_drain_timeout]);
        let mut daemon = launch.start();
        let [usual, special] =
            ["usual", "special"].map(|server| daemon.addresses(server).remove(0));
        Self { daemon, usual, special }
    }
}

/// The status of a request with so many fields.
fn status(address: &str, fields: usize) -> u16 {
    let mut client = Client::connect(address);
    let more = "X: y\r\n".repeat(fields - 2);
    client.send(&format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n{more}\r\n"));
    client.response("POST").status
}

#[test]
fn a_servers_own_limits_are_its_own_until_a_reload_names_it() {
    let mut program = Program::start(FOR_EVER, FOR_EVER);
    let (usual, special) = (program.usual.clone(), program.special.clone());
    assert_eq!([5, 6].map(|fields| status(&special, fields)), [200, 431]);
    assert_eq!(status(&usual, 100), 200);
    program.daemon.signal(Signal::HUP);
    program.daemon.event("reloaded");
    for server in [&usual, &special] {
        assert_eq!([6, 7].map(|fields| status(server, fields)), [200, 431]);
    }
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn a_server_with_an_access_log_of_its_own_logs_beside_one_that_does_not() {
    let program = Program::start(FOR_EVER, FOR_EVER);
    for server in [&program.usual, &program.special] {
        assert_eq!(status(server, 2), 200);
    }
    let ended = program.daemon.stop();
    let requests = ended.events().into_iter().filter(|event| event["status"] == 200);
    let servers: Vec<_> = requests.map(|event| event["server"].clone()).collect();
    assert_eq!(servers, ["special"]);
}

#[test]
fn names_have_capitals_where_that_is_asked_for() {
    let program = Program::start(FOR_EVER, FOR_EVER);
    for (server, name) in [(&program.special, "Content-Length"), (&program.usual, "content-length")]
    {
        let mut client = Client::connect(server);
        // Kept, pipelined, and told to end.
        let request = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n";
        client.send(request);
        assert!(client.response("POST").has_written(name), "{name}");
        client.send(&request.repeat(2));
        for _ in 0..2 {
            assert!(client.response("POST").has_written(name), "{name}");
        }
        client.send(&request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
        assert_eq!(client.response("POST").header("connection"), Some("close"));
        assert!(client.is_closed());
    }
}

#[test]
fn a_stop_waits_for_each_server_as_long_as_it_says() {
    for (common, own, is_special_cut) in [(FOR_EVER, "50ms", true), ("50ms", FOR_EVER, false)] {
        let mut program = Program::start(common, own);
        let (mut usual, mut special) = (
            Client::half_a_request(&program.usual, "/"),
            Client::half_a_request(&program.special, "/"),
        );
        program.daemon.signal(Signal::TERM);
        program.daemon.event("stopping");
        let (cut, kept) =
            if is_special_cut { (&mut special, &mut usual) } else { (&mut usual, &mut special) };
        // Longer than the shorter of the two times.
        assert!(!kept.is_closed_within(Duration::from_millis(200)));
        kept.send("half");
        let response = kept.response("POST");
        assert_eq!((response.status, response.body.as_str()), (200, "8\n"));
        let ended = program.daemon.end();
        ended.assert(3, &[]);
        let told = ended.event("requests were cut off");
        let server = if is_special_cut { "special" } else { "usual" };
        assert_eq!((&told["server"], &told["requests"]), (&server.into(), &1.into()), "{told}");
        assert!(cut.is_closed());
    }
}
