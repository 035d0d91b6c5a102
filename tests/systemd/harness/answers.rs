//! That what a machine answers is true, and that asking ends.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use crate::support::{Machine, Output, PATIENCE, message, wait_until};

#[test]
fn a_command_answers_with_code_and_both_outputs() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let output = machine.sh("echo out; echo err >&2; exit 3");
    let Output { code, stdout, stderr, .. } = &output;
    assert_eq!((*code, stdout.as_str(), stderr.as_str()), (3, "out\n", "err\n"));
    let message = panic_message(|| drop(output.ok()));
    assert!(message.contains("answered 3\n--- stdout\nout\n--- stderr\nerr"), "{message}");
    assert_eq!(machine.sh("kill -TERM $$").code, 128 + 15);
}

#[test]
fn a_hanging_command_is_killed_and_named() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let limit = Duration::from_secs(5);
    let script = "echo before; exec sleep infinity";
    let message = panic_message(|| drop(machine.run_for(limit, "sh", &["-c", script])));
    assert!(message.contains(&format!("`sh -c {script}` hung")), "{message}");
    assert!(message.contains("before"), "{message}");
    wait_until("the sleeper is gone", PATIENCE, || {
        machine.sh("! grep -lx sleep /proc/[0-9]*/comm").code == 0
    });
}

#[test]
fn a_background_process_does_not_hold_up_its_command() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    assert_eq!(machine.sh("sleep infinity & echo started").ok(), "started\n");
}

#[test]
fn more_output_than_a_pipe_holds_arrives() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    assert_eq!(machine.sh("yes | head -c 3000000").ok().len(), 3_000_000);
}

#[test]
fn absolute_links_do_not_lead_out_of_the_machine() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    machine.sh("mkdir /run/target; ln -s /run/target /etc/link").ok();
    machine.write("/etc/link/deep/file", "content");
    assert_eq!(machine.run("cat", &["/run/target/deep/file"]).ok(), "content");
    assert_eq!(machine.read("/run/../etc/link/deep/file"), "content");
}

#[test]
fn files_go_in_with_their_mode() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(&script, "#!/bin/sh\necho it runs\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    machine.copy_in(&script, "/opt/new/script");
    assert_eq!(machine.run("/opt/new/script", &[]).ok(), "it runs\n");
    assert!(machine.root().exists("/opt/new") && !machine.root().exists("/opt/old"));
}

#[test]
fn the_journal_is_followed_until_the_entry_comes() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    machine.sh("echo too early | systemd-cat --identifier=sh").ok();
    let mark = machine.journal_mark();
    let gate =
        "mkfifo /run/gate; systemd-run --unit=talker sh -c 'read line </run/gate; echo $line'";
    machine.sh(gate).ok();
    let entry = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            machine.wait_for_journal("the talker's word", &["--unit=talker"], |entry| {
                message(entry) == "the word"
            })
        });
        machine.sh("echo the word >/run/gate").ok();
        waiting.join().unwrap()
    });
    assert_eq!(entry["_SYSTEMD_UNIT"], "talker.service");
    let later = machine.journal(&[&mark, "--identifier=sh"]);
    assert_eq!(later.iter().map(message).collect::<Vec<_>>(), ["the word"]);
}

#[test]
fn a_service_shows_its_process_and_descriptors() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    assert_eq!(machine.main_pid("sleeper"), None);
    let sleeper = ["--unit=sleeper", "--service-type=exec", "sleep", "infinity"];
    machine.run("systemd-run", &sleeper).ok();
    let pid = machine.main_pid("sleeper").expect("it sleeps for ever");
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "sleep\n");
    assert_eq!(machine.pids("sleeper"), [pid]);
    assert_eq!(machine.fd_count("sleeper"), Some(3));
    assert!(machine.manager_fd_count() > 10);
}

#[test]
fn a_panic_in_the_network_arrives_at_the_test() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let message = panic_message(|| machine.in_network(|| panic!("{}", "what it said")));
    assert_eq!(message, "what it said");
}

fn panic_message(panics: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(panics)).expect_err("it panics");
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => (*panic.downcast::<&str>().expect("panics carry text")).to_owned(),
    }
}
