//! The .deb and the .rpm as files. How they install, upgrade and remove is in tests/systemd/packages.rs.

use std::{fs, path::Path, process::Command};

use crate::support::{CHECKOUT, build_packages, has_packagers, run};

/// What both have: directories that are the package's, files with their modes.
const FILES: [&str; 20] = [
    "-rw-r--r-- /etc/lockstepd/lockstepd.toml",
    "-rwxr-xr-x /usr/bin/lockstepd",
    "-rw-r--r-- /usr/lib/systemd/system/lockstepd-admin.socket",
    "-rw-r--r-- /usr/lib/systemd/system/lockstepd-admin@.socket",
    "-rw-r--r-- /usr/lib/systemd/system/lockstepd-tls.socket",
    "-rw-r--r-- /usr/lib/systemd/system/lockstepd.service",
    "-rw-r--r-- /usr/lib/systemd/system/lockstepd.socket",
    "-rw-r--r-- /usr/lib/systemd/system/lockstepd@.service",
    "-rw-r--r-- /usr/lib/systemd/system/lockstepd@.socket",
    "-rw-r--r-- /usr/lib/systemd/system-preset/80-lockstepd.preset",
    "-rw-r--r-- /usr/lib/systemd/user/lockstepd-admin.socket",
    "-rw-r--r-- /usr/lib/systemd/user/lockstepd.service",
    "-rw-r--r-- /usr/lib/systemd/user/lockstepd.socket",
    "-rw-r--r-- /usr/lib/systemd/user-preset/80-lockstepd.preset",
    "-rw-r--r-- /usr/share/doc/lockstepd/README.md",
    "-rw-r--r-- /usr/share/doc/lockstepd/drop-ins/access-file.conf",
    "-rw-r--r-- /usr/share/doc/lockstepd/drop-ins/tls.conf",
    "-rw-r--r-- /usr/share/doc/lockstepd/logrotate/lockstepd",
    "-rw-r--r-- /usr/share/lockstepd/application.service.in",
    "-rwxr-xr-x /usr/share/lockstepd/make-units.sh",
];

/// Whether all that makes and checks packages is on this machine.
fn is_possible() -> bool {
    has_packagers(&["dpkg-deb", "rpmbuild", "lintian", "rpmlint", "strip"])
}

/// Mode, owner and path of each file and directory, as `tar --list --verbose` and `rpm --query --list --verbose` begin
/// and end their lines.
fn listed(lines: &str) -> Vec<String> {
    let line = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        assert!(fields.contains(&"root/root") || fields[2..4] == ["root", "root"], "{line}");
        let path = fields[fields.len() - 1].trim_start_matches('.');
        format!("{} {path}", fields[0])
    };
    lines.lines().map(line).collect()
}

fn assert_has(list: &[String]) {
    for file in FILES {
        assert!(list.iter().any(|listed| listed == file), "{file} is not in {list:#?}");
    }
    // What people and shells read has the same names everywhere.
    for (folder, target) in [("man", ".gz"), ("catalog", ""), ("prometheus", ""), ("grafana", "")] {
        let Ok(entries) = fs::read_dir(Path::new(CHECKOUT).join("packaging").join(folder)) else {
            continue;
        };
        for entry in entries {
            let name =
                entry.expect("it can be read").file_name().to_string_lossy().into_owned() + target;
            assert_eq!(
                !name.contains(".test."),
                list.iter().any(|listed| listed.ends_with(&format!("/{name}"))),
                "{name} in {list:#?}"
            );
        }
    }
    for listed in list {
        let (mode, path) = listed.split_once(' ').expect("a mode is before it");
        let is_program =
            ["/usr/bin/lockstepd", "/usr/share/lockstepd/make-units.sh"].contains(&path);
        let expected = match mode.as_bytes()[0] {
            b'd' => "drwxr-xr-x",
            _ if is_program => "-rwxr-xr-x",
            _ => "-rw-r--r--",
        };
        assert_eq!(mode, expected, "{path}");
    }
}

#[test]
fn packages_have_their_files_and_the_same_bytes_each_time() {
    if !is_possible() {
        return;
    }
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [one, other] = [0, 1].map(|number| build_packages(directories[number].path(), &[]));
    for (one, other) in one.iter().zip(&other) {
        assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{} differs", one.display());
    }
    let [deb, rpm] = &one[..] else { panic!("{one:?}") };

    let list = listed(&run(Command::new("dpkg-deb").arg("--contents").arg(deb)));
    assert_has(&list);
    for file in ["copyright", "changelog.gz", "changelog.Debian.gz", "third-party-licences.txt"] {
        let file = format!("-rw-r--r-- /usr/share/doc/lockstepd/{file}");
        assert!(list.contains(&file), "{file} is not in {list:#?}");
    }
    let conffiles = run(Command::new("dpkg-deb").arg("--info").arg(deb).arg("conffiles"));
    assert_eq!(conffiles, "/etc/lockstepd/lockstepd.toml\n");

    let list =
        run(Command::new("rpm").args(["--query", "--list", "--verbose", "--package"]).arg(rpm));
    assert_has(&listed(&list));
    let query = |what: &str| run(Command::new("rpm").args(["--query", what, "--package"]).arg(rpm));
    assert_eq!(query("--configfiles"), "/etc/lockstepd/lockstepd.toml\n");
    assert!(query("--licensefiles").lines().count() >= 3);

    let files = directories[0].path().join("files");
    run(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(&files));
    for unit in ["system/lockstepd.service", "system/lockstepd@.service", "user/lockstepd.service"]
    {
        let text = fs::read_to_string(files.join("usr/lib/systemd").join(unit)).unwrap();
        assert!(text.contains("\nExecStart=/usr/bin/lockstepd\n"), "{text}");
        assert!(
            text.contains("\nDocumentation=man:lockstepd.service(8) man:lockstepd(8)\n"),
            "{text}"
        );
    }

    lint(deb, rpm);
}

/// lintian and rpmlint find nothing that is not explained in the packages.
fn lint(deb: &Path, rpm: &Path) {
    // The program of these tests is linked to libraries and has what compilers add; that of a release is not.
    let of_the_test = "undeclared-elf-prerequisites,unused-override";
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--suppress-tags", of_the_test]);
    let said = run(lintian.arg(deb));
    assert!(!said.contains("W: ") && !said.contains("E: "), "{said}");

    let mut rpmlint = Command::new("rpmlint");
    rpmlint.arg("--config").arg(Path::new(CHECKOUT).join("packaging/rpm/rpmlint.toml"));
    let said = rpmlint.arg(rpm).output().expect("it is there");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let is_found = |line: &&str| line.contains(": E: ") || line.contains(": W: ");
    assert!(!said.lines().any(|line| is_found(&line)) && said.contains("1 packages"), "{said}");
}
