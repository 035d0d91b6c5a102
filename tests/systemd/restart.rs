//! A restart that no client notices: keep-alive clients that never retry, across `systemctl restart`.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use crate::support::{Control, Load, Machine, PATIENCE, Report, Server, message, wait_until};

/// The public server's address inside.
pub(crate) fn public() -> Server {
    Server::Tcp(SocketAddr::from(([127, 0, 0, 1], 9090)))
}

/// A machine with the daemon installed and its sockets open.
pub(crate) fn machine() -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.install();
    machine.run("systemctl", &["start", "lockstepd.socket", "lockstepd-admin.socket"]).ok();
    Some(machine)
}

/// Runs `load` while `meanwhile` happens, from its first answer on.
pub(crate) fn under_load(
    machine: &Machine,
    load: &Load,
    meanwhile: impl FnOnce(&Control),
) -> Report {
    let control = Control::default();
    thread::scope(|scope| {
        let crowd = scope.spawn(|| machine.in_network(|| load.run(&control)));
        let stop = StopOnDrop(&control);
        let all = load.clients as u64;
        wait_until("every client has its first answer", PATIENCE, || control.answers() >= all);
        meanwhile(&control);
        drop(stop);
        crowd.join().expect("the crowd does not panic")
    })
}

/// Ends the crowd even if the test fails meanwhile.
struct StopOnDrop<'c>(&'c Control);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Lets the units run an example instead of the daemon.
pub(crate) fn run_example(machine: &Machine, name: &str) {
    let daemon = std::path::Path::new(env!("CARGO_BIN_EXE_lockstepd"));
    let example = daemon.with_file_name("examples").join(name);
    machine.copy_in(example, "/usr/local/bin/example");
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/example.conf",
        "[Service]\nExecStart=\nExecStart=/usr/local/bin/example\n",
    );
    machine.run("systemctl", &["daemon-reload"]).ok();
}

#[track_caller]
pub(crate) fn assert_unnoticed(report: &Report, load: &Load) {
    assert!(report.failures.is_empty(), "{report}\n{:#?}", report.failures);
    assert_eq!(
        report.connections,
        load.clients as u64 + report.told_to_close,
        "clients reconnected only when told to: {report}"
    );
}

#[test]
fn twenty_restarts_fail_no_request_of_thinking_clients() {
    let Some(machine) = machine() else { return };
    let load = Load::on(public());
    let report = under_load(&machine, &load, |control| {
        for _ in 0..20 {
            let before = control.answers();
            machine.run("systemctl", &["restart", "lockstepd"]).ok();
            // Every client has been served by this process before it is replaced.
            wait_until("answers after the restart", PATIENCE, || control.answers() > before + 64);
        }
    });
    assert_unnoticed(&report, &load);
    assert_eq!(report.told_to_close, 0, "{report}");
}

#[test]
fn twenty_restarts_fail_no_request_at_full_load() {
    let Some(machine) = machine() else { return };
    let load = Load { clients: 64, think: Duration::ZERO, ..Load::on(public()) };
    let report = under_load(&machine, &load, |control| {
        for _ in 0..20 {
            let before = control.answers();
            machine.run("systemctl", &["restart", "lockstepd"]).ok();
            wait_until("answers after the restart", PATIENCE, || control.answers() > before + 640);
        }
    });
    assert_unnoticed(&report, &load);
}

#[test]
fn descriptors_do_not_leak_over_fifty_restarts() {
    let Some(machine) = machine() else { return };
    let load = Load { clients: 8, ..Load::on(public()) };
    let mut before = (0, 0);
    let count = |machine: &Machine| {
        (machine.fd_count("lockstepd").unwrap_or(0), machine.manager_fd_count())
    };
    let report = under_load(&machine, &load, |_| {
        machine.run("systemctl", &["restart", "lockstepd"]).ok();
        before = count(&machine);
        for _ in 0..50 {
            machine.run("systemctl", &["restart", "lockstepd"]).ok();
        }
        // PID 1 closes what it has given back, and the connections of systemctl, when it gets round to it.
        let what = format!("the daemon and PID 1 have {before:?} descriptors again");
        wait_until(&what, PATIENCE, || count(&machine) == before);
    });
    assert_unnoticed(&report, &load);
    assert_eq!(machine.property("lockstepd", "NFileDescriptorStore"), "0");
}

#[test]
fn a_stop_ends_with_exit_3_and_tells_who_held_it_up_though_every_worker_is_blocked() {
    let Some(machine) = machine() else { return };
    run_example(&machine, "members");
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/members.conf",
        "[Service]\nExecStart=\nExecStart=/usr/local/bin/example 0.0.0.0:9090 127.0.0.1:9091 1s\n\
         StandardInputText=warm\n",
    );
    machine.run("systemctl", &["daemon-reload"]).ok();
    machine.run("systemctl", &["start", "lockstepd"]).ok();
    let _client = machine.in_network(|| {
        let mut client = TcpStream::connect("127.0.0.1:9090").unwrap();
        client.write_all(b"GET /block/all HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        client
    });
    let says_so = |entry: &serde_json::Value| message(entry) == "a handler blocks its thread";
    machine.wait_for_journal("the handler's word", &["-u", "lockstepd"], says_so);
    let pid = machine.property("lockstepd", "MainPID");
    machine.run("systemctl", &["restart", "lockstepd"]).ok();
    assert_ne!(machine.property("lockstepd", "MainPID"), pid);
    let ended = format!("{pid} ended with 3");
    let says_so = |entry: &serde_json::Value| {
        entry["_PID"] == *pid
            && message(entry).contains("ending the process")
            && entry["CULPRITS"].to_string().contains("a handler of")
            && entry["EXIT_CODE"] == "3"
    };
    machine.wait_for_journal(&ended, &["-u", "lockstepd"], says_so);
    let says_so = |entry: &serde_json::Value| message(entry).contains("code=exited, status=3");
    machine.wait_for_journal("systemd's word", &["-u", "lockstepd"], says_so);
}
