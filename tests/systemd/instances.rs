//! Several daemons on one machine: instances of the template units, and units of a user.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    restart::{assert_unnoticed, under_load},
    support::{Load, Machine, Output, PATIENCE, Server, get, message, wait_until},
};

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");
const INSTALLER: &str = "/usr/src/lockstepd/packaging/install.sh";

/// A machine with the daemon installed, and nothing started.
fn installed() -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.install();
    Some(machine)
}

/// Gives an instance a configuration, and starts its sockets.
fn open(machine: &Machine, instance: &str, configuration: &str) {
    machine.write(&format!("/etc/lockstepd/{instance}.toml"), configuration);
    machine
        .systemctl(&[
            "start",
            &format!("lockstepd@{instance}.socket"),
            &format!("lockstepd-admin@{instance}.socket"),
        ])
        .ok();
}

/// The address, as clients outside have it, of an instance's public socket.
fn socket(machine: &Machine, unit: &str) -> String {
    format!("unix:{}", machine.root().outside(&format!("/run/{unit}.sock")).display())
}

fn is_served(machine: &Machine, instance: &str) {
    let response = get(&socket(machine, &format!("lockstepd@{instance}")), "/");
    assert_eq!(response.body, "Hello, Serve is running...\n");
}

/// Gives an instance TCP ports, as lockstepd@.socket says.
fn give_ports(machine: &Machine, instance: &str, public: u16, admin: u16) {
    for (unit, address) in [
        ("lockstepd", format!("0.0.0.0:{public}")),
        ("lockstepd-admin", format!("127.0.0.1:{admin}")),
    ] {
        machine.write(
            &format!("/etc/systemd/system/{unit}@{instance}.socket.d/port.conf"),
            format!("[Socket]\nListenStream=\nListenStream={address}\n"),
        );
    }
    machine.systemctl(&["daemon-reload"]).ok();
}

#[test]
fn two_instances_have_ports_and_configurations_of_their_own() {
    let Some(machine) = installed() else { return };
    give_ports(&machine, "shop", 9190, 9191);
    give_ports(&machine, "blog", 9290, 9291);
    open(&machine, "shop", "[log]\naccess = \"all\"\n");
    open(&machine, "blog", "");
    for (instance, public, admin) in [("shop", 9190, 9191), ("blog", 9290, 9291)] {
        machine.get(&format!("http://localhost:{public}/of-{instance}"));
        let status = machine.get(&format!("http://localhost:{admin}/status"));
        assert!(status.contains(&format!("\"0.0.0.0:{public}\"")), "{status}");
    }
    let asked = |entry: &serde_json::Value| entry["PATH"] == "/of-shop";
    machine.wait_for_journal("the access log", &["-u", "lockstepd@shop"], asked);
    let entries = machine.journal(&["-u", "lockstepd@blog"]);
    assert!(entries.iter().all(|entry| entry["PATH"].is_null()), "{entries:#?}");
    assert_eq!(machine.property("lockstepd", "ActiveState"), "inactive");
}

#[test]
fn an_instance_restarts_and_no_client_of_any_notices() {
    let Some(machine) = installed() else { return };
    open(&machine, "shop", "");
    open(&machine, "blog", "");
    let load = |instance| {
        let path = machine.root().outside(&format!("/run/lockstepd@{instance}.sock"));
        Load { clients: 16, ..Load::on(Server::Unix(path)) }
    };
    let (shop, blog) = (load("shop"), load("blog"));
    let mut pid = None;
    let mut other = None;
    let report = under_load(&machine, &shop, |control| {
        other = Some(under_load(&machine, &blog, |_| {
            pid = machine.main_pid("lockstepd@blog");
            for _ in 0..10 {
                let before = control.answers();
                machine.systemctl(&["restart", "lockstepd@shop"]).ok();
                wait_until("answers after the restart", PATIENCE, || {
                    control.answers() > before + 32
                });
            }
        }));
    });
    assert_unnoticed(&report, &shop);
    assert_unnoticed(&other.expect("the other crowd ran"), &blog);
    assert_eq!(machine.main_pid("lockstepd@blog"), pid);
}

#[test]
fn an_instance_with_a_bad_configuration_takes_its_own_sockets_down_and_nothing_else() {
    let Some(machine) = installed() else { return };
    machine.systemctl(&["start", "lockstepd"]).ok();
    // An escaped name has to survive the shell in ExecStopPost=.
    for bad in ["bad", r"b\x2dad"] {
        open(&machine, "good", "");
        is_served(&machine, "good");
        let before = [machine.main_pid("lockstepd"), machine.main_pid("lockstepd@good")];

        open(&machine, bad, "nonsense = 1\n");
        let client = get_or_error(&socket(&machine, &format!("lockstepd@{bad}")));
        assert!(client.is_err(), "{client:?}");
        for unit in [format!("lockstepd@{bad}.socket"), format!("lockstepd-admin@{bad}.socket")] {
            machine.wait_for_state(&unit, "inactive");
        }
        machine.wait_for_state(&format!("lockstepd@{bad}"), "failed");
        let entries = machine.journal(&["-u", &format!("lockstepd@{bad}")]);
        let said = |text: &str| entries.iter().any(|entry| message(entry).contains(text));
        assert!(said(&format!("/etc/lockstepd/{bad}.toml:1:1: unknown setting nonsense")));
        assert!(said(&format!("then: systemctl start lockstepd@{bad}.service")));

        is_served(&machine, "good");
        machine.get("http://localhost:9090/");
        let after = [machine.main_pid("lockstepd"), machine.main_pid("lockstepd@good")];
        assert_eq!(after, before);

        machine.write(&format!("/etc/lockstepd/{bad}.toml"), "");
        machine.systemctl(&["start", &format!("lockstepd@{bad}")]).ok();
        is_served(&machine, bad);
    }
}

/// The first byte of an answer, or why there is none.
fn get_or_error(address: &str) -> std::io::Result<u8> {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };
    let mut stream = UnixStream::connect(address.trim_start_matches("unix:"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

#[test]
fn an_instance_without_a_configuration_does_not_start() {
    let Some(machine) = installed() else { return };
    assert_ne!(machine.systemctl(&["start", "lockstepd@shpo"]).code, 0);
    let missing = |entry: &serde_json::Value| {
        message(entry).starts_with("cannot read /etc/lockstepd/shpo.toml: ")
    };
    machine.wait_for_journal("the missing file", &["-u", "lockstepd@shpo"], missing);
}

#[test]
fn instances_can_be_named_after_their_ports() {
    let Some(machine) = installed() else { return };
    machine.write(
        "/etc/systemd/system/lockstepd@.socket.d/port.conf",
        "[Socket]\nListenStream=\nListenStream=0.0.0.0:%i\n",
    );
    machine.systemctl(&["daemon-reload"]).ok();
    for port in ["9190", "9290"] {
        open(&machine, port, "");
        machine.get(&format!("http://localhost:{port}/"));
    }
}

#[test]
fn instances_can_have_users_of_their_own() {
    let Some(machine) = installed() else { return };
    machine.write(
        "/etc/systemd/system/lockstepd@.service.d/user.conf",
        "[Service]\nUser=lockstepd-%i\n",
    );
    machine.systemctl(&["daemon-reload"]).ok();
    let users: BTreeSet<_> = ["shop", "blog-of-twenty-one-xy"]
        .iter()
        .map(|instance| {
            open(&machine, instance, "");
            is_served(&machine, instance);
            let pid = machine.property(&format!("lockstepd@{instance}"), "MainPID");
            machine.run("stat", &["--format=%u", &format!("/proc/{pid}")]).ok()
        })
        .collect();
    assert_eq!(users.len(), 2, "{users:?}");
}

#[test]
fn an_enabled_instance_is_there_after_the_boot() {
    let Some(machine) = installed() else { return };
    machine.write("/etc/lockstepd/shop.toml", "");
    machine.systemctl(&["enable", "--now", "lockstepd@shop"]).ok();
    let enabled = machine.sh("ls /etc/systemd/system/*.wants | grep lockstepd | sort").ok();
    let all = ["lockstepd-admin@shop.socket", "lockstepd@shop.service", "lockstepd@shop.socket"];
    assert_eq!(enabled.lines().collect::<Vec<_>>(), all);
    is_served(&machine, "shop");
}

#[test]
fn an_uninstall_stops_all_instances_and_keeps_what_is_the_operators() {
    let Some(machine) = Machine::boot() else { return };
    let before = files(&machine, "/etc/systemd /usr/local");
    machine.install();
    machine.sh("touch /etc/lockstepd/shop.toml; systemctl enable --now lockstepd@shop").ok();
    let secured = "/etc/systemd/system/lockstepd-tls.socket.d";
    machine.sh(&format!("touch /etc/lockstepd/tls.key; mkdir {secured}")).ok();
    // One that has failed, and one whose sockets only are open.
    assert_ne!(machine.systemctl(&["start", "lockstepd@bad"]).code, 0);
    open(&machine, "blog", "");
    give_ports(&machine, "blog", 9190, 9191);
    is_served(&machine, "shop");

    let said = machine.run(INSTALLER, &["uninstall"]).ok();
    let kept = [
        "/etc/lockstepd/blog.toml",
        "/etc/lockstepd/shop.toml",
        "/etc/lockstepd/tls.key",
        secured,
        "/etc/systemd/system/lockstepd@blog.socket.d",
        "/etc/systemd/system/lockstepd-admin@blog.socket.d",
    ];
    for path in kept {
        assert!(said.contains(&format!("kept       {path}")), "{path} in {said}");
    }
    assert_eq!(machine.sh("systemctl list-units --all --plain --no-legend 'lockstepd*'").ok(), "");
    machine.sh(&format!("rm -r {}; rmdir /etc/lockstepd", kept.join(" "))).ok();
    let after = files(&machine, "/etc/systemd /usr/local");
    let changed: Vec<_> = after.symmetric_difference(&before).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

/// All that there is below some directories.
fn files(machine: &Machine, directories: &str) -> BTreeSet<String> {
    machine.sh(&format!("find {directories}")).ok().lines().map(str::to_owned).collect()
}

// === What the units say ===

/// The directives of a unit's section, with continued lines joined.
fn directives(unit: &str, section: &str) -> BTreeSet<String> {
    let path = Path::new(PACKAGING).join(unit);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{unit}: {error}"));
    let text = text.replace("\\\n", "");
    let lines = text.lines().map(str::trim).skip_while(|line| *line != format!("[{section}]"));
    let lines = lines.skip(1).take_while(|line| !line.starts_with('['));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// What only one of two units says, without keys that have to differ.
fn differences(one: &str, other: &str, section: &str, expected: &[&str]) -> Vec<String> {
    let (one, other) = (directives(one, section), directives(other, section));
    assert!(one.len() > 2, "{one:?}");
    let is_expected =
        |line: &&String| line.split_once('=').is_some_and(|(key, _)| expected.contains(&key));
    one.symmetric_difference(&other).filter(|line| !is_expected(line)).cloned().collect()
}

#[test]
fn an_instance_is_what_the_single_service_is() {
    let nothing: [String; 0] = [];
    let (one, other) = ("lockstepd.service", "lockstepd@.service");
    let expected = ["Environment", "Sockets", "ExecStopPost"];
    assert_eq!(differences(one, other, "Service", &expected), nothing);
    assert_eq!(differences(one, other, "Unit", &["Description"]), nothing);
    assert_eq!(directives(one, "Install").len(), directives(other, "Install").len());
    for (one, other) in [
        ("lockstepd.socket", "lockstepd@.socket"),
        ("lockstepd-admin.socket", "lockstepd-admin@.socket"),
    ] {
        // An instance has Unix sockets until it is given a port.
        let unix = ["SocketMode", "RemoveOnStop", "NoDelay", "KeepAlive"];
        let expected = [&["ListenStream", "Service"], &unix[..]].concat();
        assert_eq!(differences(one, other, "Socket", &expected), nothing);
    }
}

#[test]
fn a_users_service_says_nothing_but_what_the_systems_does() {
    let (system, user) = ("lockstepd.service", "user/lockstepd.service");
    let more: Vec<_> =
        differences(system, user, "Service", &["Environment", "ExecStart", "ExecStopPost"])
            .into_iter()
            .filter(|line| !directives(system, "Service").contains(line))
            .collect();
    assert!(more.is_empty(), "{more:?}");
    // What it leaves out takes privileges, or namespaces.
    let less = directives(system, "Service").difference(&directives(user, "Service")).count();
    assert!(less < 35, "{less}");
}

#[test]
fn systemd_has_nothing_to_say_about_any_unit_with_any_drop_in() {
    let Some(machine) = installed() else { return };
    let version = machine.systemd_version();
    let drop_ins = [
        ("", 0),
        ("idle-exit", 0),
        ("no-sockets", 0),
        ("notify-reload", 253),
        ("preserve", 254),
        ("quick-restart", 254),
        ("tcp-application", 0),
    ];
    for (name, since) in drop_ins.into_iter().filter(|(_, since)| *since <= version) {
        let said = machine.sh(&format!(
            "for unit in lockstepd lockstepd@; do
                directory=/run/systemd/system/$unit.service.d
                rm -rf $directory
                test -z '{name}' || install -D -m 0644 -t $directory /usr/local/share/doc/lockstepd/drop-ins/{name}.conf
            done
            systemctl daemon-reload
            systemd-analyze verify --man=no /usr/local/lib/systemd/system/lockstepd* lockstepd@one.service lockstepd-admin@one.socket 2>&1"
        ));
        assert_eq!(said.ok(), "", "with {name} (needs {since})");
    }
}

// === Units of a user ===

/// A user with a manager of their own, as after a login.
struct User<'m> {
    machine: &'m Machine,
    id: String,
}

impl<'m> User<'m> {
    fn login(machine: &'m Machine) -> Self {
        machine
            .sh("useradd --create-home someone
                # The harness made the root of the cgroups for root alone.
                chmod 0755 /sys/fs/cgroup
                # Who logs in would get it from logind's PAM module.
                mkdir -p /etc/systemd/system/user@.service.d
                printf '[Service]\\nEnvironment=XDG_RUNTIME_DIR=/run/user/%%i\\n' \
                    >/etc/systemd/system/user@.service.d/test.conf
                systemctl daemon-reload
                systemctl start user@$(id -u someone)")
            .ok();
        let id = machine.run("id", &["-u", "someone"]).ok().trim().to_owned();
        Self { machine, id }
    }

    /// Runs a shell script as the user.
    #[track_caller]
    fn sh(&self, script: &str) -> Output {
        let id = &self.id;
        let runtime = format!("XDG_RUNTIME_DIR=/run/user/{id}");
        let become_user = ["--reuid", id, "--regid", id, "--init-groups", "--no-new-privs"];
        let environment = ["env", "HOME=/home/someone", &runtime, BINARY, "sh", "-euc", script];
        self.machine.run("setpriv", &[&become_user[..], &environment[..]].concat())
    }
}

const BINARY: &str = "LOCKSTEPD_BINARY=/usr/src/lockstepd/target/release/lockstepd";

#[test]
fn a_user_installs_starts_reloads_restarts_and_uninstalls_without_root() {
    let Some(machine) = Machine::boot() else { return };
    let user = User::login(&machine);
    let before = files(&machine, "/etc/systemd /usr/local");

    user.sh(&format!("{INSTALLER} install --user")).ok();
    user.sh("systemctl --user enable --now lockstepd.socket lockstepd-admin.socket").ok();
    assert_eq!(machine.get("http://localhost:9090/any"), "Hello, Serve is running...\n");
    let admin = "curl -sS --unix-socket $XDG_RUNTIME_DIR/lockstepd-admin.sock http://localhost";
    assert_eq!(user.sh(&format!("{admin}/live")).ok(), "live\n");

    let load = Load::on(crate::restart::public());
    let report = under_load(&machine, &load, |control| {
        for _ in 0..5 {
            let before = control.answers();
            user.sh("systemctl --user restart lockstepd; systemctl --user reload lockstepd").ok();
            wait_until("answers after the restart", PATIENCE, || control.answers() > before + 64);
        }
    });
    assert_unnoticed(&report, &load);

    // A bad configuration: the sockets are closed, and the next good start opens them.
    let file = "~/.config/lockstepd/lockstepd.toml";
    assert_ne!(user.sh(&format!("echo x=1 >>{file}; systemctl --user restart lockstepd")).code, 0);
    for unit in ["lockstepd.socket", "lockstepd-admin.socket"] {
        wait_until("the socket is closed", PATIENCE, || {
            user.sh(&format!("systemctl --user is-active {unit}")).stdout == "inactive\n"
        });
    }
    user.sh(&format!("sed -i '$d' {file}; systemctl --user start lockstepd")).ok();
    machine.get("http://localhost:9090/any");

    user.sh(&format!("{INSTALLER} uninstall --user")).ok();
    assert_eq!(machine.sh("find /home/someone -name '*lockstepd*'").ok(), "");
    assert_ne!(machine.curl("http://localhost:9090/any").code, 0);
    assert!(files(&machine, "/etc/systemd /usr/local") == before, "root's files changed");
}

#[test]
fn systemd_has_nothing_to_say_about_the_units_of_a_user() {
    let Some(machine) = Machine::boot() else { return };
    let user = User::login(&machine);
    user.sh(&format!("{INSTALLER} install --user")).ok();
    let said = user
        .sh("systemd-analyze --user verify --man=no ~/.local/share/systemd/user/lockstepd* 2>&1");
    assert_eq!(said.ok(), "");
}

#[test]
fn a_users_files_go_where_the_environment_says() {
    let Some(machine) = Machine::boot() else { return };
    let user = User::login(&machine);
    let (config, data) = ("XDG_CONFIG_HOME=/home/someone/etc", "XDG_DATA_HOME=/home/someone/data");
    let environment = format!("export PREFIX=/home/someone/opt {config} {data}");
    let install = format!("{environment}\n{INSTALLER} install --user");

    // The user's systemd was started without these: it would look for the units in vain.
    let refused = user.sh(&install);
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("does not look for units in /home/someone/data/"), "{refused}");
    user.sh(&format!("{environment}\n{INSTALLER} uninstall --user")).ok();
    assert_eq!(machine.sh("find /home/someone -name '*lockstepd*'").ok(), "");

    machine
        .sh(&format!(
            "echo 'Environment={config} {data}' >>/etc/systemd/system/user@.service.d/test.conf
        systemctl daemon-reload
        systemctl restart user@{}",
            user.id
        ))
        .ok();
    user.sh(&install).ok();
    let unit = machine.read("/home/someone/data/systemd/user/lockstepd.service");
    assert!(unit.contains("\nExecStart=/home/someone/opt/bin/lockstepd\n"), "{unit}");
    user.sh("systemctl --user start lockstepd").ok();
    machine.get("http://localhost:9090/any");
    user.sh(&format!("{environment}\n{INSTALLER} uninstall --user")).ok();
    assert_eq!(machine.sh("find /home/someone -name '*lockstepd*'").ok(), "");
}
