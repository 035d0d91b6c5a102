//! An application behind the daemon, with the units of `make-units.sh --proxy`: who starts and stops whom.

mod restarts;

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use crate::support::{Client, Machine, PATIENCE, example, get, wait_until};

/// Where clients come in.
const PUBLIC: &str = "127.0.0.1:8080";
const DAEMON: &str = "lockstepd@shop";
const MAKE: &str = "/usr/src/lockstepd/packaging/make-units.sh";
const EXECUTED: &str = "/var/lib/shop/executed";

/// A machine with the units of an application that SIGTERM ends at once, their sockets open, and lines in the daemon's configuration: before `[public]`, and behind
/// `[proxy]`.
fn machine(daemon: &str, proxy: &str) -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.install();
    machine.copy_in(example("application"), "/usr/local/bin/application");
    // Where there is a configuration it is kept.
    let public = "[public]\nproxy = \"unix:/run/shop/app.sock\"";
    machine.write("/etc/lockstepd/shop.toml", format!("{daemon}\n{public}\n[proxy]\n{proxy}\n"));
    machine
        .write("/etc/systemd/system/shop.service.d/test.conf", "[Service]\nStateDirectory=shop\n");
    machine
        .sh(&format!(
            "UNITDIR=/etc/systemd/system {MAKE} --proxy shop {PUBLIC} \
             /usr/local/bin/application unix:/run/shop/app.sock {EXECUTED}
             systemctl daemon-reload
             systemctl start lockstepd@shop.socket lockstepd-admin@shop.socket"
        ))
        .ok();
    Some(machine)
}

/// The states of the daemon and of the application.
fn states(machine: &Machine) -> [String; 2] {
    [DAEMON, "shop"].map(|unit| machine.property(unit, "ActiveState"))
}

fn wait_for_states(machine: &Machine, state: &str) {
    let what = format!("daemon and application are {state}");
    wait_until(&what, PATIENCE, || states(machine) == [state; 2]);
}

fn application_pid(machine: &Machine) -> String {
    machine.property("shop", "MainPID")
}

fn is_answered(machine: &Machine) {
    machine.in_network(|| assert_eq!(get(PUBLIC, "/").body, "Hello -\n"));
}

#[test]
fn the_first_client_starts_both_and_nobody_else_can_connect_to_the_application() {
    let Some(machine) = machine("", "") else { return };
    assert_eq!(states(&machine), ["inactive"; 2]);
    is_answered(&machine);
    wait_for_states(&machine, "active");
    let other = "setpriv --reuid 1001 --regid 1001 --clear-groups \
                 curl -sS --unix-socket /run/shop/app.sock http://localhost/";
    let output = machine.sh(other);
    assert!(output.code != 0 && output.stderr.contains("connect"), "{output}");
}

#[test]
fn the_daemon_in_front_of_an_application_has_no_more_exposure_than_without() {
    let Some(machine) = machine("", "") else { return };
    let said =
        machine.sh("systemd-analyze verify --man=no shop.service lockstepd@shop.service 2>&1").ok();
    assert!(!said.contains("shop"), "{said}");
    let exposure = |unit: &str| -> f32 {
        let report = machine.run("systemd-analyze", &["security", unit]).ok();
        let level = report.rsplit(&format!("exposure level for {unit}: ")).next();
        level.and_then(|text| text.split(' ').next()?.parse().ok()).expect("a number")
    };
    let level = exposure("lockstepd@shop.service");
    assert!(level <= 0.4, "{level}");
    let level = exposure("shop.service");
    assert!(level <= 4.5, "{level}");
    is_answered(&machine);
    let warnings = machine.journal(&["--priority=warning", "_PID=1"]);
    assert!(warnings.is_empty(), "{warnings:#?}");
}

#[test]
fn the_idle_exit_stops_both_and_the_next_client_is_answered() {
    let Some(machine) = machine("idle_exit = \"100ms\"", "") else { return };
    for _ in 0..3 {
        is_answered(&machine);
        wait_for_states(&machine, "inactive");
    }
    // The application's end has not started the daemon again through its admin socket.
    let starts = machine.journal(&["-u", DAEMON, "MESSAGE_ID=5e2700f102b9401ba53ee1deced92e49"]);
    assert_eq!(starts.len(), 3, "{starts:#?}");
}

#[test]
fn an_application_that_is_started_alone_brings_the_daemon_that_needs_it() {
    let Some(machine) = machine("", "") else { return };
    machine.systemctl(&["start", "shop"]).ok();
    wait_for_states(&machine, "active");
    machine.systemctl(&["stop", DAEMON]).ok();
    wait_for_states(&machine, "inactive");
}

#[test]
fn answers_and_tunnels_in_progress_keep_both_from_stopping() {
    let Some(machine) = machine("idle_exit = \"300ms\"", "") else { return };
    for (request, begin) in [
        ("GET /stream?n=2&ms=1000 HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
        ("GET /events?ms=600 HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
        ("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "101"),
    ] {
        let mut client = machine.in_network(|| TcpStream::connect(PUBLIC).unwrap());
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut bytes = [0; 12];
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes[9..], begin.as_bytes(), "{request}");
        wait_for_states(&machine, "active");
        // Twice as long as the daemon has patience with nothing.
        thread::sleep(Duration::from_millis(600));
        assert_eq!(states(&machine), ["active"; 2], "{request}");
        drop(client);
        wait_for_states(&machine, "inactive");
    }
}

#[test]
fn a_stopped_application_has_its_requests_wait_and_then_answered_with_503() {
    let Some(machine) = machine("", "wait = \"200ms\"") else { return };
    is_answered(&machine);
    wait_for_states(&machine, "active");
    machine.systemctl(&["stop", "shop"]).ok();
    let answer = machine.in_network(|| get(PUBLIC, "/"));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    assert_eq!(states(&machine), ["active", "inactive"]);
    machine.systemctl(&["start", "shop"]).ok();
    // It is started before it listens, and 200 ms may not be enough.
    wait_until("it is back", PATIENCE, || machine.in_network(|| get(PUBLIC, "/").status == 200));
}

#[test]
fn a_request_waits_for_the_start_of_a_stopped_application() {
    let Some(machine) = machine("", "wait = \"1m\"") else { return };
    is_answered(&machine);
    wait_for_states(&machine, "active");
    machine.systemctl(&["stop", "shop"]).ok();
    let mut client = machine.in_network(|| Client::connect(PUBLIC));
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nX-Id: late\r\n\r\nab");
    let admin = "curl -sS --unix-socket /run/lockstepd-admin@shop.sock http://localhost/status";
    wait_until("the request waits", PATIENCE, || {
        machine.sh(admin).stdout.contains("\"waiting_requests\":1")
    });
    machine.systemctl(&["start", "shop"]).ok();
    assert_eq!(client.response("POST").body, "Hello late\n");
    assert_eq!(machine.read(EXECUTED).matches(" late 2").count(), 1);
}
