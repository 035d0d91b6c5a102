//! A daemon with TLS.

use std::{
    fs::{Permissions, set_permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{BINARY, Certificate, Daemon, Launch, TlsRelay, has_openssl};

/// A daemon whose certificate is in a directory of its own.
pub(crate) struct Secured {
    pub(crate) daemon: Daemon,
    pub(crate) certificate: Certificate,
    directory: TempDir,
    upgrades: usize,
}

// === impl Secured ===

impl Secured {
    /// None where there is no openssl.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        let (launch, certificate, directory) = Self::launch()?;
        Some(Self::of(launch.args(arguments), certificate, directory))
    }

    pub(crate) fn of(launch: Launch, certificate: Certificate, directory: TempDir) -> Self {
        Self { daemon: launch.start(), certificate, directory, upgrades: 0 }
    }

    /// The daemon that [`Secured::start`] starts, with its certificate.
    pub(crate) fn launch() -> Option<(Launch, Certificate, TempDir)> {
        if !has_openssl() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let certificate = Certificate::make(directory.path(), "localhost", &["localhost"], 90);
        Some((Self::with(&[&certificate]), certificate, directory))
    }

    /// A daemon with these certificates, on free ports.
    pub(crate) fn with(certificates: &[&Certificate]) -> Launch {
        let address = format!("{}:0", Launch::address());
        Launch::on(&address, &address).args(arguments(&address, certificates))
    }

    /// The same, with a list of the times that it, or a process after it, opens `file`.
    pub(crate) fn traced(certificate: &Certificate, file: &Path, opened: &Path) -> Launch {
        let address = format!("{}:0", Launch::address());
        // With -D the daemon is the child, and hears signals, not strace.
        Launch::program("strace")
            .args(["-D", "-f", "-qq", "-e", "trace=openat", "-P"])
            .args([file.as_os_str(), "-o".as_ref(), opened.as_os_str(), BINARY.as_ref()])
            .args(["--public", &address, "--admin", &address, "--log-format", "json"])
            .args(arguments(&address, &[certificate]))
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where it speaks TLS.
    pub(crate) fn address(&mut self) -> String {
        secured_address(&mut self.daemon)
    }

    /// Clients that do not speak TLS reach it through this.
    pub(crate) fn relay(&mut self) -> TlsRelay {
        TlsRelay::to(&self.address(), &self.certificate.file)
    }

    /// Replaces the program in place, and waits until the next one is ready.
    #[track_caller]
    pub(crate) fn upgrade(&mut self) {
        self.daemon.signal(Signal::USR2);
        self.upgrades += 1;
        self.daemon.lines_with(self.upgrades + 1, "\"message\":\"ready\"");
    }

    /// A metric's value; zero if it is not there.
    #[track_caller]
    pub(crate) fn metric(&mut self, name: &str) -> u64 {
        let text = self.daemon.get_admin("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a count is a number"))
    }
}

fn arguments(address: &str, certificates: &[&Certificate]) -> [String; 6] {
    let list = |file: fn(&Certificate) -> &PathBuf| {
        let texts = certificates.iter().map(|it| file(it).to_string_lossy().into_owned());
        texts.collect::<Vec<_>>().join(",")
    };
    let [certificates, keys] = [list(|it| &it.file), list(|it| &it.key)];
    ["--tls-listen", address, "--tls-certificates", &certificates, "--tls-keys", &keys]
        .map(str::to_owned)
}

/// Where a daemon speaks TLS.
pub(crate) fn secured_address(daemon: &mut Daemon) -> String {
    let addresses = daemon.addresses("public");
    let secured = addresses.iter().find_map(|address| address.strip_suffix(" (TLS)"));
    secured.expect("it speaks TLS").to_owned()
}

/// Sets who may read a file.
pub(crate) fn set_mode(file: &Path, mode: u32) {
    set_permissions(file, Permissions::from_mode(mode)).expect("it is ours");
}
