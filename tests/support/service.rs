//! The installed daemon of a machine, as its operator and its clients see it.

use super::{
    machine::Machine,
    output::Output,
    wait::{PATIENCE, wait_until},
};

/// Both sockets, as `systemctl` takes them.
pub(crate) const SOCKETS: [&str; 2] = ["lockstepd.socket", "lockstepd-admin.socket"];

impl Machine {
    /// A machine with the daemon installed and its sockets open.
    #[track_caller]
    pub(crate) fn with_sockets() -> Option<Self> {
        let machine = Self::boot()?;
        machine.install();
        machine.systemctl(&["start", SOCKETS[0], SOCKETS[1]]).ok();
        Some(machine)
    }

    #[track_caller]
    pub(crate) fn systemctl(&self, arguments: &[&str]) -> Output {
        self.run("systemctl", arguments)
    }

    /// What curl gets, which has to be a success.
    #[track_caller]
    pub(crate) fn get(&self, url: &str) -> String {
        self.curl(url).ok()
    }

    /// Starts the service as a client does. It answers a moment before systemd has heard that it is ready.
    #[track_caller]
    pub(crate) fn activate(&self) {
        self.get("http://localhost:9090/any");
        self.wait_for_state("lockstepd.service", "active");
    }

    /// Whatever curl answers; it fails at a status of 400 and above.
    #[track_caller]
    pub(crate) fn curl(&self, url: &str) -> Output {
        self.run("curl", &["--silent", "--show-error", "--fail", "--max-time", "50", url])
    }

    /// Waits until a unit's `ActiveState` is `state`.
    #[track_caller]
    pub(crate) fn wait_for_state(&self, unit: &str, state: &str) {
        wait_until(&format!("{unit} is {state}"), PATIENCE, || {
            self.property(unit, "ActiveState") == state
        });
    }

    /// Asserts that a unit's properties have these values.
    #[track_caller]
    pub(crate) fn assert_properties(&self, unit: &str, expected: &[(&str, &str)]) {
        for (name, value) in expected {
            assert_eq!(self.property(unit, name), *value, "{name} of {unit}");
        }
    }
}
