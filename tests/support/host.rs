//! What the host has to offer: whether machines can be had, and why not.

use std::{
    env, fs,
    io::{Write, stderr},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
};

use super::keeper::Keeper;

/// What a machine is made from.
#[derive(Debug)]
pub(crate) struct Host {
    /// Where the cgroup2 hierarchy is mounted: /sys/fs/cgroup, or unified/ below it on hybrid hosts.
    pub(crate) cgroups: PathBuf,
    /// What lies under the overlay.
    pub(crate) root: PathBuf,
}

/// The binary that is tested.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_lockstepd");

/// The repository, of which a machine sees packaging/, docs/ and the README.
pub(crate) const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");

static HOST: OnceLock<Result<Host, String>> = OnceLock::new();

// === impl Host ===

impl Host {
    /// The host if machines can be had on it; otherwise says so where nobody captures it.
    ///
    /// # Panics
    /// Instead of saying so if `LOCKSTEPD_REQUIRE_SYSTEMD` is set (and not to 0).
    pub(crate) fn with_machines() -> Option<&'static Self> {
        let mut is_first = false;
        let host = HOST.get_or_init(|| {
            is_first = true;
            Self::probe()
        });
        let reason = match host {
            Ok(host) => return Some(host),
            Err(reason) => reason,
        };
        let required = env::var("LOCKSTEPD_REQUIRE_SYSTEMD").unwrap_or_default();
        assert!(
            matches!(required.as_str(), "" | "0"),
            "no machine can be had, and LOCKSTEPD_REQUIRE_SYSTEMD is set: {reason}"
        );
        if is_first {
            say(&notice(reason));
        }
        skip("no machine");
        None
    }

    /// Makes a machine up to the point where systemd would start.
    fn probe() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root".to_owned());
        }
        let root = env::var_os("LOCKSTEPD_SYSTEMD_ROOT").map_or_else(|| "/".into(), PathBuf::from);
        let root = root
            .canonicalize()
            .map_err(|error| format!("no root at {}: {error}", root.display()))?;
        if root.to_string_lossy().contains([':', ',', '\\']) {
            return Err(format!("overlayfs cannot take the path {}", root.display()));
        }
        let host = Self { cgroups: cgroup2_mount()?, root };
        Keeper::start(&host)?.end()?;
        Ok(host)
    }
}

/// Says that the test of this thread is skipped, and why.
pub(crate) fn skip(reason: &str) {
    let test = thread::current();
    say(&format!("SKIPPED {}: {reason}\n", test.name().unwrap_or("a test")));
}

/// Whether calls to the kernel can be traced; says so if not.
pub(crate) fn has_strace() -> bool {
    let is_there = Command::new("strace").arg("--version").output().is_ok();
    if !is_there {
        skip("no strace");
    }
    is_there
}

/// Says something where nobody captures it: libtest captures eprintln!, not this.
fn say(text: &str) {
    // Nobody is there to hear of a failure.
    let _ = stderr().write_all(text.as_bytes());
}

fn notice(reason: &str) -> String {
    let rule = "=".repeat(80);
    format!(
        "\n{rule}\nNOT TESTED under a real systemd: {reason}\nEvery test that needs a machine is \
         skipped. LOCKSTEPD_REQUIRE_SYSTEMD=1 makes them fail.\n{rule}\n"
    )
}

/// The first mount of the unified hierarchy.
fn cgroup2_mount() -> Result<PathBuf, String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| format!("no /proc/self/mountinfo: {error}"))?;
    mounts
        .lines()
        .filter(|mount| mount.contains(" - cgroup2 "))
        .find_map(|mount| mount.split(' ').nth(4))
        .map(|path| Path::new(path).to_owned())
        .ok_or_else(|| "no cgroup2 hierarchy is mounted".to_owned())
}
