//! That a machine lives as long as its test, is asked for aloud, and leaves nothing behind.

use std::{
    env, fs,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Deadline, Lines, Machine, PATIENCE, pidfd};

/// Tells a test that it was called by a test, to be the process that ends badly.
const CALLED: &str = "LOCKSTEPD_HARNESS_CALLED";

#[test]
fn a_machine_outlives_the_thread_that_booted_it() {
    let Some(machine) = thread::spawn(Machine::boot).join().unwrap() else {
        return;
    };
    assert_eq!(machine.run("systemctl", &["is-system-running"]).ok(), "running\n");
}

#[test]
fn a_dropped_machine_leaves_no_cgroup_and_no_process_behind() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    machine.run("systemd-run", &["sleep", "infinity"]).ok();
    let remains = Remains::of(machine.pid(), machine.keeper_pid(), machine.cgroup().into());
    drop(machine);
    remains.assert_gone();
}

#[test]
fn a_killed_test_process_leaves_no_cgroup_and_no_process_behind() {
    if env::var_os(CALLED).is_some() {
        wait_with_a_machine_to_be_killed();
    }
    if Machine::boot().is_none() {
        return;
    }
    let (mut test, remains) = Remains::of_another_test_process();
    test.kill().unwrap();
    test.wait().unwrap();
    remains.assert_gone();
}

#[test]
fn a_killed_keeper_takes_its_machine_along_and_the_next_boot_its_cgroup() {
    if Machine::boot().is_none() {
        return;
    }
    let (mut test, remains) = Remains::of_another_test_process();
    let keeper = i32::try_from(remains.keeper).ok().and_then(Pid::from_raw).unwrap();
    kill_process(keeper, Signal::KILL).unwrap();
    remains.wait_for_processes();
    test.kill().unwrap();
    test.wait().unwrap();
    drop(Machine::boot());
    remains.assert_gone();
}

#[test]
fn a_failing_test_shows_the_journal() {
    let Some(machine) = Machine::boot() else { return };
    if env::var_os(CALLED).is_some() {
        machine.sh("echo last words in the journal | systemd-cat").ok();
        machine.run("journalctl", &["--sync"]).ok();
        panic!("on purpose");
    }
    let test = call("a_failing_test_shows_the_journal").output().unwrap();
    let stderr = String::from_utf8_lossy(&test.stderr);
    assert!(!test.status.success());
    assert!(stderr.contains("--- the machine's journal"), "{stderr}");
    assert!(stderr.contains("last words in the journal"), "{stderr}");
}

#[test]
fn a_test_without_a_machine_is_skipped_aloud_or_fails_if_one_is_required() {
    let test = |required| {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "harness::a_machine_boots_to_running"])
            .env("LOCKSTEPD_SYSTEMD_ROOT", "/nowhere")
            .env("LOCKSTEPD_REQUIRE_SYSTEMD", required)
            .output()
            .unwrap()
    };
    let skipped = test("0");
    let stderr = String::from_utf8_lossy(&skipped.stderr);
    assert!(skipped.status.success());
    assert!(stderr.contains("NOT TESTED under a real systemd: "), "{stderr}");
    assert!(stderr.contains("SKIPPED harness::a_machine_boots_to_running"), "{stderr}");
    let failed = test("1");
    assert!(!failed.status.success());
    let stdout = String::from_utf8_lossy(&failed.stdout);
    assert!(stdout.contains("LOCKSTEPD_REQUIRE_SYSTEMD is set"), "{stdout}");
}

fn wait_with_a_machine_to_be_killed() -> ! {
    let machine = Machine::boot().expect("the caller had one");
    let cgroup = machine.cgroup().display();
    println!("\nmachine {} {} {cgroup}", machine.pid(), machine.keeper_pid());
    loop {
        thread::park();
    }
}

/// What there was of a machine.
struct Remains {
    processes: [OwnedFd; 2],
    keeper: u32,
    cgroup: PathBuf,
}

impl Remains {
    fn of(manager: u32, keeper: u32, cgroup: PathBuf) -> Self {
        assert!(cgroup.join("init.scope").is_dir(), "{} is no system's", cgroup.display());
        let processes = [manager, keeper].map(|pid| pidfd(pid).expect("it runs"));
        Self { processes, keeper, cgroup }
    }

    fn of_another_test_process() -> (Child, Self) {
        let waiting = "a_killed_test_process_leaves_no_cgroup_and_no_process_behind";
        let mut test = call(waiting).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = Lines::new(test.stdout.take().unwrap());
        let deadline = Deadline::after(PATIENCE);
        let machine = loop {
            let line = lines.next(deadline).unwrap().expect("it boots a machine");
            if let Some(machine) = line.strip_prefix("machine ") {
                break machine.to_owned();
            }
        };
        let [manager, keeper, cgroup] = machine.split(' ').collect::<Vec<_>>()[..] else {
            panic!("it printed {machine}")
        };
        let [manager, keeper] = [manager, keeper].map(|pid| pid.parse().unwrap());
        (test, Self::of(manager, keeper, cgroup.into()))
    }

    fn wait_for_processes(&self) {
        let deadline = Deadline::after(PATIENCE);
        for process in &self.processes {
            deadline.wait(&[process.as_fd()]).expect("the processes end");
        }
    }

    fn assert_gone(&self) {
        self.wait_for_processes();
        assert!(!self.cgroup.exists(), "{} is left", self.cgroup.display());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("upperdir=/sys/upper"), "{mounts}");
    }
}

/// Another process that runs one of these tests, as one that is called.
fn call(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    let name = format!("harness::lifetime::{test}");
    command.args(["--exact", &name, "--nocapture"]).env(CALLED, "1");
    command
}
