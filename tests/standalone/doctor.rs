//! `lockstepd doctor`: what it says of the units that come with lockstepd, and of what can be wrong with them.

use std::{
    fs,
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::support::BINARY;

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");

/// The units, in a directory of their own.
struct Units(TempDir);

impl Units {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(PACKAGING).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            if ["service", "socket"].contains(&kind.as_str()) {
                let text =
                    fs::read_to_string(&path).unwrap().replace("/usr/local/bin/lockstepd", BINARY);
                // Wherever the daemon that is tested lies, the sandbox does not hide it.
                let seen = format!("[Service]\nBindReadOnlyPaths={BINARY}\n");
                let text = text.replace("[Service]\n", &seen);
                fs::write(directory.path().join(path.file_name().unwrap()), text).unwrap();
            }
        }
        Self(directory)
    }

    fn drop_in(&self, unit: &str, text: &str) {
        let directory = self.0.path().join(format!("{unit}.d"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("drop-in.conf"), text).unwrap();
    }

    fn doctor(&self, unit: &str) -> Output {
        let mut command = Command::new(BINARY);
        command.args(["doctor", unit]).env("SYSTEMD_UNIT_PATH", self.0.path());
        command.output().expect("the daemon can be executed")
    }

    /// Fails unless this is all that the doctor finds in the service.
    #[track_caller]
    fn assert_finds(&self, unit: &str, findings: &[&str]) {
        let output = self.doctor(unit);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), findings.len() + 1, "{findings:?} in {text}");
        for (line, finding) in lines.iter().zip(findings) {
            assert!(line.contains(finding), "{finding:?} in {text}");
        }
        let is_bad = lines.iter().any(|line| line.starts_with("error: "));
        assert_eq!(output.status.code(), Some(i32::from(is_bad)), "{text}");
    }
}

/// The version of systemd here; a drop-in for a newer one is found to be that.
fn systemd_version() -> u32 {
    let output = Command::new("systemctl").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|version| version.parse().ok()).unwrap_or(u32::MAX)
}

#[test]
fn it_finds_nothing_in_the_units_that_come_with_lockstepd() {
    Units::new().assert_finds("lockstepd.service", &[]);
    Units::new().assert_finds("lockstepd", &[]);
}

#[test]
fn an_access_log_in_a_file_that_the_sandbox_closes_is_found() {
    for (path, finding) in [
        ("/var/log/access.log", Some("lets nothing be written to /var/log/access.log")),
        ("/srv/lockstepd/access.log", Some("drop-ins/access-file.conf")),
        ("/home/access.log", Some("ProtectHome= hides /home/access.log")),
        ("/var/log/other/access.log", None),
        ("/run/mine/access.log", None),
        ("/mnt/logs/access.log", None),
        ("/dev/stdout", None),
    ] {
        let units = Units::new();
        units.drop_in(
            "lockstepd.service",
            &format!(
                "[Service]\nEnvironment=LOCKSTEPD_LOG_ACCESS_FILE={path}\nLogsDirectory=lockstepd other\n\
                 RuntimeDirectory=mine\nReadWritePaths=-/mnt/logs\n"
            ),
        );
        units.assert_finds("lockstepd.service", finding.as_slice());
    }
}

#[test]
fn it_finds_nothing_in_them_with_any_drop_in_but_that_systemd_is_too_old_for_it() {
    for (name, since) in [
        ("access-file", 0),
        ("idle-exit", 0),
        ("no-sockets", 0),
        ("notify-reload", 253),
        ("preserve", 254),
        ("quick-restart", 254),
        ("tcp-application", 0),
        #[cfg(feature = "tls")]
        ("tls", 0),
    ] {
        let units = Units::new();
        let text = fs::read_to_string(format!("{PACKAGING}/drop-ins/{name}.conf")).unwrap();
        // The certificate and its key are there.
        let text = text.replace(":/etc/lockstepd/tls.pem", ":/etc/hosts");
        let text = text.replace(":/etc/lockstepd/tls.key", ":/etc/hosts");
        units.drop_in("lockstepd.service", &text);
        if since <= systemd_version() {
            units.assert_finds("lockstepd.service", &[]);
        } else {
            let output = units.doctor("lockstepd.service");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let needs = format!("needs systemd {since}, and this is {}", systemd_version());
            let lines: Vec<_> = text.lines().collect();
            let (_, findings) = lines.split_last().unwrap();
            assert!(
                !findings.is_empty() && findings.iter().all(|line| line.contains(&needs)),
                "{text}"
            );
        }
    }
}

#[test]
fn it_finds_nothing_in_the_units_of_a_program_that_make_units_has_made() {
    let units = Units::new();
    let mut make = Command::new(format!("{PACKAGING}/make-units.sh"));
    make.args(["shop", "/usr/bin/env", "public=8080", "admin=/run/shop-admin.sock"]);
    assert!(make.env("UNITDIR", units.0.path()).status().unwrap().success());
    units.assert_finds("shop.service", &[]);
}

#[test]
fn it_does_not_want_an_application_to_be_what_lockstepd_is() {
    let units = Units::new();
    let mut make = Command::new(format!("{PACKAGING}/make-units.sh"));
    make.args(["--proxy", "shop", "8080", "/opt/shop/serve"]);
    assert!(make.env("UNITDIR", units.0.path()).status().unwrap().success());
    units.assert_finds("shop.service", &["look at that one: lockstepd doctor lockstepd@shop"]);
}

#[test]
fn it_finds_each_line_that_keeps_the_promise_from_being_kept() {
    for (text, finding) in [
        (
            "Type=simple",
            "Type=simple has systemd believe that the service is ready before it serves",
        ),
        ("FileDescriptorStoreMax=", "FileDescriptorStoreMax= is 0, and 1 are needed"),
        ("TimeoutStopSec=20", "systemd gives a stop 20s"),
        ("TimeoutStopSec=1min\nEnvironment=LOCKSTEPD_DRAIN_TIMEOUT=2m", "systemd gives a stop 1m"),
        ("TimeoutStopSec=30s\nEnvironment=LOCKSTEPD_LAME_DUCK=10s", "let it take 30s"),
        ("KillMode=none", "KillMode=none leaves processes behind"),
        ("Restart=no", "nothing restarts it after a crash"),
        ("RestartPreventExitStatus=", "is tried again for ever"),
        ("WatchdogSec=", "nothing restarts a daemon that hangs"),
        ("ExecReload=", "`systemctl reload` is refused"),
        ("LimitNOFILE=1024:2K\nEnvironment=LOCKSTEPD_MAX_CONNECTIONS=2000", "set LimitNOFILE=2064"),
        ("Environment=LOCKSTEPD_DRAIN_TIMEOUT=18446744073709551615s", "systemd gives a stop 30s"),
        (
            "Environment=LOCKSTEPD_MAX_CONNECTIONS=18446744073709551615",
            "max_connections is 18446744073709551615",
        ),
        ("TimeoutStopSec=30s\nTimeoutSec=20s", "systemd gives a stop 20s"),
        ("ExecStart=/usr/bin/true", "a second ExecStart=, which systemd refuses"),
        ("LoadCredential=x:/nowhere/x", "there is no /nowhere/x for the credential x"),
        (
            "Environment=LOCKSTEPD_PUBLIC=127.0.0.1:1",
            "public.listen has no effect, as a socket unit",
        ),
        ("ExecStart=\nExecStart=/nowhere/lockstepd", "there is no /nowhere/lockstepd"),
        ("Environment=LOCKSTEPD_LINGER=soon", "LOCKSTEPD_LINGER: expected number at 0"),
        ("Environment=LOCKSTEPD_LINGR=1s", "did you mean LOCKSTEPD_LINGER?"),
        ("Environment=\"LOCKSTEPD_CONFIG=/nowhere/a b.toml\"", "cannot read /nowhere/a b.toml"),
        ("EnvironmentFile=/nowhere/environment", "cannot read /nowhere/environment"),
        ("Environment=LOCKSTEPD_PUBLIC_PROXY=127.0.0.1:1", "the application is at 127.0.0.1:1"),
        ("Environment=LOCKSTEPD_ADMIN_USERS=1000", "PrivateUsers=yes hides who a client is"),
        ("LogRateLimitBurst=\nEnvironment=LOCKSTEPD_ACCESS_LOG=all", "journald drops lines"),
        ("RootDirectory=/srv/root", "what is in /srv/root was not looked at"),
    ] {
        let units = Units::new();
        units.drop_in("lockstepd.service", &format!("[Service]\n{text}\n"));
        units.assert_finds("lockstepd.service", &[finding]);
    }
}

#[test]
fn it_finds_a_flag_that_is_not_understood_and_a_command_that_does_not_serve() {
    for (arguments, finding) in
        [("--lingr 1s", "unexpected argument '--lingr'"), ("check", "this does not serve")]
    {
        let units = Units::new();
        let start = format!("[Service]\nExecStart=\nExecStart=\"{BINARY}\" {arguments}\n");
        units.drop_in("lockstepd.service", &start);
        units.assert_finds("lockstepd.service", &[finding]);
    }
}

#[test]
fn it_finds_nothing_in_what_systemd_understands_in_another_way() {
    for text in [
        "LimitNOFILE=1024:4K\nEnvironment=LOCKSTEPD_MAX_CONNECTIONS=2000",
        "LimitNOFILE=\nEnvironment=LOCKSTEPD_MAX_CONNECTIONS=2000",
        "RestartPreventExitStatus=\nRestartPreventExitStatus=2 CONFIG",
        "ExecStart=\nExecStart=@BINARY other --linger 1s",
        "Environment=FILE=/dev/null 'OPTIONS=--linger 1s'\nExecStart=\nExecStart=BINARY --config ${FILE} $OPTIONS",
        "PrivateNetwork=no\nIPAddressDeny=\nIPAddressDeny=192.0.2.0/24\nRestrictAddressFamilies=\n\
         RestrictAddressFamilies=~AF_PACKET\nEnvironment=LOCKSTEPD_PUBLIC_PROXY=127.0.0.1:1",
        "EnvironmentFile=-/nowhere/environment",
        "TemporaryFileSystem=/\nBindReadOnlyPaths=\nBindReadOnlyPaths=BINARY /etc",
    ] {
        let units = Units::new();
        let text = text.replace("BINARY", BINARY);
        units.drop_in("lockstepd.service", &format!("[Service]\n{text}\n"));
        units.assert_finds("lockstepd.service", &[]);
    }
}

#[test]
fn it_has_no_word_for_a_socket_unit_that_was_masked_and_says_that_a_service_is() {
    let units = Units::new();
    let admin = units.0.path().join("lockstepd-admin.socket");
    fs::remove_file(&admin).unwrap();
    std::os::unix::fs::symlink("/dev/null", &admin).unwrap();
    units.drop_in("lockstepd.service", "[Service]\nEnvironment=LOCKSTEPD_ADMIN=\n");
    units.assert_finds("lockstepd.service", &[]);
    std::os::unix::fs::symlink("/dev/null", units.0.path().join("masked.service")).unwrap();
    units.assert_finds("masked", &["masked.service: it is masked"]);
}

#[test]
fn it_finds_the_configuration_of_a_user() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join(".local/bin")).unwrap();
    std::os::unix::fs::symlink(BINARY, home.path().join(".local/bin/lockstepd")).unwrap();
    let mut command = Command::new(BINARY);
    let path = format!("{PACKAGING}/user");
    command.args(["doctor", "--user"]).env("SYSTEMD_UNIT_PATH", path).env("HOME", home.path());
    let output = command.env_remove("XDG_CONFIG_HOME").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let file = home.path().join(".config/lockstepd/lockstepd.toml");
    assert!(said.starts_with(&format!("error: cannot read {}: ", file.display())), "{said}");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "linger = \"2s\"\n").unwrap();
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "lockstepd.service: nothing to mend\n");
}

#[test]
fn it_finds_sockets_that_do_not_reach_the_daemon() {
    for (unit, text, findings) in [
        (
            "lockstepd.socket",
            "[Socket]\nFileDescriptorName=web\n",
            &[
                "FileDescriptorName= is web, and no server has that name: they are public, admin",
                "no socket unit has \"public\"",
            ][..],
        ),
        (
            "lockstepd.socket",
            "[Socket]\nFileDescriptorName=\n",
            &["FileDescriptorName= is lockstepd.socket", "no socket unit has \"public\""],
        ),
        (
            "lockstepd-admin.socket",
            "[Socket]\nListenStream=\nListenStream=9095\n",
            &["ListenStream=9095 lets other machines reach the admin server"],
        ),
        (
            "lockstepd.socket",
            "[Socket]\nAccept=yes\n",
            &["Accept=yes starts a process for each client"],
        ),
        (
            "lockstepd-admin.socket",
            "[Socket]\nService=\n",
            &["it is for lockstepd-admin.service (set Service=lockstepd.service)"],
        ),
        (
            "lockstepd.service",
            "[Service]\nSockets=\nSockets=lockstepd.socket\nFileDescriptorStoreMax=1\n",
            &["FileDescriptorStoreMax= is 1, and 2 are needed", "no socket unit has \"admin\""],
        ),
        (
            "lockstepd.service",
            "[Service]\nSockets=\nSockets=lockstepd-admin.socket\n",
            &[
                "starting the service alone does not open lockstepd.socket (set Sockets=lockstepd.socket)",
            ],
        ),
        (
            "lockstepd.service",
            "[Service]\nSockets=web.socket\n",
            &["Sockets= names web.socket, and there is no such unit in "],
        ),
    ] {
        let units = Units::new();
        units.drop_in(unit, text);
        units.assert_finds("lockstepd.service", findings);
    }
}

#[test]
fn it_finds_what_the_sandbox_hides() {
    for (text, finding) in [
        ("PrivateTmp=yes\nProtectHome=no", "PrivateTmp=yes hides"),
        ("PrivateTmp=no\nInaccessiblePaths=-/tmp /var/tmp", "-/tmp hides"),
        ("PrivateTmp=no\nTemporaryFileSystem=/tmp:ro", "/tmp:ro hides"),
        ("PrivateTmp=no\nDynamicUser=yes", "the service's user (DynamicUser=yes) cannot read"),
    ] {
        let units = Units::new();
        let directory = tempfile::Builder::new().prefix("doctor").tempdir_in("/tmp").unwrap();
        let file = directory.path().join("lockstepd.toml");
        fs::write(&file, "").unwrap();
        if text.contains("DynamicUser") {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
            fs::set_permissions(&file, mode).unwrap();
        }
        let environment = format!("Environment=LOCKSTEPD_CONFIG={}", file.display());
        units.drop_in("lockstepd.service", &format!("[Service]\n{text}\n{environment}\n"));
        let output = units.doctor("lockstepd.service");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let named = format!("{}", file.display());
        // The daemon that is tested may itself lie where it is hidden.
        let found = said.lines().any(|line| line.contains(finding) && line.contains(&named));
        assert!(found && output.status.code() == Some(1), "{finding} in {said}");
    }
}

#[test]
fn it_names_where_it_has_looked_for_a_unit_that_is_not_there() {
    let units = Units::new();
    let place = format!("nope.service: there is no such unit in {}", units.0.path().display());
    units.assert_finds("nope", &[&place]);
}
