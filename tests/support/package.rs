//! The packages of packaging/build-packages.sh, with the binary that is tested.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tempfile::TempDir;

use super::host::{BINARY, CHECKOUT, skip};

/// The .deb, and others that are made of it.
pub(crate) struct Debs {
    directory: TempDir,
    /// The file name of the one that the script has made.
    original: String,
}

static DEBS: OnceLock<Debs> = OnceLock::new();

/// Whether there are these programs; if not, the test is skipped, loudly.
pub(crate) fn has_packagers(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).output();
        !found.is_ok_and(|output| output.status.success())
    });
    let Some(missing) = missing else { return true };
    let required = env::var("LOCKSTEPD_REQUIRE_LINTIAN").unwrap_or_default();
    assert!(matches!(required.as_str(), "" | "0"), "there is no {missing}");
    skip(&format!("no {missing} (apt-get install -y --no-install-recommends lintian rpm rpmlint)"));
    false
}

/// Runs packaging/build-packages.sh with the binary that is tested, and returns the paths that it prints.
#[track_caller]
pub(crate) fn build_packages(output: &Path, arguments: &[&str]) -> Vec<PathBuf> {
    let mut script = Command::new(Path::new(CHECKOUT).join("packaging/build-packages.sh"));
    script.args(["--binary", BINARY, "--fast", "--output"]).arg(output).args(arguments);
    let paths = run(&mut script);
    paths.lines().map(PathBuf::from).collect()
}

/// Runs a command of this machine, which has to succeed, and returns what it prints.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}{errors}", output.status);
    text
}

// === impl Debs ===

impl Debs {
    /// Those of this process, made at the first call.
    #[track_caller]
    pub(crate) fn get() -> &'static Self {
        DEBS.get_or_init(|| {
            let directory = tempfile::tempdir().expect("a temporary directory can be made");
            let paths = build_packages(directory.path(), &["--deb"]);
            let name = paths[0].file_name().expect("it is a file").to_string_lossy().into_owned();
            run(Command::new("dpkg-deb")
                .arg("--raw-extract")
                .arg(&paths[0])
                .arg("tree")
                .current_dir(&directory));
            Self { directory, original: name }
        })
    }

    /// The package as the script has made it.
    pub(crate) fn original(&self) -> PathBuf {
        self.directory.path().join(&self.original)
    }

    /// The same as another version, in which `change` has changed what it wants to.
    #[track_caller]
    pub(crate) fn version(&self, version: &str, change: impl FnOnce(&Path)) -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let tree = directory.path().join("tree");
        run(Command::new("cp").arg("-a").arg(self.directory.path().join("tree")).arg(&tree));
        let control = tree.join("DEBIAN/control");
        let text = fs::read_to_string(&control).expect("a package has it");
        let line = |line: &str| {
            let kept = Some(line).filter(|line| !line.starts_with("Version: "));
            kept.map_or_else(|| format!("Version: {version}\n"), |line| format!("{line}\n"))
        };
        fs::write(&control, text.lines().map(line).collect::<String>()).expect("it can be written");
        change(&tree);
        let path = directory.path().join("other.deb");
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Znone", "--build"])
            .arg(&tree)
            .arg(&path));
        (directory, path)
    }
}
