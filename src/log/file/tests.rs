//! The thread beside files that fail, wait and go away.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A file that does with each write what the test says; it takes everything once the test says nothing more.
struct Told {
    answers: Receiver<Answer>,
    written: Arc<Mutex<Vec<u8>>>,
    /// How often it cannot be prepared.
    refusals: u32,
}

enum Answer {
    Takes(usize),
    Fails(io::ErrorKind),
    Panics,
}

impl Output for Told {
    fn limit(&self) -> usize {
        1 << 20
    }

    fn refused(&mut self) -> Option<io::Error> {
        None
    }

    fn prepare(&mut self) -> io::Result<()> {
        let Some(left) = self.refusals.checked_sub(1) else { return Ok(()) };
        self.refusals = left;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn goes_on(&mut self, before: &Self) -> bool {
        Arc::ptr_eq(&self.written, &before.written)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = match self.answers.try_recv() {
            Ok(Answer::Takes(taken)) => taken.min(bytes.len()),
            Ok(Answer::Fails(kind)) => return Err(kind.into()),
            Ok(Answer::Panics) => panic!("this is a test"),
            Err(_) => bytes.len(),
        };
        self.written.lock().unwrap().extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn renewed(&self) -> Option<io::Result<Self>> {
        None
    }

    fn path(&self) -> &Path {
        Path::new("told")
    }
}

fn told() -> (Told, Sender<Answer>, Arc<Mutex<Vec<u8>>>) {
    let (tell, answers) = channel();
    let written = Arc::<Mutex<Vec<u8>>>::default();
    (Told { answers, written: Arc::clone(&written), refusals: 0 }, tell, written)
}

fn push<O: Output>(log: &FileLog<O>, line: &str) {
    assert_eq!(log.push(log.form(), format!("{line}\n").as_bytes()), Left::Taken);
}

/// Flushes one log; answers how many lines it did not write.
fn flush_one<O: Output>(log: &FileLog<O>) -> u64 {
    log.0.flush(Instant::now() + PATIENCE)
}

fn text(written: &Mutex<Vec<u8>>) -> String {
    String::from_utf8(written.lock().unwrap().clone()).unwrap()
}

#[test]
fn a_panic_of_the_thread_loses_no_line_and_repeats_none() {
    let log = FileLog::start().unwrap();
    let (file, tell, written) = told();
    for answer in [Answer::Takes(6), Answer::Panics, Answer::Panics] {
        tell.send(answer).unwrap();
    }
    log.switch(Some((file, 0)));
    for line in ["one", "two", "three"] {
        push(&log, line);
    }
    assert_eq!(flush_one(&log), 0);
    assert_eq!(text(&written), "one\ntwo\nthree\n");
}

#[test]
fn a_line_that_a_full_disk_took_in_part_is_completed_once_there_is_room() {
    let log = FileLog::start().unwrap();
    let (file, tell, written) = told();
    tell.send(Answer::Takes(6)).unwrap();
    tell.send(Answer::Fails(io::ErrorKind::StorageFull)).unwrap();
    log.switch(Some((file, 0)));
    push(&log, "one");
    push(&log, "two");
    // A flush does not wait for a disk that is full; the next one finds room.
    while flush_one(&log) > 0 {}
    assert_eq!(text(&written), "one\ntwo\n");
}

/// A log with two lines, of which the file has taken one and a half; and what it has taken.
fn on_a_disk_that_is_full() -> (FileLog<Told>, Arc<Mutex<Vec<u8>>>) {
    let log = FileLog::start().unwrap();
    let (full, tell, written) = told();
    tell.send(Answer::Takes(6)).unwrap();
    for _ in 0..1000 {
        tell.send(Answer::Fails(io::ErrorKind::StorageFull)).unwrap();
    }
    log.switch(Some((full, 0)));
    push(&log, "one");
    push(&log, "two");
    assert_eq!(flush_one(&log), 1);
    (log, written)
}

#[test]
fn what_a_full_disk_did_not_take_goes_to_the_file_of_a_reload_whole() {
    let (log, before) = on_a_disk_that_is_full();
    let (file, _tell, after) = told();
    log.switch(Some((file, 0)));
    push(&log, "three");
    while flush_one(&log) > 0 {}
    assert_eq!((&*text(&before), &*text(&after)), ("one\ntw", "two\nthree\n"));
}

#[test]
fn lines_before_a_reload_go_to_the_file_before_and_a_line_of_its_format_is_refused() {
    let log = FileLog::start().unwrap();
    let [(first, _one, before), (second, _other, after)] = [told(), told()];
    log.switch(Some((first, 0)));
    flush_one(&log);
    let form = log.form();
    push(&log, "one");
    log.switch(Some((second, 1)));
    assert_eq!(log.push(form, b"late\n"), Left::Outdated);
    assert_eq!((form.format(), log.form().format()), (Some(0), Some(1)));
    push(&log, "two");
    assert_eq!(flush_one(&log), 0);
    assert_eq!((&*text(&before), &*text(&after)), ("one\n", "two\n"));
    log.switch(None);
    assert_eq!(log.form().format(), None);
}

#[test]
fn of_two_reloads_in_a_row_the_second_has_the_lines_of_both() {
    let log = FileLog::start().unwrap();
    let [(first, _one, before), (second, _other, after)] = [told(), told()];
    // The thread cannot have seen the first.
    let mut state = log.0.state();
    state.next = Next::Changes(Some(first));
    state.waiting.push(b"one\n");
    drop(state);
    log.switch(Some((second, 0)));
    push(&log, "two");
    assert_eq!(flush_one(&log), 0);
    assert_eq!(text(&before) + &text(&after), "one\ntwo\n");
}

#[test]
fn what_is_left_is_written_when_the_log_is_dropped() {
    let log = FileLog::start().unwrap();
    let (file, _tell, written) = told();
    log.switch(Some((file, 0)));
    push(&log, "last");
    let shared = Arc::clone(&log.0);
    drop(log);
    assert_eq!(shared.flush(Instant::now() + PATIENCE), 0);
    assert_eq!(text(&written), "last\n");
}

#[test]
fn a_reader_that_stands_still_costs_lines_above_the_room_and_nobody_waits_for_it() {
    let log = FileLog::start().unwrap();
    let (_directory, path) = fifo();
    log.switch(Some((OpenFile::open(&path).unwrap(), 0)));
    let line = "x".repeat(1023);
    // More than the room and the pipe hold.
    let count = (17 << 20) / 1024;
    for _ in 0..count {
        push(&log, &line);
    }
    let lost = log.0.state().waiting.take_lost();
    assert!(lost > 0 && lost < count, "{lost}");
    let read = read_lines(&path, usize::try_from(count - lost).unwrap());
    assert!(read.join().unwrap().iter().all(|read| *read == line));
    assert_eq!(flush_one(&log), 0);
}

#[test]
fn two_processes_that_write_to_one_pipe_tear_no_line() {
    let (_directory, path) = fifo();
    let lines: Vec<_> = (0..2000).map(|length| "y".repeat(length % 3000)).collect();
    let logs = [FileLog::start().unwrap(), FileLog::start().unwrap()];
    for log in &logs {
        log.switch(Some((OpenFile::open(&path).unwrap(), 0)));
    }
    let read = read_lines(&path, 2 * lines.len());
    for line in &lines {
        for log in &logs {
            push(log, line);
        }
    }
    let mut read: Vec<_> = read.join().unwrap().iter().map(String::len).collect();
    let mut expected: Vec<_> = lines.iter().chain(&lines).map(String::len).collect();
    read.sort_unstable();
    expected.sort_unstable();
    assert_eq!(read, expected);
}

#[test]
fn what_a_file_took_of_a_line_is_completed_after_a_reload_that_opens_it_anew() {
    let (log, written) = on_a_disk_that_is_full();
    let (mut same, _tell, _) = told();
    same.written = Arc::clone(&written);
    log.switch(Some((same, 0)));
    push(&log, "three");
    while flush_one(&log) > 0 {}
    assert_eq!(text(&written), "one\ntwo\nthree\n");
}

#[test]
fn a_file_that_cannot_be_opened_yet_is_tried_again_and_costs_no_line() {
    let log = FileLog::start().unwrap();
    let (mut file, _tell, written) = told();
    file.refusals = 2;
    log.switch(Some((file, 0)));
    push(&log, "one");
    // A flush does not wait for it.
    while flush_one(&log) > 0 {}
    assert_eq!(text(&written), "one\n");
}

#[test]
fn half_a_line_that_a_process_before_has_left_is_ended_before_the_first_write() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    for (left, expected) in
        [("whole\nhal", "whole\nhal\nnew\n"), ("whole\n", "whole\nnew\n"), ("", "new\n")]
    {
        fs::write(&path, left).unwrap();
        let log = FileLog::start().unwrap();
        log.switch(Some((OpenFile::open(&path).unwrap(), 0)));
        flush_one(&log);
        assert_eq!(fs::read_to_string(&path).unwrap(), left, "nothing is written at the opening");
        push(&log, "new");
        assert_eq!(flush_one(&log), 0);
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }
}

#[test]
fn a_reload_does_not_end_the_line_that_is_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let [path, other] = ["log", "other"].map(|name| directory.path().join(name));
    let mut before = OpenFile::open(&path).unwrap();
    before.prepare().unwrap();
    before.write(b"hal").unwrap();
    let mut same = OpenFile::open(&path).unwrap();
    assert!(same.goes_on(&before));
    same.prepare().unwrap();
    same.write(b"f\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "half\n");
    assert!(!OpenFile::open(&other).unwrap().goes_on(&before));
}

#[test]
fn a_file_is_checked_without_making_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    OpenFile::check(&path).unwrap();
    assert!(!path.exists());
    let missing = OpenFile::check(&path.join("log")).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    let no_file = OpenFile::check(directory.path()).unwrap_err();
    assert_eq!(no_file.kind(), io::ErrorKind::IsADirectory);
    let slash = OpenFile::check(&directory.path().join("log/")).unwrap_err();
    assert_eq!(slash.kind(), io::ErrorKind::IsADirectory);
}

#[test]
fn what_a_start_would_refuse_is_found_and_what_it_would_make_is_not_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("file"), "").unwrap();
    UnixListener::bind(path("socket")).unwrap();
    for (link, target) in [("astray", "missing/log"), ("loop", "loop"), ("fine", "log")] {
        symlink(target, path(link)).unwrap();
    }
    for (name, is_fine) in [
        ("file", true),
        ("fine", true),
        ("socket", false),
        ("astray", false),
        ("loop", false),
        ("file/log", false),
    ] {
        assert_eq!(OpenFile::check(&path(name)).is_ok(), is_fine, "{name}");
        assert!(!path("log").exists());
        assert_eq!(OpenFile::open_in_time(&path(name)).is_ok(), is_fine, "{name}");
        let _ = fs::remove_file(path("log"));
    }
}

fn fifo() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    (directory, path)
}

/// Reads so many lines in a thread of its own.
fn read_lines(path: &Path, count: usize) -> JoinHandle<Vec<String>> {
    let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
    // For reading alone it would wait for a writer, which there is.
    let mut file = File::options().read(true).custom_flags(flags).open(path).unwrap();
    thread::spawn(move || {
        let (mut read, mut bytes) = (Vec::new(), [0; 4096]);
        let mut lines = 0;
        while lines < count {
            let length = file.read(&mut bytes).unwrap();
            // The last piece is empty, or a line's beginning.
            lines += bytes[..length].split(|byte| *byte == b'\n').count() - 1;
            read.extend_from_slice(&bytes[..length]);
        }
        String::from_utf8(read).unwrap().lines().map(str::to_owned).collect()
    })
}
