//! The examples, as their readers would run them: each with units from packaging/make-units.sh.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
};

use axum::extract::ws::close_code;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::{
    restart::{assert_unnoticed, under_load},
    support::{Control, Load, Machine, PATIENCE, Server, example, message, wait_until},
};

const PUBLIC: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

/// A machine with an application's units installed, and its sockets open.
pub(crate) fn machine_with(name: &str, binary: &Path, sockets: &[&str]) -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.copy_in(binary, &format!("/usr/local/bin/{name}"));
    machine
        .sh(&format!(
            "units=$(UNITDIR=/etc/systemd/system /usr/src/lockstepd/packaging/make-units.sh \
             {name} /usr/local/bin/{name} {})\n\
             systemd-analyze verify $units\n\
             systemctl daemon-reload\n\
             systemctl start {name}.socket",
            sockets.join(" "),
        ))
        .ok();
    Some(machine)
}

fn machine(name: &str, sockets: &[&str]) -> Option<Machine> {
    machine_with(name, &example(name), sockets)
}

/// A crowd that asks for `path`.
pub(crate) fn load(path: &str) -> Load {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let server = Server::Tcp(SocketAddr::from(PUBLIC));
    Load { clients: 16, requests: vec![request.into_bytes()], ..Load::on(server) }
}

/// What every service promises: the first client starts it, restarts fail nobody, and a stop is clean.
#[track_caller]
pub(crate) fn keeps_its_promises(machine: &Machine, unit: &str, load: &Load, restarts: usize) {
    machine.assert_properties(unit, &[("ActiveState", "inactive"), ("MainPID", "0")]);
    let report = under_load(machine, load, |control| {
        machine.wait_for_state(unit, "active");
        for _ in 0..restarts {
            restart(machine, unit, control);
        }
    });
    assert_unnoticed(&report, load);
    assert_eq!(report.told_to_close, 0, "{report}");
    stop(machine, unit);
}

fn restart(machine: &Machine, unit: &str, control: &Control) {
    let before = control.answers();
    machine.systemctl(&["restart", unit]).ok();
    // Every client has been served by this process before it is replaced.
    wait_until("answers after the restart", PATIENCE, || control.answers() > before + 32);
}

#[track_caller]
fn stop(machine: &Machine, unit: &str) {
    machine.systemctl(&["stop", unit]).ok();
    machine.assert_properties(
        unit,
        &[
            ("ActiveState", "inactive"),
            ("Result", "success"),
            ("ExecMainStatus", "0"),
            ("NRestarts", "0"),
        ],
    );
    let cut = machine.journal(&["MESSAGE_ID=c6432bb678b04903affcf0cac7a4694f"]);
    assert!(cut.is_empty(), "something was cut off: {cut:?}");
}

#[test]
fn minimal_keeps_its_promises() {
    let Some(machine) = machine("minimal", &["public=8080"]) else { return };
    keeps_its_promises(&machine, "minimal", &load("/"), 5);
}

#[test]
fn hyper_only_keeps_its_promises() {
    let Some(machine) = machine("hyper_only", &["public=127.0.0.1:8080"]) else { return };
    keeps_its_promises(&machine, "hyper_only", &load("/"), 5);
}

#[test]
fn two_servers_keeps_its_promises_and_is_ready_when_its_cache_is_warm() {
    let sockets = ["public=8080", "admin=127.0.0.1:8081"];
    let Some(machine) = machine("two_servers", &sockets) else { return };
    let load = load("/anything");
    let report = under_load(&machine, &load, |control| {
        // It serves from the beginning; whoever asks whether it is ready has to wait for the cache.
        machine.wait_for_state("two_servers", "active");
        assert_eq!(machine.get("http://localhost:8081/cache"), "3 things\n");
        restart(&machine, "two_servers", control);
        let metrics = machine.get("http://localhost:8081/metrics");
        assert!(metrics.contains("\nshop_visits_total "), "{metrics}");
        for (text, result) in [("10", "ok"), ("soon", "failed")] {
            machine.write("/etc/two_servers.conf", text);
            machine.systemctl(&["reload", "two_servers"]).ok();
            wait_until("the reload", PATIENCE, || {
                let counted = format!("lockstepd_reloads_total{{result=\"{result}\"}} 1\n");
                machine.get("http://localhost:8081/metrics").contains(&counted)
            });
        }
        let trouble = "not reloaded: invalid digit found in string";
        wait_until("the trouble in STATUS", PATIENCE, || {
            machine.property("two_servers", "StatusText").starts_with(trouble)
        });
    });
    assert_unnoticed(&report, &load);
    stop(&machine, "two_servers");
}

#[test]
fn worker_does_every_order_that_it_has_taken() {
    let Some(machine) = machine("worker", &["public=8080"]) else { return };
    let request = b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\ntea";
    // A worker takes 2 ms: not more clients than it can serve.
    let load = Load { clients: 4, requests: vec![request.to_vec()], ..load("/") };
    let report = under_load(&machine, &load, |control| {
        for _ in 0..5 {
            restart(&machine, "worker", control);
        }
    });
    assert_unnoticed(&report, &load);
    stop(&machine, "worker");
    let log = machine.journal(&["--unit=worker", "ORDER=tea"]);
    let done = log.iter().filter(|entry| message(entry).starts_with("done")).count();
    assert_eq!(done as u64, report.answers, "orders done, and orders taken");
}

#[test]
fn database_has_every_order_that_it_has_answered() {
    let Some(machine) = machine("database", &["public=8080"]) else { return };
    machine.sh("mkdir /etc/systemd/system/database.service.d").ok();
    let state = "[Service]\nStateDirectory=database\n";
    machine.write("/etc/systemd/system/database.service.d/state.conf", state);
    machine.systemctl(&["daemon-reload"]).ok();
    let request = b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\ntea";
    let load = Load { clients: 4, requests: vec![request.to_vec()], ..load("/") };
    let report = under_load(&machine, &load, |control| {
        machine.wait_for_state("database", "active");
        for _ in 0..5 {
            restart(&machine, "database", control);
        }
    });
    assert_unnoticed(&report, &load);
    let orders = machine.get("http://localhost:8080/orders");
    assert_eq!(orders, format!("{} orders\n", report.answers), "rows, and orders answered");
    stop(&machine, "database");
}

#[test]
fn a_database_that_cannot_be_opened_is_told_in_status_and_journal() {
    let Some(machine) = machine("database", &["public=8080"]) else { return };
    // There is no directory that it may write to.
    machine.sh("curl -s -m 5 localhost:8080/orders || true").ok();
    let cause = "set-up failed: cannot open orders.db: ";
    wait_until("the cause in STATUS", PATIENCE, || {
        machine.property("database", "StatusText").contains(cause)
    });
    machine.systemctl(&["stop", "database.socket", "database"]).ok();
    let told = machine.journal(&["MESSAGE_ID=393cbef64d4c47b1820077e29259c3b5"]);
    assert!(told.iter().any(|entry| entry["MEMBER"] == "set-up"), "{told:?}");
}

#[test]
fn sse_keeps_its_promises_beside_its_streams() {
    let Some(machine) = machine("sse", &["public=8080"]) else { return };
    keeps_its_promises(&machine, "sse", &load("/"), 5);
}

#[test]
fn sse_streams_end_with_the_drain_and_go_on_in_the_next_process() {
    let Some(machine) = machine("sse", &["public=8080"]) else { return };
    machine.in_network(|| {
        let mut last = 0;
        let pid = |machine: &Machine| machine.property("sse", "MainPID");
        for order in ["restart", "upgrade", "restart"] {
            let mut events = Events::after(last);
            last = events.next().expect("an event comes");
            let before = pid(&machine);
            match order {
                "restart" => machine.systemctl(&["restart", "sse"]).ok(),
                _ => machine.systemctl(&["kill", "--kill-who=main", "--signal=USR2", "sse"]).ok(),
            };
            let ordered_at = last;
            while let Some(number) = events.next() {
                assert_eq!(number, last + 1, "after {order}");
                // Five seconds' worth, where the drain time-out is twenty.
                assert!(number < ordered_at + 50, "the stream does not end at the {order}");
                last = number;
            }
            // The stream came whole: whoever reads it knows that this was its end.
            assert_eq!(pid(&machine) == before, order == "upgrade", "{order}");
        }
        let mut events = Events::after(last);
        assert_eq!(events.next(), Some(last + 1));
        thread::scope(|scope| {
            let stopped = scope.spawn(|| stop(&machine, "sse"));
            while events.next().is_some() {}
            stopped.join().expect("it stops cleanly");
        });
    });
    let taken = machine.journal(&["MESSAGE_ID=ff493ff0e52c43ab9ad1076ec36cce44"]);
    assert_eq!(taken.len(), 3, "each process but the first took connections over: {taken:?}");
}

/// The numbers of a stream of events.
struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// Asks as a browser does that has seen the event `last`.
    fn after(last: u64) -> Self {
        let mut stream = TcpStream::connect(SocketAddr::from(PUBLIC)).expect("its socket is open");
        stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        let head =
            format!("GET /events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {last}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the server reads");
        Self { lines: BufReader::new(stream) }
    }

    /// The next number; none if the stream has ended, which it has to do with its last chunk.
    fn next(&mut self) -> Option<u64> {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("the stream is not cut off");
            assert!(read > 0, "the connection ended before its stream");
            match line.trim_end() {
                "0" => return None,
                line => {
                    if let Some(number) = line.strip_prefix("data: beat ") {
                        return Some(number.parse().expect("events are numbered"));
                    }
                }
            }
        }
    }
}

#[test]
fn websocket_keeps_its_promises_beside_its_sockets() {
    let Some(machine) = machine("websocket", &["public=8080"]) else { return };
    keeps_its_promises(&machine, "websocket", &load("/"), 5);
}

#[test]
fn websockets_are_told_of_a_restart_an_upgrade_and_a_stop_and_have_time_to_answer() {
    let Some(machine) = machine("websocket", &["public=8080"]) else { return };
    let orders: [&[&str]; 3] = [
        &["restart", "websocket"],
        &["kill", "--kill-who=main", "--signal=USR2", "websocket"],
        &["stop", "websocket"],
    ];
    machine.in_network(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for order in orders {
            let mut socket = runtime.block_on(connect());
            runtime.block_on(echo(&mut socket, "still there"));
            let mark = machine.journal_mark();
            thread::scope(|scope| {
                let ordered = scope.spawn(|| machine.systemctl(order).ok());
                let code = runtime.block_on(goodbye(&mut socket));
                assert_eq!(code, close_code::RESTART, "{order:?}");
                ordered.join().expect("the order is carried out");
            });
            if order[0] != "stop" {
                let ready = |entry: &serde_json::Value| message(entry).starts_with("ready");
                machine.wait_for_journal("the next program", &["-u", "websocket", &mark], ready);
            }
        }
    });
    stop(&machine, "websocket");
}

type Socket = WebSocketStream<tokio::net::TcpStream>;

async fn connect() -> Socket {
    let stream = tokio::net::TcpStream::connect(SocketAddr::from(PUBLIC)).await;
    let stream = stream.expect("its socket is open");
    client_async("ws://localhost:8080/echo", stream).await.expect("it upgrades").0
}

async fn echo(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.expect("the server reads");
    let answer = socket.next().await.expect("it is open").expect("it answers");
    assert_eq!(answer, Message::text(text));
}

/// Waits for the server's goodbye and the end of the connection; answers its code.
async fn goodbye(socket: &mut Socket) -> u16 {
    let last = socket.next().await.expect("it is open").expect("it says goodbye");
    let Message::Close(Some(frame)) = last else { panic!("{last:?}") };
    // Reading on sends our own goodbye, and finds that the server has closed after it; or before, if
    // that comes late.
    let after = socket.next().await;
    assert!(!matches!(after, Some(Ok(_))), "after its goodbye comes {after:?}");
    frame.code.into()
}
