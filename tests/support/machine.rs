//! A running machine: booting it, running commands in it, reaching its network.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixDatagram},
    panic::resume_unwind,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{
    files::Root,
    host::Host,
    keeper::Keeper,
    output::Output,
    wait::{Deadline, PATIENCE, pidfd},
};

/// A system of its own for one test. Dropping it takes everything away.
#[derive(Debug)]
pub(crate) struct Machine {
    keeper: Keeper,
    root: Root,
    /// Hears what systemd says about itself, as a container manager does.
    notify: UnixDatagram,
}

/// The environment of everything that is run inside.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
    ("TERM", "dumb"),
    ("SYSTEMD_COLORS", "0"),
    ("SYSTEMD_PAGER", "cat"),
];

/// The root of the source tree inside.
const SOURCE: &str = "/usr/src/lockstepd";

// === impl Machine ===

impl Machine {
    /// Boots a machine, or says on standard error why this test is skipped.
    ///
    /// # Panics
    /// If no machine can be had although `LOCKSTEPD_REQUIRE_SYSTEMD` is set, or if it does not boot.
    pub(crate) fn boot() -> Option<Self> {
        Self::boot_with(|_| ())
    }

    /// Boots a machine whose files `prepare` has laid out, to see what happens at boot.
    pub(crate) fn boot_with(prepare: impl FnOnce(&Root)) -> Option<Self> {
        let host = Host::with_machines()?;
        let keeper = Keeper::start(host)
            .unwrap_or_else(|error| panic!("a machine could be made before, but now: {error}"));
        let root = Root::of(keeper.pid());
        let notify = UnixDatagram::bind(root.outside("/run/machine.notify"))
            .expect("machine.sh has made an empty /run");
        let machine = Self { keeper, root, notify };
        prepare(&machine.root);
        machine.start_systemd();
        Some(machine)
    }

    /// PID 1 of the machine, as seen from outside.
    pub(crate) fn pid(&self) -> u32 {
        self.keeper.pid()
    }

    /// The process that takes the machine away once this one has ended.
    pub(crate) fn keeper_pid(&self) -> u32 {
        self.keeper.id()
    }

    /// The root of the machine's cgroups, as seen from outside.
    pub(crate) fn cgroup(&self) -> &Path {
        self.keeper.cgroup()
    }

    /// The version of the machine's systemd, such as 252.
    #[track_caller]
    pub(crate) fn systemd_version(&self) -> u32 {
        let text = self.run("systemctl", &["--version"]).ok();
        let number = text.split_whitespace().nth(1).and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("systemctl --version says {text}"))
    }

    /// The machine's files.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Writes a file inside, and the directories above it where they are missing.
    #[track_caller]
    pub(crate) fn write(&self, inside: &str, content: impl AsRef<[u8]>) {
        self.root.write(inside, content);
    }

    /// Reads a text file inside.
    #[track_caller]
    pub(crate) fn read(&self, inside: &str) -> String {
        self.root.read(inside)
    }

    /// Copies a file from outside, with its mode.
    #[track_caller]
    pub(crate) fn copy_in(&self, outside: impl AsRef<Path>, inside: &str) {
        self.root.copy_in(outside, inside);
    }

    /// A command that will run inside as root. Killing it kills the program inside, too.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid().to_string(), "--all", "--"])
            .args(["setpriv", "--pdeathsig", "KILL", "--", program])
            .args(arguments)
            .env_clear()
            .envs(ENVIRONMENT);
        command
    }

    /// Runs a program inside and waits for its end.
    ///
    /// # Panics
    /// With what it said by then if it has not ended after a minute.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.run_for(PATIENCE, program, arguments)
    }

    /// Does the same within another limit.
    #[track_caller]
    pub(crate) fn run_for(&self, limit: Duration, program: &str, arguments: &[&str]) -> Output {
        let name = [&[program], arguments].concat().join(" ");
        Output::of(&name, self.command(program, arguments), limit)
            .unwrap_or_else(|hung| panic!("{hung}"))
    }

    /// Runs a shell script inside; it ends at the first command that fails.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Output {
        self.run("sh", &["-euc", script])
    }

    /// Installs the daemon that was just built, with the repository's packaging/install.sh.
    #[track_caller]
    pub(crate) fn install(&self) {
        self.sh(&format!(
            "export LOCKSTEPD_BINARY={SOURCE}/target/release/lockstepd\n{SOURCE}/packaging/install.sh install"
        ))
        .ok();
    }

    /// Runs `client` on a thread that is in the machine's network, and returns what it returns.
    ///
    /// Sockets stay in the network they were made in, and threads in that of the thread that started them.
    #[track_caller]
    pub(crate) fn in_network<T: Send>(&self, client: impl FnOnce() -> T + Send) -> T {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.pid()))
            .unwrap_or_else(|error| panic!("the machine has no network any more: {error}"));
        let enter = || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter its machine's network");
            client()
        };
        let name = thread::current().name().unwrap_or_default().to_owned();
        thread::scope(|scope| {
            let thread = thread::Builder::new().name(name).spawn_scoped(scope, enter);
            thread.expect("a thread can be started").join()
        })
        .unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Gives the waiting PID 1 the word, and waits until it says that all is up.
    fn start_systemd(&self) {
        let deadline = Deadline::after(PATIENCE);
        let manager = pidfd(self.pid()).expect("PID 1 waits for the word");
        // Open for both, a FIFO waits for nobody and keeps the word until it is read.
        let go =
            OpenOptions::new().read(true).write(true).open(self.root.outside("/run/machine.go"));
        let mut go = go.expect("machine.sh made the FIFO");
        go.write_all(b"go\n").expect("a FIFO that is open for reading takes a line");

        let mut datagram = [0; 4096];
        loop {
            let ready =
                deadline.wait(&[self.notify.as_fd(), manager.as_fd()]).unwrap_or_else(|late| {
                    let jobs = self.run("systemctl", &["list-jobs"]);
                    panic!("{late} while booting\n{}\n{jobs}", self.keeper.console())
                });
            assert!(!ready[1], "systemd ended while booting\n{}", self.keeper.console());
            let length = self.notify.recv(&mut datagram).expect("a datagram has come");
            if datagram[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                break;
            }
        }
        let state = self.run("systemctl", &["is-system-running", "--wait"]);
        if state.stdout.trim() != "running" {
            let failed = self.run("systemctl", &["--failed"]);
            panic!("the machine is not running\n{state}\n{failed}");
        }
        // It goes on talking at every reload, logs a warning if there is nobody, and waits for whoever
        // does not listen. The thread ends when the machine is dropped.
        let notify = self.notify.try_clone().expect("a socket can be cloned");
        thread::spawn(move || while notify.recv(&mut [0]).is_ok_and(|length| length > 0) {});
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What cannot be shut down has nobody that listens.
        let _ = self.notify.shutdown(Shutdown::Both);
        if thread::panicking() {
            let journal = self.command("journalctl", &["--lines=200"]);
            match Output::of("journalctl --lines=200", journal, Duration::from_secs(10)) {
                Ok(Output { stdout, stderr, .. }) => {
                    eprintln!("--- the machine's journal\n{stdout}{stderr}");
                }
                Err(hung) => eprintln!("--- the machine's journal could not be had: {hung}"),
            }
        }
    }
}
