//! What goes along at a restart, and what does not: connections in every state, sockets of every kind.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    ops::{Deref, DerefMut},
    thread,
    time::Duration,
};

use crate::{
    restart::{assert_unnoticed, machine, public, run_example, under_load},
    support::{Load, Machine, PATIENCE, Server, message, wait_until},
};

const PUBLIC: ([u8; 4], u16) = ([127, 0, 0, 1], 9090);
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 9091);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// A client's connection, on which nothing may come that no request has asked for.
struct Connection(TcpStream);

fn restart(machine: &Machine) {
    machine.run("systemctl", &["restart", "lockstepd"]).ok();
}

fn connect(address: ([u8; 4], u16)) -> Connection {
    let stream = TcpStream::connect(SocketAddr::from(address)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Connection(stream)
}

/// A download that has begun, and whose rest nobody reads.
fn begin_download(seconds: u32) -> TcpStream {
    let mut download = TcpStream::connect(SocketAddr::from(PUBLIC)).unwrap();
    let request = format!("GET /download?seconds={seconds} HTTP/1.1\r\nHost: x\r\n\r\n");
    download.write_all(request.as_bytes()).unwrap();
    assert_eq!(download.read(&mut [0; 1]).unwrap(), 1);
    download
}

// === impl Connection ===

impl Deref for Connection {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.0
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Whatever was to come has come, as the answers that were waited for came behind it.
        self.0.set_nonblocking(true).unwrap();
        let mut rest = [0; 256];
        if let Ok(length @ 1..) = self.0.read(&mut rest) {
            let rest = rest[..length].escape_ascii();
            assert!(thread::panicking(), "nobody has asked for {rest}");
        }
    }
}

/// Reads one answer with a Content-Length; `None` if the connection was closed instead.
fn answer(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::with_capacity(1, stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let begin = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if let Some(value) = head[begin..].to_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}

fn ask(mut stream: &TcpStream) -> Option<String> {
    stream.write_all(REQUEST).ok()?;
    answer(stream)
}

#[test]
fn a_client_that_pauses_in_the_head_is_answered_by_the_successor() {
    let Some(machine) = machine() else { return };
    machine.in_network(|| {
        let mut client = connect(PUBLIC);
        ask(&client).unwrap();
        client.write_all(&REQUEST[..17]).unwrap();
        restart(&machine);
        restart(&machine);
        client.write_all(&REQUEST[17..]).unwrap();
        assert!(answer(&client).unwrap().ends_with("running...\n"));
        ask(&client).expect("the connection stays");
    });
}

#[test]
fn a_client_that_pauses_in_the_body_is_answered_before_the_restart() {
    let Some(machine) = machine() else { return };
    machine.in_network(|| {
        let mut client = connect(PUBLIC);
        client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345").unwrap();
        // Another connection's answer: the daemon has accepted the first one before.
        ask(&connect(PUBLIC)).unwrap();
        thread::scope(|scope| {
            let restart = scope.spawn(|| restart(&machine));
            let stopping = |entry: &serde_json::Value| message(entry).starts_with("stopping");
            machine.wait_for_journal("the stop", &["-u", "lockstepd"], stopping);
            client.write_all(b"67890").unwrap();
            assert!(answer(&client).unwrap().ends_with("running...\n"));
            restart.join().unwrap();
        });
        ask(&client).expect("the connection is handed over after its answer");
    });
}

#[test]
fn the_rest_of_a_body_that_nobody_wants_is_no_request_to_the_successor() {
    let Some(machine) = machine() else { return };
    let body = "GET /in HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunks = format!("1d\r\n{body}\r\n1d;x=y\r\n{body}\r\n0\r\nT: v\r\n\r\n");
    let bodies = [
        ("Content-Length: 58", body.repeat(2)),
        ("Transfer-Encoding: chunked", chunks.clone()),
        ("Expect: 100-continue\r\nTransfer-Encoding: chunked", chunks),
    ];
    machine.in_network(|| {
        for (field, body) in bodies {
            for cut in [0, 1, 12, 29, body.len() - 1] {
                let mut client = connect(PUBLIC);
                let head = format!("POST / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
                client.write_all(format!("{head}{}", &body[..cut]).as_bytes()).unwrap();
                let first = answer(&client).unwrap();
                restart(&machine);
                // Who was told that nothing follows may not get it out any more.
                let rest = format!("{}GET / HTTP/1.1\r\nHost: x\r\n\r\n", &body[cut..]);
                let sent = client.write_all(rest.as_bytes());
                if first.contains("\r\nconnection: close\r\n") {
                    assert!(field.starts_with("Expect"), "{first}");
                    assert_eq!(answer(&client), None, "{field}, cut at {cut}");
                } else {
                    sent.unwrap();
                    let second = answer(&client);
                    assert!(
                        second.is_some(),
                        "{field}, cut at {cut}: no answer to the next request"
                    );
                }
                // Whoever asks once more gets one answer, and nothing that came out of the body.
                if let Some(third) = ask(&client) {
                    assert!(third.ends_with("running...\n"), "{third}");
                }
            }
        }
    });
}

#[test]
fn a_request_to_the_admin_server_has_as_much_time_as_any_other() {
    let Some(machine) = machine() else { return };
    machine.in_network(|| {
        let mut client = connect(ADMIN);
        let head = "POST /listener HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n";
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(b"12345").unwrap();
        let other = connect(ADMIN);
        (&*other).write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(answer(&other).unwrap().ends_with("live\n"));
        thread::scope(|scope| {
            let restart = scope.spawn(|| restart(&machine));
            let waits = |entry: &serde_json::Value| message(entry).starts_with("serving on");
            machine.wait_for_journal("the wait for it", &["-u", "lockstepd"], waits);
            // Everybody else is served meanwhile.
            ask(&connect(PUBLIC)).unwrap();
            client.write_all(b"67890").unwrap();
            assert!(answer(&client).unwrap().ends_with("listener!!\n"));
            restart.join().unwrap();
        });
        client.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(answer(&client).unwrap().ends_with("live\n"), "handed over after its answer");
    });
}

#[test]
fn a_connection_that_has_sent_nothing_is_handed_over() {
    let Some(machine) = machine() else { return };
    machine.in_network(|| {
        ask(&connect(PUBLIC)).unwrap();
        let client = connect(PUBLIC);
        restart(&machine);
        assert!(ask(&client).unwrap().ends_with("running...\n"));
    });
}

#[test]
fn connections_stay_with_their_server() {
    let Some(machine) = machine() else { return };
    machine.in_network(|| {
        let (public, mut admin) = (connect(PUBLIC), connect(ADMIN));
        for _ in 0..2 {
            ask(&public).unwrap();
            admin.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            assert!(answer(&admin).unwrap().ends_with("live\n"));
            restart(&machine);
        }
    });
}

#[test]
fn two_thousand_idle_connections_all_answer_after_the_restart() {
    let Some(machine) = machine() else { return };
    machine.in_network(|| {
        let clients: Vec<_> = (0..2000).map(|_| connect(PUBLIC)).collect();
        assert!(clients.iter().all(|client| ask(client).is_some()));
        restart(&machine);
        assert!(clients.iter().all(|client| ask(client).is_some()));
    });
    let mut entries = machine.journal(&["-u", "lockstepd"]);
    entries.retain(|entry| message(entry).starts_with("took connections over"));
    assert_eq!(entries[0]["CONNECTIONS"], "2000");
    assert_eq!(machine.property("lockstepd", "NFileDescriptorStore"), "0");
}

/// The value of a sample of `/metrics`, where it is there.
fn sample(machine: &Machine, name: &str) -> Option<f64> {
    let metrics = machine.get("http://localhost:9091/metrics");
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn the_successor_tells_how_its_predecessors_ended() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "download");
    let assert_tells = |handed_over: u32, clean: u32, cut_off: u32| {
        for (name, count) in [
            ("lockstepd_connections_handed_over_total{server=\"public\"}", handed_over),
            ("lockstepd_drains_total{outcome=\"clean\"}", clean),
            ("lockstepd_drains_total{outcome=\"cut_off\"}", cut_off),
        ] {
            assert_eq!(sample(&machine, name), Some(count.into()), "{name}");
        }
    };
    machine.in_network(|| {
        let clients = [(); 3].map(|()| connect(PUBLIC));
        assert!(clients.iter().all(|client| ask(client).is_some()));
        assert_tells(0, 0, 0);
        assert_eq!(sample(&machine, "lockstepd_last_drain_duration_seconds"), None);
        for restarts in 1..=2 {
            restart(&machine);
            assert_tells(3 * restarts, restarts, 0);
            let seconds = sample(&machine, "lockstepd_last_drain_duration_seconds").unwrap();
            assert!((0.0..5.0).contains(&seconds), "{seconds} s");
            assert_eq!(sample(&machine, "lockstepd_last_drain_requests_cut_off"), Some(0.0));
        }

        let _download = begin_download(50);
        let pid = machine.property("lockstepd", "MainPID");
        thread::scope(|scope| {
            let restart = scope.spawn(|| restart(&machine));
            let on = |entry: &serde_json::Value| message(entry).starts_with("serving on");
            machine.wait_for_journal("serving on", &["-u", "lockstepd"], on);
            // More signals, from somebody who does not want to wait: one that comes too soon is none.
            let insist = format!("for i in $(seq 300); do kill {pid} || exit 0; sleep 0.1; done");
            machine.sh(&insist).ok();
            restart.join().unwrap();
        });
        // The three that were idle went along.
        assert_tells(9, 2, 1);
        assert_eq!(sample(&machine, "lockstepd_last_drain_requests_cut_off"), Some(1.0));
        let status = machine.get("http://localhost:9091/status");
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["hand_over"]["requests_cut_off"], 1);
        assert!(status["hand_over"]["drain_seconds"].as_f64().unwrap() > 0.0);
        assert!(clients.iter().all(|client| ask(client).is_some()));
    });
}

#[test]
fn a_long_download_completes_while_everybody_else_is_served() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "download");
    let load = Load { requests: vec![REQUEST.to_vec()], ..Load::on(public()) };
    let report = under_load(&machine, &load, |control| {
        machine.in_network(|| {
            let mut download = connect(PUBLIC);
            download
                .write_all(
                    b"GET /download?seconds=10 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                )
                .unwrap();
            let mut lines = BufReader::new(&*download).lines().map(Result::unwrap);
            assert!(lines.any(|line| line.is_empty()), "the download has begun");
            thread::scope(|scope| {
                let restart = scope.spawn(|| restart(&machine));
                let on = |entry: &serde_json::Value| message(entry).starts_with("serving on");
                machine.wait_for_journal("serving on", &["-u", "lockstepd"], on);
                let before = control.answers();
                wait_until("many answers meanwhile", PATIENCE, || control.answers() > before + 64);
                assert!(!restart.is_finished(), "the download holds the restart back");
                // Chunked: the length of each piece, in hexadecimal, and the piece.
                let piece = |number: u32| {
                    [
                        format!("{:x}", number.to_string().len() + 1),
                        number.to_string(),
                        String::new(),
                    ]
                };
                let end = ["0".to_owned(), String::new()];
                let expected = (1..=100).flat_map(piece).chain(end);
                assert_eq!(lines.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
                restart.join().unwrap();
            });
        });
    });
    // With --nocapture: the slowest answer that the others saw.
    println!("beside a download of 10 s: {report}");
    assert_unnoticed(&report, &load);
}

/// Lets the daemon bind its sockets by itself.
#[track_caller]
fn without_socket_units(machine: &Machine) {
    machine.sh(
        "systemctl stop lockstepd.socket lockstepd-admin.socket lockstepd
        mkdir -p /etc/systemd/system/lockstepd.service.d
        cp /usr/src/lockstepd/packaging/drop-ins/no-sockets.conf /etc/systemd/system/lockstepd.service.d/
        systemctl mask lockstepd.socket lockstepd-admin.socket
        systemctl start lockstepd",
    )
    .ok();
}

#[test]
fn a_service_without_socket_units_keeps_its_port_and_its_connections() {
    let Some(machine) = machine() else { return };
    without_socket_units(&machine);
    let load = Load::on(public());
    let report = under_load(&machine, &load, |control| {
        for _ in 0..10 {
            let before = control.answers();
            // Whoever connects during the restart waits in the queue of a port that stays open.
            machine.in_network(|| {
                thread::scope(|scope| {
                    let restart = scope.spawn(|| restart(&machine));
                    while !restart.is_finished() {
                        assert!(ask(&connect(PUBLIC)).is_some(), "a new client is served");
                    }
                });
            });
            wait_until("answers after the restart", PATIENCE, || control.answers() > before + 64);
        }
    });
    assert_unnoticed(&report, &load);
}

#[test]
fn a_changed_address_closes_the_old_port() {
    let Some(machine) = machine() else { return };
    without_socket_units(&machine);
    machine.write("/etc/lockstepd/lockstepd.toml", "[public]\nlisten = [\"0.0.0.0:9099\"]\n");
    restart(&machine);
    let listening = || machine.run("ss", &["-Hltn"]).ok();
    assert!(listening().contains(":9099"), "{}", listening());
    // systemd closes its own copy when it gets round to it.
    wait_until("the old port is closed", PATIENCE, || !listening().contains(":9090"));
}

#[test]
fn clients_of_a_unix_socket_notice_nothing_either() {
    let Some(machine) = machine() else { return };
    machine.write(
        "/etc/systemd/system/lockstepd.socket.d/unix.conf",
        "[Socket]\nListenStream=\nListenStream=/run/public.sock\n",
    );
    machine.sh("systemctl daemon-reload; systemctl restart lockstepd.socket").ok();
    let path = machine.root().outside("/run/public.sock");
    let load = Load::on(Server::Unix(path));
    let report = under_load(&machine, &load, |control| {
        for _ in 0..10 {
            let before = control.answers();
            restart(&machine);
            wait_until("answers after the restart", PATIENCE, || control.answers() > before + 64);
        }
    });
    assert_unnoticed(&report, &load);
}

#[test]
fn a_successor_with_a_bad_configuration_leaves_clients_a_clean_close_and_nothing_behind() {
    let Some(machine) = machine() else { return };
    machine.in_network(|| {
        let client = connect(PUBLIC);
        ask(&client).unwrap();
        machine.write("/etc/lockstepd/lockstepd.toml", "nonsense = 1\n");
        assert_ne!(machine.run("systemctl", &["restart", "lockstepd"]).code, 0);
        assert_eq!((&*client).read(&mut [0]).unwrap(), 0, "an end of file, not a reset");
        wait_until("an empty store", PATIENCE, || {
            machine.property("lockstepd", "NFileDescriptorStore") == "0"
        });
        machine.write("/etc/lockstepd/lockstepd.toml", "");
        machine.run("systemctl", &["start", "lockstepd"]).ok();
        ask(&connect(PUBLIC)).expect("the next good start serves");
    });
}

#[test]
fn a_second_restart_while_the_first_drains_fails_nothing() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "download");
    let load = Load { requests: vec![REQUEST.to_vec()], ..Load::on(public()) };
    let report = under_load(&machine, &load, |_| {
        machine.in_network(|| {
            let _download = begin_download(2);
            thread::scope(|scope| {
                scope.spawn(|| restart(&machine));
                let on = |entry: &serde_json::Value| message(entry).starts_with("serving on");
                machine.wait_for_journal("serving on", &["-u", "lockstepd"], on);
                restart(&machine);
            });
        });
    });
    assert_unnoticed(&report, &load);
}

#[test]
fn a_crash_of_a_member_hands_connections_to_the_process_after_it() {
    let Some(machine) = machine() else { return };
    machine.in_network(|| {
        let (client, mut admin) = (connect(PUBLIC), connect(ADMIN));
        ask(&client).unwrap();
        admin.write_all(b"GET /listener?fail=drill HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(answer(&admin).unwrap().ends_with("listener!!\n"));
        assert!(ask(&client).unwrap().ends_with("running...\n"));
        let takes = |entry: &serde_json::Value| message(entry).starts_with("took connections over");
        machine.wait_for_journal("the successor", &["-u", "lockstepd"], takes);
    });
}

#[test]
fn a_requested_stop_stores_nothing_and_ends_connections() {
    let Some(machine) = machine() else { return };
    machine.in_network(|| {
        let (client, mut admin) = (connect(PUBLIC), connect(ADMIN));
        ask(&client).unwrap();
        admin.write_all(b"GET /listener?stop=enough HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(answer(&admin).unwrap().ends_with("listener!!\n"));
        assert_eq!((&*client).read(&mut [0]).unwrap(), 0, "an end of file, not a reset");
    });
    assert_eq!(machine.property("lockstepd", "Result"), "success");
}

/// Lets systemd keep that many descriptors, and asserts that the last request of a connection is
/// answered, since the connection is not kept.
#[track_caller]
fn assert_last_answer(machine: &Machine, store: u32) {
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/store.conf",
        format!("[Service]\nFileDescriptorStoreMax={store}\nEnvironment=LOCKSTEPD_LINGER=30s\n"),
    );
    machine.run("systemctl", &["daemon-reload"]).ok();
    // A manager that tells the size of its store does so at the start.
    restart(machine);
    let mark = machine.journal_mark();
    machine.in_network(|| {
        let mut client = connect(PUBLIC);
        ask(&client).unwrap();
        // On its way, however long the rest takes.
        client.write_all(&REQUEST[..17]).unwrap();
        thread::scope(|scope| {
            let restart = scope.spawn(|| restart(machine));
            let ends =
                |entry: &serde_json::Value| message(entry).starts_with("connections end here");
            let entry = machine.wait_for_journal("the end", &["-u", "lockstepd", &mark], ends);
            assert!(message(&entry).ends_with(&format!("at least {})", store + 1)));
            // What is told first is done next; until then a request is one like any other.
            client.write_all(&REQUEST[17..]).unwrap();
            let mut last = answer(&client).unwrap();
            while !last.to_lowercase().contains("connection: close") {
                last = ask(&client).unwrap();
            }
            restart.join().unwrap();
        });
        ask(&connect(PUBLIC)).expect("new clients are served by the successor");
    });
}

#[test]
fn without_a_store_a_request_that_is_on_its_way_is_answered_with_connection_close() {
    let Some(machine) = machine() else { return };
    assert_last_answer(&machine, 0);
}

#[test]
fn with_a_full_store_a_request_that_is_on_its_way_is_answered_with_connection_close() {
    let Some(machine) = machine() else { return };
    without_socket_units(&machine);
    assert_last_answer(&machine, 2);
}

#[test]
fn sigusr2_replaces_the_program_under_systemd() {
    let Some(machine) = machine() else { return };
    let load = Load::on(public());
    let report = under_load(&machine, &load, |control| {
        let pid = machine.main_pid("lockstepd");
        for _ in 0..5 {
            let (mark, before) = (machine.journal_mark(), control.answers());
            machine
                .run("systemctl", &["kill", "--signal=USR2", "--kill-whom=main", "lockstepd"])
                .ok();
            let ready = |entry: &serde_json::Value| message(entry).starts_with("ready");
            machine.wait_for_journal("the new program", &["-u", "lockstepd", &mark], ready);
            wait_until("answers of it", PATIENCE, || control.answers() > before + 64);
        }
        assert_eq!(machine.main_pid("lockstepd"), pid);
        wait_until("running", Duration::from_secs(10), || {
            machine.property("lockstepd", "SubState") == "running"
        });
    });
    assert_unnoticed(&report, &load);
}

#[test]
fn sigusr2_minds_no_address_in_whose_place_systemd_has_opened_a_socket() {
    let Some(machine) = machine() else { return };
    machine.write(
        "/etc/lockstepd/lockstepd.toml",
        "[public]\nlisten = [\"0.0.0.0:9191\"]\n[admin]\nlisten = [\"127.0.0.1:9191\"]\n",
    );
    machine.in_network(|| ask(&connect(PUBLIC)).unwrap());
    let mark = machine.journal_mark();
    machine.run("systemctl", &["kill", "--signal=USR2", "--kill-whom=main", "lockstepd"]).ok();
    let outcome = machine.wait_for_journal("its end", &["-u", "lockstepd", &mark], |entry| {
        ["ready", "not upgraded"].iter().any(|text| message(entry).starts_with(text))
    });
    assert!(message(&outcome).starts_with("ready"), "{outcome}");
}
