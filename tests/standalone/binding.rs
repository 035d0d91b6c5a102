//! The sockets that the daemon binds itself.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Client, Daemon, Launch, ask, exchange, get, skip};

#[test]
fn unix_sockets_serve() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = on_unix_sockets(&directory).start();
    assert_eq!(daemon.public(), unix(&directory, "public"));
    assert_eq!(daemon.get_public("/any").body, "Hello, Serve is running...\n");
    assert_eq!(daemon.get_admin("/listener").body, "Hello, I am is listener!!\n");
}

#[test]
fn unix_sockets_are_for_owner_and_group() {
    let directory = tempfile::tempdir().unwrap();
    let _daemon = on_unix_sockets(&directory).start();
    for name in ["public", "admin"] {
        assert_eq!(mode(&directory.path().join(name)), 0o660, "{name}");
    }
}

#[test]
fn each_server_has_a_socket_mode_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let modes = ["--public-socket-mode", "0666", "--admin-socket-mode", "600"];
    let _daemon = on_unix_sockets(&directory).args(modes).start();
    assert_eq!(mode(&directory.path().join("public")), 0o666);
    assert_eq!(mode(&directory.path().join("admin")), 0o600);
}

#[test]
fn unix_socket_files_are_gone_after_a_clean_stop() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = tempfile::tempdir().unwrap();
        let daemon = on_unix_sockets(&directory).start();
        daemon.signal(signal);
        daemon.end().assert(0, &[]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{signal:?}");
    }
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let killed = on_unix_sockets(&directory).start();
    killed.signal(Signal::KILL);
    killed.end().assert(128 + 9, &[]);
    assert!(directory.path().join("public").exists(), "nothing is stale");
    let mut daemon = on_unix_sockets(&directory).start();
    assert_eq!(daemon.get_public("/").status, 200);
}

#[test]
fn a_socket_that_somebody_listens_on_exits_1_and_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = on_unix_sockets(&directory).start();
    let ended = on_unix_sockets(&directory).end();
    let sentence = format!("cannot bind {} for \"public\"", unix(&directory, "public"));
    ended.assert(1, &[&sentence, "stop whoever listens there"]);
    assert_eq!(first.get_public("/").status, 200);
    first.stop().assert(0, &[]);
}

#[test]
fn a_file_that_is_no_socket_exits_78_and_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("public");
    fs::write(&path, "precious").unwrap();
    on_unix_sockets(&directory).end().assert(78, &[&unix(&directory, "public")]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_link_to_a_stale_socket_does_not_reach_what_it_names() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    drop(UnixListener::bind(&target).unwrap());
    std::os::unix::fs::symlink(&target, directory.path().join("public")).unwrap();
    on_unix_sockets(&directory).end().assert(78, &[&unix(&directory, "public")]);
    assert!(fs::symlink_metadata(&target).unwrap().file_type().is_socket());
}

#[test]
fn a_missing_directory_exits_78_and_names_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let public = format!("unix:{}/missing/public", directory.path().display());
    Launch::bare().args(["--public", &public]).end().assert(78, &[&public, "RuntimeDirectory="]);
}

#[test]
fn the_peer_of_a_unix_socket_has_no_address() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = on_unix_sockets(&directory).args(["--access-log", "all"]).start();
    daemon.get_public("/");
    assert_eq!(daemon.event("request")["peer"], "unix");
}

#[test]
fn several_addresses_of_a_server_all_serve() {
    let directory = tempfile::tempdir().unwrap();
    let ip = Launch::address();
    let public = format!("{ip}:0,{},{ip}:0", unix(&directory, "public"));
    let mut daemon = Launch::on(&public, &format!("{ip}:0")).start();
    let addresses = daemon.addresses("public");
    assert_eq!(addresses.len(), 3);
    for address in &addresses {
        assert_eq!(get(address, "/").status, 200, "{address}");
    }
    let status: Value = serde_json::from_str(&daemon.get_admin("/status").body).unwrap();
    let sockets = status["servers"][0]["sockets"].as_array().unwrap();
    assert_eq!(
        sockets.iter().map(|socket| &socket["address"]).collect::<Vec<_>>(),
        addresses.iter().collect::<Vec<_>>()
    );
}

#[test]
fn an_ipv6_wildcard_alone_serves_both_families() {
    let Some(port) = free_port() else { return };
    let mut daemon = Launch::on(&format!("[::]:{port}"), &admin()).start();
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        assert_eq!(get(&address, "/").status, 200, "{address}");
    }
    assert_eq!(daemon.addresses("public"), [format!("[::]:{port}")]);
}

#[test]
fn an_ipv4_client_of_an_ipv6_wildcard_has_its_own_address_before_and_after_an_upgrade() {
    if free_port().is_none() {
        return;
    }
    let mut daemon =
        Launch::on("[::]:0", "[::]:0").args(["--access-log", "all", "--linger", "0s"]).start();
    let port = |address: String| address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let (public, admin) = (port(daemon.public()), port(daemon.admin()));

    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, public)).unwrap();
    let own = client.local_addr().unwrap().to_string();
    let mut get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let length = client.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
    };
    let peer_of = |daemon: &mut Daemon, path: &str| {
        daemon.find(path, |event| event["path"] == path)["peer"].clone()
    };
    get("/before");
    assert_eq!(peer_of(&mut daemon, "/before"), *own);
    daemon.signal(Signal::USR2);
    daemon.lines_with(2, "\"message\":\"ready\"");
    get("/after");
    assert_eq!(peer_of(&mut daemon, "/after"), *own);

    for host in ["[::ffff:127.0.0.1]", "127.0.0.1", "[::1]"] {
        let url = format!("{host}:{admin}");
        let heard = exchange(
            &format!("127.0.0.1:{admin}"),
            format!("GET /live HTTP/1.0\r\nHost: {url}\r\n\r\n").as_bytes(),
            false,
        );
        assert_eq!(heard.statuses(), [200], "{host}");
    }
    daemon.stop().assert(0, &[]);
}

#[test]
fn an_ipv6_zone_is_shown_as_it_is_written_before_and_after_an_upgrade() {
    if free_port().is_none() {
        return;
    }
    let mut daemon = Launch::on("[::1%lo]:0", "[::1%1]:0").start();
    let (public, admin) = (daemon.public(), daemon.admin());
    let port = |address: &str| address.rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(public, format!("[::1%lo]:{}", port(&public)));
    assert_eq!(admin, format!("[::1%1]:{}", port(&admin)));
    daemon.signal(Signal::USR2);
    daemon.lines_with(2, "\"message\":\"ready\"");
    let addresses = format!("public on {public}, admin on {admin}\"");
    daemon.lines_with(2, &addresses);
    let status: Value =
        serde_json::from_slice(&ask(&format!("[::1]:{}", port(&admin)), "GET", "/status").body)
            .unwrap();
    assert_eq!(status["servers"][0]["sockets"][0]["address"], *public);
    let ended = daemon.stop();
    ended.assert(0, &[]);
    assert!(!ended.text().contains("closing a listener"), "{}", ended.text());
}

#[test]
fn a_host_with_a_zone_is_answered_by_both_servers() {
    if free_port().is_none() {
        return;
    }
    let mut daemon = Launch::on("[::1]:0", "[::1%lo]:0").start();
    let admin = format!("[::1]:{}", daemon.admin().rsplit_once(':').unwrap().1);
    for (server, path) in [(daemon.public(), "/"), (admin, "/live")] {
        for (host, status) in [
            ("[::1%25lo]", 200),
            ("[::1%lo]:9091", 200),
            ("[::1%25eth0.7]", 200),
            ("[::1%]", 400),
            ("[::1%25lo", 400),
            ("[::1%a b]", 400),
        ] {
            for request in [
                format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n"),
                format!("GET http://{host}{path} HTTP/1.0\r\n\r\n"),
            ] {
                let heard = exchange(&server, request.as_bytes(), false);
                assert_eq!(heard.statuses(), [status], "{request}{}", heard.summary());
            }
        }
    }
    daemon.stop().assert(0, &[]);
}

#[test]
fn an_interface_that_is_not_there_exits_1_and_check_finds_it() {
    for address in ["[fe80::1%nosuch0]:9090", "[fe80::1%4000000]:9090"] {
        let error = format!("cannot bind {address} for \"public\": ");
        let texts = [&*error, "no network interface of this machine is what stands after %"];
        Launch::on(address, &admin()).end().assert(1, &texts);
        Launch::on(address, &admin()).args(["check"]).end().assert(1, &texts);
    }
}

#[test]
fn both_wildcards_share_a_port() {
    let Some(port) = free_port() else { return };
    for public in [format!("0.0.0.0:{port},[::]:{port}"), format!("[::]:{port},0.0.0.0:{port}")] {
        let daemon = Launch::on(&public, &admin()).start();
        for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
            assert_eq!(get(&address, "/").status, 200, "{address}");
        }
        daemon.stop().assert(0, &[]);
    }
}

#[test]
fn two_servers_share_a_port_that_each_has_for_one_family() {
    let Some(port) = free_port() else { return };
    let (v4, v6) = (format!("0.0.0.0:{port}"), format!("[::]:{port}"));
    for (public, admin, asked) in [(&v4, &v6, "127.0.0.1"), (&v6, &v4, "[::1]")] {
        let daemon = Launch::on(public, admin).start();
        assert_eq!(get(&format!("{asked}:{port}"), "/").body, "Hello, Serve is running...\n");
        let other = if asked == "[::1]" { "127.0.0.1" } else { "[::1]" };
        assert_eq!(get(&format!("{other}:{port}"), "/live").body, "live\n");
        daemon.stop().assert(0, &[]);
    }
}

#[test]
fn a_port_of_both_families_and_one_ipv4_address_of_another_server_exit_78() {
    let Some(port) = free_port() else { return };
    let (all, one) = (format!("[::]:{port}"), format!("127.0.0.1:{port}"));
    for (public, admin) in [(&all, &one), (&one, &all)] {
        let check = Launch::bare().args(["check", "--public", public, "--admin", admin]).end();
        let start = Launch::on(public, admin).end();
        for ended in [check, start] {
            let sentence = format!("\"public\" and \"admin\" cannot both listen on {admin}");
            ended.assert(78, &[&sentence, "give one of them another"]);
        }
    }
}

#[test]
fn both_servers_on_one_address_exit_78() {
    let directory = tempfile::tempdir().unwrap();
    let address = unix(&directory, "both");
    let ended = Launch::bare().args(["--public", &address, "--admin", &address]).end();
    ended.assert(78, &[&address, "\"admin\""]);
}

#[test]
fn a_port_can_be_taken_again_at_once() {
    let mut daemon = Launch::daemon().start();
    let (public, admin) = (daemon.public(), daemon.admin());
    // The side that closes first keeps the connection in TIME_WAIT.
    let mut client = Client::connect(&public);
    client.request("GET", "/");
    daemon.signal(Signal::TERM);
    assert!(client.is_closed());
    daemon.end().assert(0, &[]);
    let mut next = Launch::on(&public, &admin).start();
    assert_eq!(next.get_public("/").status, 200);
}

fn on_unix_sockets(directory: &TempDir) -> Launch {
    Launch::on(&unix(directory, "public"), &unix(directory, "admin"))
}

fn unix(directory: &TempDir, name: &str) -> String {
    format!("unix:{}", directory.path().join(name).display())
}

fn admin() -> String {
    format!("{}:0", Launch::address())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A port free on every address, and out of the range of those that the kernel chooses.
fn free_port() -> Option<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        skip("no IPv6");
        return None;
    }
    let free = |port: &u16| {
        let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port));
        v4.is_ok_and(|v4| {
            drop(v4);
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).is_ok()
        })
    };
    // Another range for each test of each process.
    let range = process::id() % 50 * 2 + NEXT.fetch_add(1, Ordering::Relaxed) % 2;
    let first = u16::try_from(20_000 + range * 100).expect("it is below 30,000");
    (first..first + 100).find(free)
}
