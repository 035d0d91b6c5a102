//! What the journal has of an application's own events: spans, values of every kind, odd names, long values.

use std::{collections::HashSet, thread};

use serde_json::Value;

use crate::{
    examples::machine_with,
    support::{Machine, example, message, skip},
};

const UNIT: &str = "--unit=talkative";

/// More than a datagram with the kernel's send buffer, twice over.
const LARGE: usize = 500_000;

/// Lines of a stream.
const MANY: usize = 50_000;

#[test]
fn an_event_has_the_fields_of_its_spans() {
    let Some(machine) = machine() else { return };
    let entry = ask(&machine, "/span", "SHEET=blue");
    for (field, value) in [
        ("MESSAGE", "printed sheet=blue"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "talkative"),
        ("TARGET", "talkative"),
        ("CODE_FILE", "tests/programs/talkative.rs"),
        ("ORDER_NUMBER", "7"),
        ("CUSTOMER", "Ada\nPRIORITY=0"),
        ("ATTEMPT", "2"),
        ("CAUSE", "no paper"),
    ] {
        assert_eq!(entry[field], value, "{field} in {entry}");
    }
    assert_eq!(entry["SPAN_NAME"].to_string(), r#"["outer","inner"]"#, "{entry}");
    assert!(entry["CODE_LINE"].as_str().is_some_and(|line| line.parse::<u32>().is_ok()), "{entry}");
    // The log's level leaves that span out.
    assert_eq!(entry["SECRET"], Value::Null, "{entry}");
}

#[test]
fn values_of_each_kind_are_written_as_they_read() {
    let Some(machine) = machine() else { return };
    let entry = ask(&machine, "/kinds", "TRUTH=true");
    let told = "a value of each kind text=\"two\\nPRIORITY=0\" bytes=\"[01 ff]\" integer=-3 \
                natural=18446744073709551615 large=-170141183460469231731687303715884105728 \
                larger=340282366920938463463374607431768211455 real=1.0 truth=true \
                error=\"an error\" debug=\"Some(\\\"x\\\")\" display=\"a=b\"";
    for (field, value) in [
        ("MESSAGE", told),
        ("MESSAGE_ID", "f1d0c1a5d15e4cd4b5e9ae0d9b9b1f3e"),
        ("PRIORITY", "4"),
        ("TEXT", "two\nPRIORITY=0"),
        ("BYTES", "[01 ff]"),
        ("INTEGER", "-3"),
        ("NATURAL", "18446744073709551615"),
        ("LARGE", "-170141183460469231731687303715884105728"),
        ("LARGER", "340282366920938463463374607431768211455"),
        ("REAL", "1.0"),
        ("ERROR", "an error"),
        ("DEBUG", "Some(\"x\")"),
        ("DISPLAY", "a=b"),
    ] {
        assert_eq!(entry[field], value, "{field} in {entry}");
    }
    assert_eq!(entry["ABSENT"], Value::Null, "{entry}");
}

#[test]
fn names_that_the_journal_does_not_accept_lose_no_entry_and_begin_none() {
    let Some(machine) = machine() else { return };
    let entry = ask(&machine, "/names", "PLAIN=yes");
    let long = "this.name.is.longer.than.the.sixty.four.characters.that.the.journal.accepts";
    for (field, value) in [
        ("WITH_DASH", "1"),
        ("PID", "not ours"),
        ("THIS_NAME_IS_LONGER_THAN_THE_SIXTY_FOUR_CHARACTERS_THAT_THE_JOUR", "3"),
        ("IN_SPAN", "kept"),
        ("PRIORITY", "6"),
        ("_SYSTEMD_UNIT", "talkative.service"),
    ] {
        assert_eq!(entry[field], value, "{field} in {entry}");
    }
    // Without a message of its own it is shown by its fields, those without a name in the journal too.
    let told = message(&entry);
    assert!(told.starts_with(" with-dash=1 _PID=\"not ours\" é=\"x\\n\\nPRIORITY=0\\n"), "{told}");
    assert!(told.ends_with(&format!(" 1st=2 {long}=3 plain=yes")), "{told}");
    let entries = machine.journal(&[UNIT]);
    let forged =
        entries.iter().find(|entry| message(entry) == "forged" || entry["PRIORITY"] == "0");
    assert!(forged.is_none(), "{forged:#?}");
}

#[test]
fn a_long_value_arrives_whole() {
    let Some(machine) = machine() else { return };
    for bytes in [100 << 10, LARGE, 3 << 20] {
        let entry = ask(&machine, &format!("/long/{bytes}"), &format!("BYTES={bytes}"));
        assert_eq!(entry["VALUE"].as_str(), Some(&*alphabet(bytes)), "all {bytes} bytes");
        let told = message(&entry);
        assert!(told.starts_with("a long value value=\"abc") && told.len() < 5000, "{told}");
        assert!(told.ends_with(&format!(" bytes={bytes}")), "{told}");
    }
}

#[test]
fn a_value_above_a_datagram_is_cut_visibly_where_memory_files_are_refused() {
    let Some(machine) = machine() else { return };
    let refuse =
        "mkdir /run/own; mount -t proc proc /run/own; echo 2 >/run/own/sys/vm/memfd_noexec";
    if machine.sh(refuse).code != 0 {
        return skip("the kernel has no vm.memfd_noexec");
    }
    let whole = ask(&machine, "/long/102400", "BYTES=102400");
    assert_eq!(whole["VALUE"].as_str(), Some(&*alphabet(102_400)));
    let cut = ask(&machine, &format!("/long/{LARGE}"), &format!("BYTES={LARGE}"));
    let value = cut["VALUE"].as_str().unwrap();
    let (begin, missing) = value.split_once("… (").expect("it says that it was cut");
    assert!(alphabet(LARGE).starts_with(begin) && begin.len() > 200_000, "{}", begin.len());
    assert_eq!(missing, format!("{} bytes more)", LARGE - begin.len()));
}

#[test]
fn a_journal_that_restarts_in_mid_stream_has_each_line_once_or_it_is_told_as_lost() {
    let Some(machine) = machine() else { return };
    machine.get("http://localhost:8080/");
    thread::scope(|scope| {
        let stream = scope.spawn(|| machine.get(&format!("http://localhost:8080/many/{MANY}")));
        // systemd starts no service more often than that.
        for _ in 0..4 {
            machine.systemctl(&["restart", "systemd-journald"]).ok();
        }
        assert!(!stream.is_finished(), "the restarts were in mid-stream");
    });
    // The stop writes what is in the queue.
    machine.systemctl(&["stop", "talkative.service"]).ok();
    let entries = machine.journal(&[UNIT, "TARGET=talkative"]);
    let numbers: HashSet<_> = entries.iter().map(|entry| entry["NUMBER"].to_string()).collect();
    assert_eq!(numbers.len(), entries.len(), "one is there twice");
    let warnings = machine.journal(&[UNIT, "-p", "warning"]);
    let told =
        warnings.iter().filter_map(|entry| message(entry).split_once(" log lines were lost"));
    let lost: usize = told.map(|(count, _)| count.parse::<usize>().unwrap()).sum();
    assert_eq!(numbers.len() + lost, MANY, "{} there, {lost} lost", numbers.len());
}

fn machine() -> Option<Machine> {
    machine_with("talkative", &example("talkative"), &["public=8080"])
}

/// Asks for an event, and waits for its entry.
#[track_caller]
fn ask(machine: &Machine, path: &str, selected: &str) -> Value {
    machine.get(&format!("http://localhost:8080{path}"));
    machine.wait_for_journal(path, &[UNIT, "--all", selected], |_| true)
}

fn alphabet(bytes: usize) -> String {
    ('a'..='z').cycle().take(bytes).collect()
}
