//! What a program awaits before it serves, and the ways to do so that fail by hand as they would under systemd.

use std::{io::Write, net::TcpListener};

use rustix::process::Signal;

use crate::support::{Client, Daemon, Ended, Launch, Manager, example, get};

/// The program `set_up`, its public address, and what it tells the service manager.
struct Program {
    daemon: Daemon,
    public: String,
    manager: Manager,
}

impl Program {
    fn launch(how: &str) -> Self {
        let (public, manager) = (Launch::free_address(), Manager::new());
        let launch = Launch::program(example("set_up")).args([how, &public]);
        let daemon = launch.with_input().notify(&manager).spawn();
        Self { daemon, public, manager }
    }

    /// Its set-up has begun.
    fn setting_up(how: &str) -> Self {
        let mut program = Self::launch(how);
        program.daemon.event("setting up");
        program
    }

    fn order(&mut self, order: &str) {
        writeln!(self.daemon.input(), "{order}").expect("the program reads");
    }

    /// Waits for the end; answers it with what the manager was told.
    fn end(self) -> (Ended, Vec<Vec<String>>) {
        (self.daemon.end(), self.manager.rest())
    }
}

#[test]
fn a_daemon_serves_what_its_set_up_adds() {
    let mut program = Program::setting_up("wait");
    program.order("go");
    program.daemon.event("ready");
    assert_eq!(get(&program.public, "/").body, "Hello\n");
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn the_service_manager_is_asked_to_wait_for_the_set_up() {
    let mut program = Program::setting_up("wait");
    let said = ["EXTEND_TIMEOUT_USEC=10000000", "STATUS=Setting up for 0 s"];
    assert_eq!(program.manager.next(), said);
    program.order("go");
    program.daemon.event("ready");
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn a_signal_ends_the_set_up_and_is_no_failure() {
    for how in ["wait", "block"] {
        for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
            let program = Program::setting_up(how);
            program.daemon.signal(signal);
            let (ended, said) = program.end();
            ended.assert(0, &["\"stopped\"", name]);
            assert!(said.contains(&vec![format!("STATUS=Stopped: {name}")]), "{how}: {said:?}");
        }
    }
}

#[test]
fn a_set_up_that_stops_the_daemon_binds_nothing_and_is_no_failure() {
    let mut program = Program::setting_up("wait");
    program.order("stop");
    let (ended, said) = program.end();
    ended.assert(0, &["\"stopped\"", "nothing to do"]);
    assert!(!ended.text().contains("\"ready\""), "{}", ended.text());
    assert!(
        said.contains(&vec!["STATUS=Stopped: stop requested: nothing to do".to_owned()]),
        "{said:?}"
    );
}

#[test]
fn an_error_or_a_panic_of_the_set_up_is_the_cause_of_the_stop() {
    for (order, cause) in [
        ("fail", "set-up failed: there is no database"),
        ("panic", "set-up panicked: there is no table"),
    ] {
        let mut program = Program::setting_up("wait");
        program.order(order);
        let (ended, said) = program.end();
        assert_eq!(ended.code, 1, "{}", ended.text());
        let stopping = ended.event("stopping");
        assert_eq!((&stopping["cause"], &stopping["level"]), (&cause.into(), &"ERROR".into()));
        assert_eq!(stopping["member"], "set-up");
        assert!(said.contains(&vec![format!("STATUS=Stopped: {cause}")]), "{said:?}");
        assert!(!said.iter().flatten().any(|line| line == "READY=1"), "{said:?}");
    }
}

#[test]
fn a_set_up_can_say_that_only_a_person_can_mend_it() {
    for (order, error) in [
        ("refuse", "\"there\" is no database's name"),
        ("other", "the set-up gave back another daemon than it was given"),
    ] {
        let mut program = Program::setting_up("wait");
        program.order(order);
        program.end().0.assert(78, &[error]);
    }
}

#[test]
fn a_dry_run_of_an_upgrade_has_a_set_up_too() {
    for (order, code, said) in [
        ("go", 0, "configuration is valid"),
        ("fail", 1, "set-up failed: there is no database"),
        ("refuse", 78, "is no database's name"),
    ] {
        let launch = Launch::program(example("set_up")).args(["wait", &Launch::free_address()]);
        let mut daemon = launch.with_input().env("LOCKSTEPD_CHECK", "carrier 5").spawn();
        writeln!(daemon.input(), "{order}").unwrap();
        daemon.end().assert(code, &[said]);
    }
}

#[test]
fn an_upgrade_in_place_keeps_the_connections_over_the_set_up() {
    let mut program = Program::setting_up("wait");
    program.order("go");
    program.daemon.event("ready");
    let mut client = Client::connect(&program.public);
    assert_eq!(client.request("GET", "/").body, "Hello\n");
    program.daemon.signal(Signal::USR2);
    // The dry run has nothing on its standard input, and goes on.
    program.daemon.event("setting up");
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    program.order("go");
    program.daemon.event("ready");
    assert_eq!(client.response("GET").body, "Hello\n");
    program.daemon.stop().assert(0, &[]);
}

#[test]
fn threads_before_the_daemon_are_refused_by_hand_as_under_systemd() {
    let public = Launch::free_address();
    let ended = Launch::program(example("set_up")).args(["threads", &public]).end();
    ended.assert(78, &["2 threads are running already", "Daemon::run_with"]);
    let listener = TcpListener::bind(Launch::free_address()).unwrap();
    let launch = Launch::program(example("set_up")).args(["threads", &public]);
    launch.inherit("public", listener).end().assert(78, &["2 threads are running already"]);
}

#[test]
fn a_runtime_before_the_daemon_is_warned_of_by_hand() {
    let launch = Launch::program(example("embedded")).args(["late", "127.0.0.1:0"]);
    let mut program = launch.spawn();
    let warned = "under a service manager that passes sockets this would not start";
    program.line("a warning", |line| line.contains(warned));
    program.line("that it serves", |line| line.starts_with("ready on "));
    program.signal(Signal::TERM);
    program.end().assert(0, &[]);
}

#[test]
fn without_a_log_one_line_tells_the_address_and_another_why_it_failed() {
    let mut program = Program::launch("silent");
    let serving =
        format!("lockstepd: serving public on {} (nothing else is logged", program.public);
    program.daemon.line("that it serves", |line| line.starts_with(&serving));
    program.order("out of paper");
    let (ended, _) = program.end();
    assert_eq!(ended.code, 1);
    assert_eq!(ended.log.last().unwrap(), "lockstepd: stopping: worker failed: out of paper");
    assert_eq!(ended.log.len(), 2, "{}", ended.text());
}
