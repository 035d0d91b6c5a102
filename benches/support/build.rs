//! Building the daemon as it is shipped.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::Trouble;

/// Where the daemon is once it was built. `cargo bench` puts one there that is not what is shipped:
/// the features of dev-dependencies are in it.
const BINARY: &str = env!("CARGO_BIN_EXE_lockstepd");

/// The directory in which everything is built.
pub(crate) fn target() -> &'static Path {
    Path::new(BINARY).ancestors().nth(2).expect("binaries are in target/PROFILE")
}

/// A path in the repository.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Builds the daemon as it is shipped.
pub(crate) fn daemon() -> Result<PathBuf, Trouble> {
    cargo(".", &["--bin", "lockstepd"], target(), &[])?;
    Ok(BINARY.into())
}

/// Builds it with TLS, which is not in what is shipped.
pub(crate) fn daemon_with_tls() -> Result<PathBuf, Trouble> {
    let target = target().join("tls");
    cargo(".", &["--bin", "lockstepd", "--features", "tls"], &target, &[])?;
    Ok(target.join("release/lockstepd"))
}

/// Builds it as it is shipped, but with line numbers, by which costs are told apart where code was inlined.
pub(crate) fn daemon_with_lines() -> Result<PathBuf, Trouble> {
    let lines = [("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only")];
    let target = target().join("lines");
    cargo(".", &["--bin", "lockstepd"], &target, &lines)?;
    Ok(target.join("release/lockstepd"))
}

/// Says which Debian package has a program that is missing.
pub(crate) fn require(program: &str, package: &str) -> Result<PathBuf, Trouble> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        // Where Debian has its daemons, which are not in everybody's path.
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| format!("no {program} (apt-get install -y {package})").into())
}

/// Builds something for release from the sources in `directory`.
pub(crate) fn cargo(
    directory: &str,
    arguments: &[&str],
    target: &Path,
    environment: &[(&str, &str)],
) -> Result<(), Trouble> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--quiet"])
        .args(arguments)
        .arg("--target-dir")
        .arg(target)
        .envs(environment.iter().copied())
        .current_dir(source(directory))
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("cargo build: {status}").into()) }
}
