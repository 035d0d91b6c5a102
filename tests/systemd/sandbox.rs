//! What `systemd-analyze` says of the units, and a daemon that cannot use its sandbox.

use crate::support::{Machine, message};

const UNITS: [&str; 3] = ["lockstepd.service", "lockstepd.socket", "lockstepd-admin.socket"];

#[test]
fn verify_is_silent() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    let output = machine.run("systemd-analyze", &[&["verify", "--man=no"][..], &UNITS].concat());
    // Units of the machine itself may be complained about.
    let about_ours = |line: &&str| line.contains("lockstepd");
    let complaints: Vec<_> = output.stderr.lines().filter(about_ours).collect();
    assert!(output.code == 0 && complaints.is_empty(), "{output}");
    assert_eq!(output.stdout, "");
}

#[test]
fn exposure_is_04_at_most_while_clients_over_tcp_are_served() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    let report = machine.run("systemd-analyze", &["security", "lockstepd.service"]).ok();
    let level = report.rsplit("Overall exposure level for lockstepd.service: ").next();
    let level: f32 = level.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap();
    assert!(level <= 0.4, "{report}");
    assert_eq!(machine.get("http://localhost:9091/listener"), "Hello, I am is listener!!\n");
}

#[test]
fn no_unit_is_logged_about_by_the_manager() {
    let Some(machine) = Machine::with_sockets() else { return };
    machine.activate();
    let warnings = machine.journal(&["--priority=warning", "_PID=1"]);
    assert!(warnings.is_empty(), "{warnings:#?}");
}

#[test]
fn a_shell_around_the_daemon_is_named_whether_or_not_the_sandbox_lets_it_bind_addresses() {
    for families in ["", "RestrictAddressFamilies=AF_INET AF_INET6\n"] {
        let Some(machine) = Machine::boot() else { return };
        machine.install();
        machine.write(
            "/etc/systemd/system/lockstepd.service.d/test.conf",
            format!(
                "[Service]\nExecStart=\n{families}NotifyAccess=all\n\
                 ExecStart=/bin/sh -c '/usr/local/bin/lockstepd; exit $$?'\n"
            ),
        );
        machine.systemctl(&["daemon-reload"]).ok();
        assert_ne!(machine.systemctl(&["start", "lockstepd"]).code, 0);
        let cause = |entry: &serde_json::Value| {
            message(entry).contains("\"public\" has no socket: LISTEN_PID says")
                && message(entry).contains("which has started this one")
        };
        machine.wait_for_journal("the cause", &["-u", "lockstepd"], cause);
        assert_eq!(machine.property("lockstepd", "ExecMainStatus"), "78", "{families}");
    }
}

/// A machine whose admin server has a Unix socket for everybody, and a list of users; `service` and `socket` are
/// in drop-ins.
fn with_users(users: &str, service: &str, socket: &str) -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.install();
    machine.write(
        "/etc/systemd/system/lockstepd-admin.socket.d/test.conf",
        format!(
            "[Socket]\nListenStream=\nListenStream=/run/admin.sock\nSocketMode=0666\n{socket}\n"
        ),
    );
    machine.write(
        "/etc/systemd/system/lockstepd.service.d/test.conf",
        format!("[Service]\n{service}\n"),
    );
    machine.write("/etc/lockstepd/lockstepd.toml", format!("[admin]\nusers = {users}\n"));
    machine.systemctl(&["daemon-reload"]).ok();
    Some(machine)
}

/// The status with which the admin server answers this user; 000 if it does not.
fn status_for(machine: &Machine, user: &str) -> String {
    let curl =
        "curl -s -o /dev/null -w %{http_code} --unix-socket /run/admin.sock http://localhost/live";
    let curl = format!("setpriv --reuid {user} --regid 65534 --clear-groups {curl}");
    machine.run("sh", &["-c", &curl]).stdout
}

#[test]
fn users_that_the_sandbox_hides_exit_78_with_what_to_change() {
    for (users, named) in [("[1000]", "user 1000"), ("[0, 65534]", "user 65534")] {
        let Some(machine) = with_users(users, "", "") else { return };
        assert_ne!(machine.systemctl(&["start", "lockstepd"]).code, 0);
        machine.wait_for_state("lockstepd", "failed");
        assert_eq!(machine.property("lockstepd", "ExecMainStatus"), "78");
        let status = machine.property("lockstepd", "StatusText");
        for text in [named, "PrivateUsers=no", "SocketUser="] {
            assert!(status.contains(text), "{status}");
        }
    }
}

#[test]
fn each_of_the_remedies_for_hidden_users_lets_in_the_one_and_no_other() {
    let Some(machine) = with_users("[1000]", "PrivateUsers=no", "") else { return };
    machine.systemctl(&["start", "lockstepd"]).ok();
    assert_eq!(["0", "1000", "1001"].map(|user| status_for(&machine, user)), ["200", "200", "403"]);

    let socket = "SocketUser=daemon\nSocketMode=0600";
    let Some(machine) = with_users("[]", "", socket) else { return };
    machine.systemctl(&["start", "lockstepd"]).ok();
    let [root, daemon, other] = ["0", "1", "1001"].map(|user| status_for(&machine, user));
    assert_eq!([root, daemon, other], ["200", "200", "000"]);
}

#[test]
fn check_finds_users_that_a_user_namespace_hides() {
    let Some(machine) = with_users("[1000]", "", "") else { return };
    let check =
        machine.sh("unshare --user --map-root-user /usr/local/bin/lockstepd check || exit $?");
    assert!(check.code == 78 && check.stderr.contains("user 1000 cannot be told"), "{check}");
    machine.run("/usr/local/bin/lockstepd", &["check"]).ok();
}
