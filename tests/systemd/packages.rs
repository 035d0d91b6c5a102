//! The packages: what they open, stop, keep and leave, as dpkg, apt and rpm install, upgrade and remove them.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use crate::{
    restart::{assert_unnoticed, public, under_load},
    support::{
        Debs, Load, Machine, Output, PATIENCE, Server, build_packages, has_packagers, skip,
        wait_until,
    },
};

const CONFIGURATION: &str = "/etc/lockstepd/lockstepd.toml";
const SOCKETS: [&str; 2] = ["lockstepd.socket", "lockstepd-admin.socket"];

/// A machine that has nothing of lockstepd, where maintainer scripts may start and stop services.
fn machine() -> Option<Machine> {
    if !has_packagers(&["dpkg-deb", "dpkg", "apt-get"]) {
        return None;
    }
    let machine = Machine::boot()?;
    machine.sh("rm -f /usr/sbin/policy-rc.d").ok();
    Some(machine)
}

/// A machine with the package installed and its sockets enabled and open.
fn serving() -> Option<Machine> {
    let machine = machine()?;
    install(&machine, &Debs::get().original()).ok();
    machine.systemctl(&["enable", "--now", SOCKETS[0], SOCKETS[1]]).ok();
    machine.activate();
    Some(machine)
}

#[track_caller]
fn install(machine: &Machine, deb: &Path) -> Output {
    machine.copy_in(deb, "/tmp/lockstepd.deb");
    dpkg(machine, &["--install", "/tmp/lockstepd.deb"])
}

#[track_caller]
fn dpkg(machine: &Machine, arguments: &[&str]) -> Output {
    machine.run_for(Duration::from_secs(120), "dpkg", arguments)
}

/// apt-get of a package that is a file, as an operator has it.
#[track_caller]
fn apt_install(machine: &Machine, deb: &Path) -> Output {
    machine.copy_in(deb, "/tmp/lockstepd.deb");
    let command =
        "apt-get --yes --no-install-recommends install --allow-downgrades /tmp/lockstepd.deb";
    let arguments: Vec<_> = command.split(' ').collect();
    let environment = ["DEBIAN_FRONTEND=noninteractive"];
    machine.run_for(Duration::from_secs(120), "env", &[&environment, &arguments[..]].concat())
}

/// What differs in these versions but their numbers: nothing.
fn nothing(_: &Path) {}

fn listening(machine: &Machine) -> String {
    machine.sh("ss --listening --numeric --no-header --tcp").ok()
}

/// All that there is where packages put something, but for what dpkg and apt note for themselves.
fn files(machine: &Machine) -> BTreeSet<String> {
    let files = machine
        .sh("find /etc /usr /var/lib -path /usr/src -prune -o -path /var/lib/dpkg -prune \
         -o -path /var/lib/apt -prune -o -print; ls -d /run/lockstepd* 2>/dev/null || :");
    files.ok().lines().map(str::to_owned).collect()
}

/// Which process a service has, and since when its sockets have been open.
fn state(machine: &Machine) -> (String, [String; 2]) {
    let opened = SOCKETS.map(|socket| machine.property(socket, "ActiveEnterTimestampMonotonic"));
    (machine.property("lockstepd", "MainPID"), opened)
}

#[test]
fn an_installation_opens_and_enables_nothing() {
    let Some(machine) = machine() else { return };
    install(&machine, &Debs::get().original()).ok();
    assert_eq!(listening(&machine), "");
    for unit in [&SOCKETS[..], &["lockstepd.service", "lockstepd-tls.socket"]].concat() {
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
        assert_eq!(machine.systemctl(&["is-enabled", unit]).stdout, "disabled\n", "{unit}");
        // As at the first boot of an image.
        machine.systemctl(&["preset", unit]).ok();
        assert_eq!(machine.systemctl(&["is-enabled", unit]).stdout, "disabled\n", "{unit}");
    }
    // Nor does an upgrade, or a start of what is disabled.
    let (_kept, newer) = Debs::get().version("0.1.1-1", nothing);
    install(&machine, &newer).ok();
    assert_eq!(listening(&machine), "");
    machine.systemctl(&["enable", "--now", SOCKETS[0], SOCKETS[1]]).ok();
    assert_eq!(machine.get("http://localhost:9090/any"), "Hello, Serve is running...\n");
    assert_eq!(
        machine.systemctl(&["--user", "--global", "is-enabled", SOCKETS[0]]).stdout,
        "disabled\n"
    );
}

#[test]
fn an_upgrade_and_a_downgrade_under_load_fail_no_request_and_keep_every_connection() {
    let Some(machine) = serving() else { return };
    machine.write("/etc/lockstepd/shop.toml", "");
    machine.systemctl(&["start", "lockstepd@shop.service"]).ok();
    let shop = Server::Unix(machine.root().outside("/run/lockstepd@shop.sock"));
    let shop = Load { clients: 4, ..Load::on(shop) };
    let load = Load::on(public());
    let (_kept, newer) = Debs::get().version("0.1.1-1", nothing);
    let mut said = Vec::new();
    let mut of_shop = None;
    let report = under_load(&machine, &load, |control| {
        of_shop = Some(under_load(&machine, &shop, |_| {
            for (deb, version) in [(&newer, "0.1.1-1"), (&Debs::get().original(), "0.1.0-1")] {
                let (process, opened) = state(&machine);
                let instance = machine.property("lockstepd@shop", "MainPID");
                let output = apt_install(&machine, deb);
                said.push(output.to_string());
                output.ok();
                let installed = machine.sh("dpkg-query --show --showformat '${Version}' lockstepd");
                assert_eq!(installed.ok(), version);
                let after = state(&machine);
                assert_ne!(after.0, process);
                assert_eq!(after.1, opened);
                assert_ne!(machine.property("lockstepd@shop", "MainPID"), instance);
                let before = control.answers();
                wait_until("answers after it", PATIENCE, || control.answers() > before + 64);
            }
        }));
    });
    assert_unnoticed(&report, &load);
    assert_unnoticed(&of_shop.expect("it has run"), &shop);
    assert_eq!(report.told_to_close, 0, "{report}");
    // One restart each, and not a word of trouble.
    let starts =
        machine.journal(&["-u", "lockstepd.service", "JOB_TYPE=restart", "JOB_RESULT=done"]);
    assert_eq!(starts.len(), 2, "{starts:#?}");
    assert!(!said.concat().contains("lockstepd: "), "{said:?}");
}

#[test]
fn a_changed_socket_is_told_of_with_its_remedy_and_stays_open() {
    let Some(machine) = serving() else { return };
    let (_kept, changed) = Debs::get().version("0.1.1-1", |tree| {
        let unit = tree.join("usr/lib/systemd/system/lockstepd.socket");
        let text = fs::read_to_string(&unit).unwrap();
        fs::write(&unit, text.replace("Backlog=4096", "# one more word\nBacklog=2048")).unwrap();
        let comment = tree.join("usr/lib/systemd/system/lockstepd-admin.socket");
        let text = fs::read_to_string(&comment).unwrap();
        fs::write(&comment, format!("# another comment\n{text}")).unwrap();
    });
    let before = state(&machine);
    let output = install(&machine, &changed);
    let remedy =
        "systemctl stop lockstepd.service lockstepd.socket && systemctl start lockstepd.service";
    assert!(
        output.stderr.contains("lockstepd.socket has changed") && output.stderr.contains(remedy),
        "{output}"
    );
    assert!(!output.stderr.contains("lockstepd-admin.socket has changed"), "{output}");
    output.ok();
    assert_eq!(state(&machine).1, before.1);
    let backlog =
        "ss --listening --numeric --no-header --tcp 'sport = 9090' | tr -s ' ' | cut -d ' ' -f 3";
    assert_eq!(machine.sh(backlog).ok(), "4096\n");
    machine.sh(remedy).ok();
    assert_eq!(machine.sh(backlog).ok(), "2048\n");
}

#[test]
fn what_the_new_version_refuses_is_said_and_the_old_process_goes_on() {
    let Some(machine) = serving() else { return };
    machine.write("/etc/lockstepd/shop.toml", "");
    machine.systemctl(&["start", "lockstepd@shop.service"]).ok();
    // As a key that was removed would be: the process that runs knew it.
    machine.write(CONFIGURATION, "of_an_older_version = true\n");
    let before = state(&machine);
    let instance = machine.property("lockstepd@shop", "MainPID");
    let (_kept, newer) = Debs::get().version("0.1.1-1", nothing);
    let output = install(&machine, &newer);
    for text in [
        "lockstepd.service. It was not restarted",
        "of_an_older_version",
        "systemctl restart lockstepd.service",
    ] {
        assert!(output.stderr.contains(text), "{output}");
    }
    output.ok();
    assert_eq!(state(&machine), before);
    machine.get("http://localhost:9090/any");
    // What an instance has is its own.
    assert_ne!(machine.property("lockstepd@shop", "MainPID"), instance);
    machine.write(CONFIGURATION, "");
    machine.systemctl(&["restart", "lockstepd.service"]).ok();
}

/// rpm on Debian knows of no other package; what the scriptlets do is the same.
#[test]
fn an_upgrade_of_the_rpm_under_load_fails_no_request_and_its_removal_stops_all() {
    if !has_packagers(&["rpmbuild", "rpm"]) {
        return;
    }
    let Some(machine) = machine() else { return };
    if machine.run("sh", &["-c", "command -v rpm"]).code != 0 {
        skip("no rpm in the machine's root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (version, name) in [("0.1.0", "old"), ("0.1.1", "new")] {
        let paths = build_packages(directory.path(), &["--rpm", "--version", version]);
        machine.copy_in(&paths[0], &format!("/tmp/{name}.rpm"));
    }
    let before = files(&machine);
    let rpm = |arguments: &str| machine.sh(&format!("rpm --force-debian --nodeps {arguments}"));
    rpm("--install /tmp/old.rpm").ok();
    assert_eq!(listening(&machine), "");
    machine.systemctl(&["enable", "--now", SOCKETS[0], SOCKETS[1]]).ok();
    machine.activate();
    let load = Load::on(public());
    let report = under_load(&machine, &load, |control| {
        for arguments in ["--upgrade /tmp/new.rpm", "--upgrade --oldpackage /tmp/old.rpm"] {
            let (process, opened) = state(&machine);
            let output = rpm(arguments);
            assert!(!output.to_string().contains("lockstepd: "), "{output}");
            output.ok();
            let after = state(&machine);
            assert_ne!(after.0, process);
            assert_eq!(after.1, opened);
            let before = control.answers();
            wait_until("answers after it", PATIENCE, || control.answers() > before + 64);
        }
    });
    assert_unnoticed(&report, &load);
    rpm("--erase lockstepd").ok();
    assert_eq!(listening(&machine), "");
    assert_eq!(machine.sh("pgrep lockstepd || :").ok(), "");
    let mut left: BTreeSet<_> = files(&machine).difference(&before).cloned().collect();
    left.retain(|file| file.contains("lockstepd"));
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn a_removal_stops_all_and_a_purge_leaves_nothing() {
    let Some(machine) = machine() else { return };
    let before = files(&machine);
    install(&machine, &Debs::get().original()).ok();
    machine.write("/etc/lockstepd/shop.toml", "");
    let instance = ["lockstepd@shop.socket", "lockstepd-admin@shop.socket"];
    machine.systemctl(&[&["enable", "--now"], &SOCKETS[..], &instance].concat()).ok();
    machine.activate();
    machine.systemctl(&["start", "lockstepd@shop.service"]).ok();
    machine.sh(&format!("echo '# mine' >>{CONFIGURATION}")).ok();

    dpkg(&machine, &["--remove", "lockstepd"]).ok();
    assert_eq!(listening(&machine), "");
    assert_eq!(machine.sh("pgrep lockstepd || :").ok(), "");
    assert_eq!(machine.sh("systemctl list-units --plain --no-legend 'lockstepd*'").ok(), "");
    assert!(machine.read(CONFIGURATION).ends_with("# mine\n"));

    // What was enabled is enabled again, and opened by the operator or the next boot.
    install(&machine, &Debs::get().original()).ok();
    assert_eq!(listening(&machine), "");
    assert!(machine.read(CONFIGURATION).ends_with("# mine\n"));
    assert_eq!(machine.systemctl(&["is-enabled", SOCKETS[0]]).stdout, "enabled\n");
    machine.systemctl(&["start", SOCKETS[0], SOCKETS[1]]).ok();
    machine.activate();

    dpkg(&machine, &["--purge", "lockstepd"]).ok();
    assert_eq!(listening(&machine), "");
    let mut left: BTreeSet<_> = files(&machine).difference(&before).cloned().collect();
    // The operator's own file.
    assert!(left.remove("/etc/lockstepd/shop.toml") && left.remove("/etc/lockstepd"), "{left:#?}");
    left.retain(|file| !is_of_systemd(file));
    assert!(left.is_empty(), "{left:#?}");
}

/// What any unit that is enabled leaves: a directory, and that of deb-systemd-helper's state.
fn is_of_systemd(file: &str) -> bool {
    file == "/etc/systemd/system/sockets.target.wants"
        || (file.starts_with("/var/lib/") && !file.contains("lockstepd"))
}
