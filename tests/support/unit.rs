//! Units of a machine: their properties, processes and descriptors.

use std::{fs, path::Path};

use super::machine::Machine;

/// The memory of a process that is its own or shared, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

impl Machine {
    /// A unit's property, as `systemctl show` prints it.
    #[track_caller]
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        let property = format!("--property={name}");
        let value = self.run("systemctl", &["show", "--value", &property, "--", unit]).ok();
        value.trim_end_matches('\n').to_owned()
    }

    /// All processes in a unit's cgroup, by their pids outside.
    #[track_caller]
    pub(crate) fn pids(&self, unit: &str) -> Vec<u32> {
        let mut pids = Vec::new();
        match self.property(unit, "ControlGroup").trim_start_matches('/') {
            "" => {}
            cgroup => collect_pids(&self.cgroup().join(cgroup), &mut pids),
        }
        pids
    }

    /// The main process of a service that runs, by its pid outside.
    #[track_caller]
    pub(crate) fn main_pid(&self, unit: &str) -> Option<u32> {
        let inside: u32 = self.property(unit, "MainPID").parse().ok().filter(|pid| *pid != 0)?;
        let level = pids_by_level(self.pid())?.len();
        let is_main = |pid: &u32| {
            let pids = pids_by_level(*pid);
            pids.and_then(|pids| pids.get(level - 1).copied()) == Some(inside)
        };
        self.pids(unit).into_iter().find(is_main)
    }

    /// How many descriptors the main process of a service has open.
    #[track_caller]
    pub(crate) fn fd_count(&self, unit: &str) -> Option<usize> {
        count_descriptors(self.main_pid(unit)?)
    }

    /// How many descriptors the service manager has open: its stores are among them.
    #[track_caller]
    pub(crate) fn manager_fd_count(&self) -> usize {
        count_descriptors(self.pid()).expect("the service manager runs")
    }

    /// The memory of the main process of a service.
    #[track_caller]
    pub(crate) fn memory(&self, unit: &str) -> Option<Memory> {
        Memory::of(self.main_pid(unit)?)
    }

    /// The memory of the service manager.
    #[track_caller]
    pub(crate) fn manager_memory(&self) -> Memory {
        Memory::of(self.pid()).expect("the service manager runs")
    }
}

/// A cgroup may vanish while it is looked at: then nobody is in it.
fn collect_pids(cgroup: &Path, pids: &mut Vec<u32>) {
    let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    pids.extend(members.lines().filter_map(|pid| pid.parse::<u32>().ok()));
    let below = fs::read_dir(cgroup).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        collect_pids(&entry.path(), pids);
    }
}

/// The pids of one process in all pid namespaces it is seen in, the outermost first.
fn pids_by_level(pid: u32) -> Option<Vec<u32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    pids.split_whitespace().map(|pid| pid.parse().ok()).collect()
}

fn count_descriptors(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

// === impl Memory ===

impl Memory {
    fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().strip_suffix(" kB")?.parse().ok()
        };
        Some(Self { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }
}
