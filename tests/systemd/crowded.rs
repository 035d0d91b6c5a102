//! Hand-overs of as many connections as there may be, and of more than the kernel takes.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    process,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{Machine, PATIENCE, message, wait_until};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Clients of each of several daemons, with which one user has more descriptors in flight than it may.
const CLIENTS: usize = 900;

/// Asks for `/`; tells whether the answer came, and whether the connection stays.
fn ask(mut stream: impl Read + Write) -> Option<bool> {
    stream.write_all(REQUEST).ok()?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"running...\n") {
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(length) => answer.extend(&buffer[..length]),
        }
    }
    let answer = String::from_utf8(answer).expect("an answer is text");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Some(!answer.to_lowercase().contains("\r\nconnection: close\r\n"))
}

/// Lets this process have as many descriptors as it may.
fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("it may be raised");
}

/// Starts instances that are one user's and may have 1,024 descriptors; each waits at its start until
/// there is `/run/go-INSTANCE`. The user is nobody else's, in other machines neither: it is the kernel
/// that counts.
fn instances(machine: &Machine, names: &[&str]) {
    let user = format!("lockstepd-{}-{}", names[0], process::id() % 1000);
    machine.write(
        "/etc/systemd/system/lockstepd@.service.d/test.conf",
        format!(
            "[Service]\nUser={user}\nLimitNOFILE=1024\n\
             ExecStartPre=/bin/sh -c 'until [ -e /run/go-%i ]; do sleep 0.01; done'\n"
        ),
    );
    machine.systemctl(&["daemon-reload"]).ok();
    for name in names {
        machine.write(&format!("/etc/lockstepd/{name}.toml"), "");
        machine.sh(&format!("touch /run/go-{name}")).ok();
        machine.systemctl(&["start", &format!("lockstepd@{name}")]).ok();
    }
}

fn socket(machine: &Machine, name: &str) -> PathBuf {
    machine.root().outside(&format!("/run/lockstepd@{name}.sock"))
}

/// Clients of an instance that have been answered once.
fn clients(machine: &Machine, name: &str) -> Vec<UnixStream> {
    let connect = || {
        let stream = UnixStream::connect(socket(machine, name)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
    assert!(clients.iter().all(|client| ask(client) == Some(true)));
    clients
}

/// The number of connections in the last event of an instance with this text; zero if there is none.
fn told(machine: &Machine, name: &str, text: &str) -> usize {
    let entries = machine.journal(&["-u", &format!("lockstepd@{name}")]);
    let entry = entries.iter().rfind(|entry| message(entry).starts_with(text));
    let count = entry.and_then(|entry| entry["CONNECTIONS"].as_str());
    count.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn a_daemon_with_as_many_connections_as_it_may_have_hands_over_all_of_them() {
    let Some(machine) = Machine::boot() else { return };
    raise_limit();
    machine.install();
    let limit = "[Service]\nLimitNOFILE=14000\n";
    machine.write("/etc/systemd/system/lockstepd.service.d/test.conf", limit);
    machine.systemctl(&["daemon-reload"]).ok();
    machine.systemctl(&["start", "lockstepd"]).ok();
    let status = machine.get("http://localhost:9091/status");
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let max = status["servers"][0]["max_connections"].as_u64().unwrap();
    assert!((13_900..14_000).contains(&max), "{max}");
    machine.in_network(|| {
        let connect = |port| {
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        let clients: Vec<_> = (0..max).map(|_| connect(9090)).collect();
        assert!(clients.iter().all(|client| ask(client) == Some(true)));
        // The admin server has all of its own as well.
        let operators: Vec<_> = (0..16).map(|_| connect(9091)).collect();
        for mut operator in &operators {
            operator.write_all(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            assert!(operator.read(&mut [0; 1024]).unwrap() > 0);
        }
        machine.systemctl(&["restart", "lockstepd"]).ok();
        let stay = clients.iter().filter(|client| ask(*client) == Some(true)).count();
        assert_eq!(stay as u64, max);
    });
    let entries = machine.journal(&["-u", "lockstepd"]);
    let count = |text: &str| {
        let entry = entries.iter().find(|entry| message(entry).starts_with(text));
        entry.unwrap_or_else(|| panic!("{entries:#?}"))["CONNECTIONS"].as_str().unwrap().to_owned()
    };
    assert_eq!(count("handed connections over"), (max + 16).to_string());
    assert_eq!(count("took connections over"), (max + 16).to_string());
}

#[test]
fn of_more_connections_than_may_be_in_flight_some_are_handed_over_and_the_rest_end_in_order() {
    let Some(machine) = Machine::boot() else { return };
    raise_limit();
    machine.install();
    instances(&machine, &["one", "two"]);
    let (first, second) = (clients(&machine, "one"), clients(&machine, "two"));

    // As long as the next process of the one does not start, its connections are in flight.
    machine.sh("rm /run/go-one").ok();
    machine.systemctl(&["restart", "--no-block", "lockstepd@one"]).ok();
    wait_until("the one has handed over", PATIENCE, || {
        told(&machine, "one", "handed connections over") == CLIENTS
    });

    // In place, whoever has no room can stay where they are.
    machine.systemctl(&["kill", "--kill-whom=main", "-s", "USR2", "lockstepd@two"]).ok();
    let refused = |entry: &serde_json::Value| message(entry).starts_with("not upgraded");
    let entry = machine.wait_for_journal("the refusal", &["-u", "lockstepd@two"], refused);
    let error = entry["ERROR"].as_str().unwrap();
    assert!(error.contains("LimitNOFILE="), "{error}");
    assert!(second.iter().all(|client| ask(client) == Some(true)));

    machine.systemctl(&["restart", "lockstepd@two"]).ok();
    let handed_over = told(&machine, "two", "handed connections over");
    let left = told(&machine, "two", "not all connections could be handed over");
    assert!(handed_over > 0 && left > 0, "{handed_over} and {left}");
    assert_eq!(handed_over + left, CLIENTS);
    assert_eq!(told(&machine, "two", "took connections over"), handed_over);
    let stay = second.iter().filter(|client| ask(*client) == Some(true)).count();
    assert_eq!(stay, handed_over);

    machine.sh("touch /run/go-one").ok();
    wait_until("the one is there again", PATIENCE, || {
        machine.property("lockstepd@one", "ActiveState") == "active"
    });
    assert!(first.iter().all(|client| ask(client) == Some(true)));
}

#[test]
fn three_daemons_of_one_user_that_restart_together_account_for_every_connection() {
    let Some(machine) = Machine::boot() else { return };
    raise_limit();
    machine.install();
    let names = ["red", "green", "blue"];
    instances(&machine, &names);
    let crowds = names.map(|name| (name, clients(&machine, name)));
    let units = names.map(|name| format!("lockstepd@{name}"));
    machine.systemctl(&["restart", &units[0], &units[1], &units[2]]).ok();
    for (name, crowd) in crowds {
        let handed_over = told(&machine, name, "handed connections over");
        let left = told(&machine, name, "not all connections could be handed over")
            + told(&machine, name, "cannot reach the service manager's descriptor store");
        // With --nocapture: how many had room.
        println!("{name}: {handed_over} handed over, {left} ended");
        assert_eq!(handed_over + left, CLIENTS, "{name}");
        let stay = crowd.iter().filter(|client| ask(*client) == Some(true)).count();
        assert_eq!(stay, handed_over, "{name}");
    }
}
