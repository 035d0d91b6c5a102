//! Sockets that are passed as a service manager passes them, good and bad.

use std::{
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
};

use proptest::prelude::*;
use rustix::{
    fs::{OFlags, fcntl_getfl},
    net::{AddressFamily, SocketType, socket},
    process::Signal,
};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::support::{BINARY, Client, Ended, Launch, Manager, example, get, skip};

#[test]
fn sockets_are_known_by_their_names_not_by_their_order() {
    let (public, admin) = (listener(), listener());
    let addresses = [&public, &admin].map(address);
    let mut daemon = json().inherit("admin", admin).inherit("public", public).start();
    assert_eq!([daemon.public(), daemon.admin()], addresses);
    assert_eq!(daemon.get_public("/").body, "Hello, Serve is running...\n");
    assert_eq!(daemon.get_admin("/listener").body, "Hello, I am is listener!!\n");
}

#[test]
fn status_tells_who_opened_a_socket() {
    let public = listener();
    let admin = format!("{}:0", Launch::address());
    let mut daemon = json().args(["--admin", &admin]).inherit("public", public).start();
    let status: Value = serde_json::from_str(&daemon.get_admin("/status").body).unwrap();
    let opened_by = |index: usize| &status["servers"][index]["sockets"][0]["opened_by"];
    assert_eq!([opened_by(0), opened_by(1)], ["systemd", "lockstepd"]);
}

#[test]
fn one_inherited_and_one_bound_serve_together() {
    let inherited = listener();
    let expected = address(&inherited);
    let directory = tempfile::tempdir().unwrap();
    let admin = format!("unix:{}", directory.path().join("admin").display());
    let mut daemon = json().args(["--admin", &admin]).inherit("public", inherited).start();
    assert_eq!([daemon.public(), daemon.admin()], [expected, admin]);
    assert_eq!(daemon.get_public("/").status, 200);
    assert_eq!(daemon.get_admin("/live").status, 200);
}

#[test]
fn an_inherited_socket_takes_the_place_of_a_configured_address() {
    let (public, admin) = (listener(), listener());
    let expected = address(&public);
    let directory = tempfile::tempdir().unwrap();
    let unused = directory.path().join("public");
    let configured = format!("unix:{}", unused.display());
    let mut daemon = json()
        .args(["--public", &configured])
        .inherit("public", public)
        .inherit("admin", admin)
        .start();
    assert_eq!(daemon.addresses("public"), [expected]);
    assert!(!unused.exists());
}

#[test]
fn several_sockets_of_one_name_all_serve() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("public");
    let (tcp, unix) = (listener(), UnixListener::bind(&path).unwrap());
    let mut expected = [address(&tcp), format!("unix:{}", path.display())];
    let admin = format!("{}:0", Launch::address());
    let mut daemon =
        json().args(["--admin", &admin]).inherit("public", tcp).inherit("public", unix).start();
    let mut addresses = daemon.addresses("public");
    for address in &addresses {
        assert_eq!(get(address, "/").status, 200, "{address}");
    }
    addresses.sort();
    expected.sort();
    assert_eq!(addresses, expected);
}

#[test]
fn an_inherited_socket_becomes_non_blocking() {
    let public = listener();
    let same: OwnedFd = public.try_clone().unwrap().into();
    assert!(!fcntl_getfl(&same).unwrap().contains(OFlags::NONBLOCK));
    let admin = format!("{}:0", Launch::address());
    let mut daemon = json().args(["--admin", &admin]).inherit("public", public).start();
    assert!(fcntl_getfl(&same).unwrap().contains(OFlags::NONBLOCK));
    assert_eq!(daemon.get_public("/").status, 200);
}

#[test]
fn the_socket_file_of_an_inherited_socket_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("public");
    let admin = format!("{}:0", Launch::address());
    let public = UnixListener::bind(&path).unwrap();
    json().args(["--admin", &admin]).inherit("public", public).start().stop().assert(0, &[]);
    assert!(path.exists());
}

#[test]
fn clients_that_wait_in_an_inherited_queue_stay_there_for_the_next_process() {
    let (public, admin) = (listener(), listener());
    let kept = [&public, &admin].map(|listener| listener.try_clone().unwrap());
    let expected = address(&public);
    let daemon = json().inherit("public", public).inherit("admin", admin).start();
    daemon.stop().assert(0, &[]);
    // The test holds the sockets, as systemd does.
    let mut client = Client::connect(&expected);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let [public, admin] = kept;
    let _daemon = json().inherit("public", public).inherit("admin", admin).start();
    assert_eq!(client.response("GET").status, 200);
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let mut daemon = Launch::daemon().inherit("public", listener()).env("LISTEN_PID", "1").start();
    let told = |event: &Value| {
        event["message"].as_str().is_some_and(|text| text.starts_with("sockets were passed"))
    };
    assert_eq!(daemon.find("the warning", told)["listen_pid"], "1");
    assert!(daemon.admin().starts_with("127."));
    assert_eq!(daemon.get_public("/").status, 200);
}

#[test]
fn what_announces_sockets_is_gone_from_the_environment_of_what_is_started_next() {
    let (public, admin) = (listener(), listener());
    let mut daemon = json()
        .env("LISTEN_PIDFDID", "4711")
        .env("LISTEN_FDS_FIRST_FD", "3")
        .inherit("public", public)
        .inherit("admin", admin)
        .start();
    // Executed in the same process.
    daemon.signal(Signal::USR2);
    daemon.lines_with(2, "\"message\":\"ready\"");
    let environment = std::fs::read(format!("/proc/{}/environ", daemon.pid())).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let variables: Vec<_> = environment.split('\0').collect();
    assert!(variables.iter().any(|variable| variable.starts_with("PATH=")), "{variables:?}");
    assert!(!variables.iter().any(|variable| variable.starts_with("LISTEN_")), "{variables:?}");
    assert_eq!(daemon.get_public("/").status, 200);
}

#[test]
fn an_address_that_a_passed_socket_has_exits_78_and_names_its_server() {
    let (public, other) = (listener(), format!("{}:0", Launch::address()));
    let taken = address(&public);
    let ended =
        json().args(["--admin", &format!("{taken},{other}")]).inherit("public", public).end();
    let sentence = format!("\"public\" and \"admin\" cannot both listen on {taken}");
    ended.assert(78, &[&sentence]);
}

#[test]
fn a_server_without_a_socket_exits_78_and_tells_the_line() {
    let ended = Launch::bare().inherit("public", listener()).end();
    ended.assert(
        78,
        &["no inherited socket is named \"admin\"", "received: public", "FileDescriptorName=admin"],
    );
}

#[test]
fn an_unknown_name_exits_78_and_tells_the_line() {
    let ended = on_free_ports().inherit("web", listener()).end();
    ended.assert(
        78,
        &["no server is named \"web\"", "servers: public, admin", "FileDescriptorName="],
    );
}

#[test]
fn an_unknown_name_is_told_even_where_a_server_has_no_socket() {
    // What systemd does if FileDescriptorName= was forgotten: the name is that of the unit.
    let ended =
        Launch::bare().inherit("lockstepd.socket", listener()).inherit("admin", listener()).end();
    ended.assert(78, &["lockstepd.socket", "FileDescriptorName=public"]);
}

#[test]
fn a_name_that_would_forge_a_line_cannot() {
    let ended = on_free_ports().inherit("a\nforged", listener()).end();
    ended.assert(78, &["forged"]);
    assert!(!ended.log.iter().any(|line| line.starts_with("forged")), "{}", ended.text());
}

#[test]
fn one_socket_under_two_names_exits_78() {
    let public = listener();
    let again = public.try_clone().unwrap();
    let ended = Launch::bare().inherit("public", public).inherit("admin", again).end();
    ended.assert(78, &["\"public\" and \"admin\" are the same socket", "socket unit"]);
}

#[test]
fn one_socket_twice_under_one_name_exits_78() {
    let public = listener();
    let again = public.try_clone().unwrap();
    let ended = on_free_ports().inherit("public", public).inherit("public", again).end();
    ended.assert(78, &["are the same socket"]);
}

#[test]
fn a_socket_that_does_not_listen_exits_78_and_tells_the_line() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let address: std::net::SocketAddr = format!("{}:0", Launch::address()).parse().unwrap();
    socket.bind(&address.into()).unwrap();
    assert_unusable(socket, &["does not listen", "Accept=no"]);
}

#[test]
fn a_connection_as_of_accept_yes_exits_78_and_tells_the_line() {
    let listener = listener();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_unusable(listener.accept().unwrap().0, &["does not listen", "Accept=no"]);
    assert_unusable(UnixStream::pair().unwrap().0, &["does not listen", "Accept=no"]);
}

#[test]
fn a_datagram_socket_exits_78_and_tells_the_line() {
    let (one, _other) = UnixDatagram::pair().unwrap();
    assert_unusable(one, &["is not a stream socket", "ListenStream="]);
    let udp = std::net::UdpSocket::bind(format!("{}:0", Launch::address())).unwrap();
    assert_unusable(udp, &["is not a stream socket", "ListenStream="]);
}

#[test]
fn a_sequential_packet_socket_exits_78_and_tells_the_line() {
    let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    assert_unusable(socket, &["is not a stream socket", "ListenStream="]);
}

#[test]
fn a_netlink_socket_exits_78_and_tells_the_line() {
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
    assert_unusable(socket, &["is not a stream socket", "ListenStream="]);
}

#[test]
fn a_socket_of_another_family_exits_78_and_tells_the_line() {
    let Ok(socket) = socket(AddressFamily::VSOCK, SocketType::STREAM, None) else {
        return skip("no AF_VSOCK");
    };
    assert_unusable(socket, &["address family", "ListenStream="]);
}

#[test]
fn a_descriptor_that_is_no_socket_exits_78_and_tells_the_line() {
    let file = tempfile::tempfile().unwrap();
    assert_unusable(file, &["is not a socket", "ListenStream="]);
}

/// The daemon without the variable that tells the names.
fn nameless(arguments: &[&str]) -> Launch {
    let command = ["-u", "LISTEN_FDNAMES", BINARY, "--log-format", "json"];
    Launch::program("env").args(command).args(arguments)
}

#[test]
fn descriptors_without_names_are_for_the_one_server_without_an_address() {
    let (first, second) = (listener(), listener());
    let addresses = [&first, &second].map(address);
    let admin = format!("{}:0", Launch::address());
    let launch = nameless(&["--admin", &admin]);
    let mut daemon = launch.inherit("ignored", first).inherit("ignored", second).start();
    assert_eq!(daemon.addresses("public"), addresses);
    for address in &addresses {
        assert_eq!(get(address, "/").status, 200);
    }
    assert_eq!(daemon.get_admin("/live").status, 200);

    let inherited = listener();
    let expected = address(&inherited);
    let public = format!("{}:0", Launch::address());
    let mut daemon = nameless(&["--public", &public]).inherit("ignored", inherited).start();
    assert_eq!(daemon.admin(), expected);
}

#[test]
fn descriptors_without_names_are_for_the_only_server_of_a_program() {
    let inherited = listener();
    let expected = address(&inherited);
    let launch = Launch::program("env").args(["-u", "LISTEN_FDNAMES"]).args([example("minimal")]);
    let mut daemon = launch.inherit("ignored", inherited).spawn();
    daemon.line("ready", |line| line.contains("ready") && line.contains(&expected));
    assert_eq!(get(&expected, "/").status, 200);
}

#[test]
fn descriptors_without_names_exit_78_where_it_cannot_be_known_for_whom() {
    let cause = "LISTEN_FDNAMES is missing";
    for arguments in [&[][..], &["check"]] {
        nameless(arguments)
            .inherit("ignored", listener())
            .end()
            .assert(78, &[cause, "address: public, admin", "FileDescriptorName=", "--fdname="]);
    }
    let address = format!("{}:0", Launch::address());
    nameless(&["--public", &address, "--admin", &address])
        .inherit("ignored", listener())
        .end()
        .assert(78, &[cause, "without a configured address: none"]);
}

#[test]
fn an_empty_list_of_names_is_none() {
    let admin = format!("{}:0", Launch::address());
    let launch = json().args(["--admin", &admin]).env("LISTEN_FDNAMES", "");
    let inherited = listener();
    let expected = address(&inherited);
    assert_eq!(launch.inherit("ignored", inherited).start().public(), expected);
}

#[test]
fn sockets_for_another_process_exit_78_where_a_server_needs_one() {
    let admin = format!("{}:0", Launch::address());
    for arguments in [&[][..], &["check"], &["--admin", &admin]] {
        json()
            .args(arguments)
            .inherit("public", listener())
            .env("LISTEN_PID", "1")
            .end()
            .assert(78, &["\"public\" has no socket", "LISTEN_PID", "process 1", "exec"]);
    }
}

#[test]
fn a_shell_around_the_daemon_that_keeps_its_sockets_is_named() {
    // What `ExecStart=/bin/sh -c '…; lockstepd'` does.
    let script = "setpriv --pdeathsig KILL \"$0\" --log-format json; exit $?";
    let ended =
        Launch::program("sh").args(["-c", script, BINARY]).inherit("public", listener()).end();
    ended.assert(78, &["LISTEN_PID", "which has started this one", "with exec", "ExecStart="]);
    assert!(!ended.text().contains("\"ready\""), "{}", ended.text());
}

#[test]
fn fewer_names_than_descriptors_exit_78() {
    let ended = Launch::bare()
        .inherit("public", listener())
        .inherit("admin", listener())
        .env("LISTEN_FDNAMES", "public")
        .end();
    ended.assert(
        78,
        &["2 descriptors were passed with 1 names", "FileDescriptorName=", "--fdname="],
    );
}

#[test]
fn more_descriptors_than_were_passed_exit_78() {
    let ended = Launch::bare()
        .inherit("public", listener())
        .inherit("admin", listener())
        .env("LISTEN_FDS", "3")
        .env("LISTEN_FDNAMES", "public:admin:public")
        .end();
    ended.assert(78, &["descriptor 5", "LISTEN_FDS"]);
}

#[test]
fn more_descriptors_than_can_be_true_exit_78_at_once() {
    let ended = Launch::bare()
        .inherit("public", listener())
        .env("LISTEN_FDS", "2147483000")
        .env("LISTEN_FDNAMES", "public")
        .end();
    ended.assert(78, &["LISTEN_FDS announces 2147483000 descriptors", "by hand"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_variables_say_the_daemon_judges_and_ends(
        count in "[0-3]|-?[0-9]{1,20}|[!-~]{0,9}",
        names in "(public|admin|:|[!-~]){0,12}|\\PC{0,30}",
        pid in prop::option::weighted(0.3, "[0-9]{1,20}|[!-~]{0,9}"),
    ) {
        let launch = json().args(["check"]).inherit("public", listener()).inherit("admin", listener());
        let launch = launch.env("LISTEN_FDS", &count).env("LISTEN_FDNAMES", &names);
        let launch = pid.iter().fold(launch, |launch, pid| launch.env("LISTEN_PID", pid));
        let ended = launch.end();
        prop_assert!(matches!(ended.code, 0 | 78), "{}: {}", ended.code, ended.text());
        prop_assert!(!ended.text().contains("panicked"), "{}", ended.text());
    }
}

#[test]
fn a_descriptor_that_is_announced_twice_exits_78() {
    let launch = on_free_ports().inherit("public", listener());
    let ended = launch.env("LOCKSTEPD_UPGRADE_FD", "3").end();
    ended.assert(78, &["cannot take descriptor 3", "LOCKSTEPD_UPGRADE_FD, too"]);
}

#[test]
fn bad_sockets_are_told_to_the_service_manager() {
    let manager = Manager::new();
    Launch::bare().inherit("public", listener()).notify(&manager).end().assert(78, &[]);
    let messages = manager.rest();
    let status = "STATUS=no inherited socket is named \"admin\"";
    assert!(messages.iter().flatten().any(|line| line.starts_with(status)), "{messages:?}");
}

#[test]
fn check_judges_the_passed_sockets_too() {
    Launch::bare()
        .args(["check"])
        .inherit("public", listener())
        .inherit("admin", listener())
        .end()
        .assert(0, &["configuration is valid"]);
    Launch::bare().args(["check"]).inherit("public", listener()).end().assert(78, &["\"admin\""]);
}

/// Asserts that a start with `public` as the public socket ends in 78 with one sentence.
#[track_caller]
fn assert_unusable(public: impl Into<OwnedFd>, texts: &[&str]) {
    let manager = Manager::new();
    let ended: Ended = on_free_ports().inherit("public", public).notify(&manager).end();
    ended.assert(78, &["descriptor 3 (\"public\")"]);
    ended.assert(78, texts);
    assert_eq!(ended.log.len(), 1, "{}", ended.text());
}

fn json() -> Launch {
    Launch::bare().args(["--log-format", "json"])
}

fn on_free_ports() -> Launch {
    let address = format!("{}:0", Launch::address());
    Launch::bare().args(["--public", &address, "--admin", &address])
}

fn listener() -> TcpListener {
    TcpListener::bind(format!("{}:0", Launch::address())).unwrap()
}

fn address(listener: &TcpListener) -> String {
    listener.local_addr().unwrap().to_string()
}
