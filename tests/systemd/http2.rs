//! Connections of HTTP/2 under systemd: they end in order at a restart, and those of HTTP/1.1 beside them go on.

use std::{thread, time::Duration};

use serde_json::Value;

use crate::support::{
    Client, Http2, Http2Load, Machine,
    http2::{ALL_STREAMS, GOAWAY, NO_ERROR, WINDOW_UPDATE},
    message,
};

const UNIT: &str = "--unit=lockstepd";
const PUBLIC: &str = "127.0.0.1:9090";
const HELLO: &str = "Hello, Serve is running...\n";

/// The setting of how much of each answer a client takes unasked, RFC 9113 section 6.5.2.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A machine whose daemon has these settings, and logs every request.
fn machine(settings: &str) -> Option<Machine> {
    let machine = Machine::with_sockets()?;
    log_all(&machine, settings);
    Some(machine)
}

/// Has the daemon log every request, with more settings.
pub(crate) fn log_all(machine: &Machine, settings: &str) {
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/test.conf",
        format!("[Service]\nEnvironment=LOCKSTEPD_ACCESS_LOG=all {settings}\n"),
    );
    machine.systemctl(&["daemon-reload"]).ok();
}

/// A client, and the stream of its request: the answer has begun, and the rest may not be sent.
fn in_flight(address: &str, path: &str) -> (Http2, u32) {
    let mut client = Http2::with_settings(address, &[(INITIAL_WINDOW_SIZE, 0)]);
    let stream = client.get(path);
    while !client.seen.iter().any(|frame| frame.stream == stream) {
        client.frame().expect("an answer begins");
    }
    (client, stream)
}

/// Stops the daemon, and its sockets, so that no client starts it again.
fn stop(machine: &Machine) {
    let sockets = ["lockstepd.socket", "lockstepd-admin.socket"];
    machine.systemctl(&["stop", sockets[0], sockets[1], "lockstepd"]).ok();
}

/// The process that has answered the request for this path, and the version of HTTP that the journal has of it.
fn answered(machine: &Machine, path: &str) -> (String, String) {
    let selected = format!("PATH={path}");
    let entry = machine.wait_for_journal("the request", &[UNIT, &selected], |_| true);
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    (text("_PID"), text("VERSION"))
}

/// Restarts the daemon while a stream is in flight to `address`: its client is told in two steps and has its answer
/// whole, from the process that has begun it; another, of HTTP/1.1, notices nothing.
pub(crate) fn restart_with_a_stream_in_flight(machine: &Machine, address: &str) {
    machine.in_network(|| {
        let mut kept = Client::connect(PUBLIC);
        assert_eq!(kept.request("GET", "/kept/before").status, 200);
        let (mut client, stream) = in_flight(address, "/stream");
        thread::scope(|scope| {
            let restart = scope.spawn(|| machine.systemctl(&["restart", "lockstepd"]).ok());
            let mut told = || {
                let told = client.wait_for(GOAWAY);
                (told.number(0), told.number(4))
            };
            assert_eq!(told(), (ALL_STREAMS, NO_ERROR));
            assert_eq!(told(), (stream, NO_ERROR));
            assert_eq!(kept.request("GET", "/kept/meanwhile").status, 200);
            client.send(WINDOW_UPDATE, 0, stream, &1000_u32.to_be_bytes());
            assert_eq!(client.answer(stream).text(), HELLO);
            assert_eq!(client.rest().len(), 2);
            restart.join().unwrap();
        });
        assert_eq!(kept.request("GET", "/kept/after").status, 200);
        let mut next = Http2::connect(address);
        let asked = next.get("/next");
        assert_eq!(next.answer(asked).text(), HELLO);
    });
    let [before, stream, meanwhile, after, next] =
        ["/kept/before", "/stream", "/kept/meanwhile", "/kept/after", "/next"]
            .map(|path| answered(machine, path));
    assert_eq!([&stream.1, &next.1, &before.1], ["HTTP/2", "HTTP/2", ""]);
    assert_eq!([&stream.0, &meanwhile.0], [&before.0; 2]);
    assert_eq!(next.0, after.0);
    assert_ne!(next.0, before.0);
    machine.assert_properties("lockstepd", &[("NRestarts", "0"), ("Result", "success")]);
}

#[test]
fn a_restart_waits_for_a_stream_and_its_client_goes_on_with_the_next_process() {
    let Some(machine) = machine("") else { return };
    restart_with_a_stream_in_flight(&machine, PUBLIC);
}

#[test]
fn ten_restarts_under_load_of_http2_leave_no_request_unanswered() {
    let Some(machine) = Machine::with_sockets() else { return };
    let unanswered = machine.in_network(|| {
        Http2Load::during(PUBLIC, |load| {
            for _ in 0..10 {
                load.goes_on();
                machine.systemctl(&["restart", "lockstepd"]).ok();
            }
            load.goes_on();
        })
    });
    assert_eq!(unanswered, [""; 0]);
}

#[test]
fn a_stop_does_not_wait_for_a_client_of_http2_that_says_nothing() {
    // Longer than a command may take here.
    let Some(machine) = machine("LOCKSTEPD_DRAIN_TIMEOUT=10m") else { return };
    let goaways = machine.in_network(|| {
        let mut client = Http2::connect(PUBLIC);
        let asked = client.get("/");
        assert_eq!(client.answer(asked).text(), HELLO);
        client.is_polite = false;
        stop(&machine);
        client.rest()
    });
    assert_eq!(goaways, [(ALL_STREAMS, NO_ERROR)]);
    machine.assert_properties("lockstepd", &[("Result", "success"), ("ExecMainStatus", "0")]);
}

#[test]
fn a_stop_cuts_a_stream_off_at_the_drain_timeout_and_the_journal_says_so() {
    let Some(machine) = machine("LOCKSTEPD_DRAIN_TIMEOUT=500ms") else { return };
    machine.in_network(|| {
        let (mut client, _) = in_flight(PUBLIC, "/stream");
        stop(&machine);
        client.rest();
    });
    machine.assert_properties("lockstepd", &[("ExecMainStatus", "3")]);
    let is_told = |entry: &Value| message(entry).starts_with("requests were cut off");
    let told = machine.wait_for_journal("the stream's end", &[UNIT], is_told);
    assert_eq!(told["REQUESTS"], "1", "{told}");
}

#[test]
fn a_stream_in_flight_keeps_the_daemon_from_its_idle_exit() {
    let Some(machine) = machine("LOCKSTEPD_IDLE_EXIT=200ms") else { return };
    machine.in_network(|| {
        let (mut client, stream) = in_flight(PUBLIC, "/stream");
        machine.wait_for_state("lockstepd", "active");
        // Three times as long as the daemon has patience with nothing.
        thread::sleep(Duration::from_millis(600));
        machine.assert_properties("lockstepd", &[("ActiveState", "active")]);
        assert_eq!(client.goaways(), []);
        client.send(WINDOW_UPDATE, 0, stream, &1000_u32.to_be_bytes());
        assert_eq!(client.answer(stream).text(), HELLO);
        assert_eq!(client.rest(), [(ALL_STREAMS, NO_ERROR), (stream, NO_ERROR)]);
    });
    machine.wait_for_state("lockstepd", "inactive");
}

#[test]
fn an_idle_exit_leaves_with_idle_http2_and_the_next_client_starts_the_daemon_again() {
    let Some(machine) = machine("LOCKSTEPD_IDLE_EXIT=200ms") else { return };
    machine.in_network(|| {
        let mut client = Http2::connect(PUBLIC);
        let asked = client.get("/first");
        assert_eq!(client.answer(asked).text(), HELLO);
        assert_eq!(client.rest(), [(ALL_STREAMS, NO_ERROR), (asked, NO_ERROR)]);
        let mut next = Http2::connect(PUBLIC);
        let asked = next.get("/next");
        assert_eq!(next.answer(asked).text(), HELLO);
    });
    assert_ne!(answered(&machine, "/first").0, answered(&machine, "/next").0);
    machine.wait_for_state("lockstepd", "inactive");
    machine.assert_properties("lockstepd", &[("Result", "success"), ("ExecMainStatus", "0")]);
}
