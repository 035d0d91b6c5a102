//! The example `members` as a child: it has what the daemon has not, a member of its own, a latch, and
//! requests that last.

use std::io::Write;

use crate::support::{Client, Daemon, Launch, Manager, PATIENCE, example, wait_until};

/// Longer than any test waits: what ends earlier does so for another reason.
pub(crate) const FOR_EVER: &str = "10m";

/// A running example.
pub(crate) struct Program {
    pub(crate) daemon: Daemon,
    pub(crate) manager: Manager,
    pub(crate) public: String,
    pub(crate) admin: String,
}

impl Program {
    /// The latch is held, and a stop waits for requests without an end.
    pub(crate) fn cold() -> Self {
        Self::launch(FOR_EVER)
    }

    fn launch(drain_timeout: &str) -> Self {
        let [public, admin] = [(); 2].map(|()| Launch::free_address());
        let manager = Manager::new();
        let launch = Launch::program(example("members")).args([&public, &admin, drain_timeout]);
        let daemon = launch.with_input().notify(&manager).spawn();
        Self { daemon, manager, public, admin }
    }

    pub(crate) fn ready() -> Self {
        Self::with_drain_timeout(FOR_EVER)
    }

    pub(crate) fn with_drain_timeout(drain_timeout: &str) -> Self {
        let mut program = Self::launch(drain_timeout);
        program.order("warm");
        program.daemon.event("ready");
        program
    }

    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.daemon.input(), "{order}").expect("the example reads");
    }

    /// Before it is ready, that is said nowhere.
    pub(crate) fn wait_until_it_serves(&self) {
        wait_until("the servers accept", PATIENCE, || {
            Client::try_connect(&self.public).is_ok() && Client::try_connect(&self.admin).is_ok()
        });
    }

    /// Waits for the end, and sees that log and exit code tell of `cause`.
    #[track_caller]
    pub(crate) fn end(self, cause: &str) -> (i32, Vec<Vec<String>>) {
        let ended = self.daemon.end();
        let stopping = ended.event("stopping");
        assert_eq!((&stopping["cause"], &stopping["member"]), (&cause.into(), &"worker".into()));
        let level = if ended.code == 0 { "INFO" } else { "ERROR" };
        assert_eq!(stopping["level"], level);
        assert_eq!(ended.event("stopped")["exit_code"], ended.code);
        (ended.code, self.manager.rest().split_off(1))
    }

    /// A request whose body has come by half, and is waited for.
    #[track_caller]
    pub(crate) fn half_a_request(&self) -> Client {
        Client::half_a_request(&self.public, "/length")
    }
}
