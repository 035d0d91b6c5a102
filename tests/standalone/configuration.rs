//! Where settings come from, and what happens to those that cannot be understood.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::support::{BINARY, Ended, Launch};

#[test]
fn a_flag_outranks_the_environment_which_outranks_the_file() {
    let sources = Sources::new();
    let file = sources.file(&format!(
        "[public]\nlisten = [\"{}\"]\n[admin]\nlisten = [\"{}\"]\n[log]\nformat = \"json\"\n",
        sources.address("file-public"),
        sources.address("file-admin"),
    ));
    let launch = || Launch::bare().env("LOCKSTEPD_CONFIG", &file);
    let variable = sources.address("variable");
    let flag = sources.address("flag");

    let mut daemon = launch().start();
    assert_eq!(daemon.public(), sources.address("file-public"));
    assert_eq!(daemon.admin(), sources.address("file-admin"));
    daemon.stop().assert(0, &[]);

    let mut daemon = launch().env("LOCKSTEPD_PUBLIC", &variable).start();
    assert_eq!(daemon.public(), variable);
    assert_eq!(daemon.admin(), sources.address("file-admin"));
    daemon.stop().assert(0, &[]);

    let mut daemon = launch().env("LOCKSTEPD_PUBLIC", &variable).args(["--public", &flag]).start();
    assert_eq!(daemon.public(), flag);
    assert_eq!(daemon.admin(), sources.address("file-admin"));
}

#[test]
fn the_config_flag_outranks_its_variable() {
    let sources = Sources::new();
    let broken = sources.directory.path().join("missing.toml");
    Launch::bare()
        .env("LOCKSTEPD_CONFIG", broken)
        .args(["--config", "/dev/null", "check"])
        .end()
        .assert(0, &[]);
}

#[test]
fn a_variable_takes_several_addresses() {
    let sources = Sources::new();
    let addresses = ["a", "b"].map(|name| sources.address(name));
    let mut daemon = Launch::bare()
        .env("LOCKSTEPD_PUBLIC", addresses.join(","))
        .env("LOCKSTEPD_ADMIN", sources.address("admin"))
        .env("LOCKSTEPD_LOG_FORMAT", "json")
        .start();
    assert_eq!(daemon.addresses("public"), addresses);
}

#[test]
fn every_key_of_the_file_is_understood() {
    let ended = check(
        "lame_duck = \"5s\"\ndrain_timeout = \"1m 30s\"\nlinger = \"0s\"\nhand_over = false\n\
         [log]\nlevel = \"info,hyper=warn\"\ntarget = \"stderr\"\nformat = \"json\"\naccess = \"all\"\n\
         [public]\nlisten = [\"0.0.0.0:9090\", \"[::]:9090\"]\nsocket_mode = \"0600\"\n\
         proxy = \"unix:/run/shop/app.sock\"\n\
         [proxy]\nwait = \"10s\"\nmax_waiting = 10\nconnect_timeout = \"1s\"\nresponse_timeout = \"9s\"\n\
         idle_timeout = \"1m\"\nwait_on_503 = true\nhttp2 = true\nvia = true\nhealth = \"/up\"\n\
         trusted_proxies = [\"10.0.0.0/8\", \"::1\", \"unix\"]\n\
         [admin]\nlisten = [\"unix:/run/x.sock\"]\nsocket_mode = \"660\"\n",
    );
    ended.assert(0, &["configuration is valid"]);
}

#[test]
fn an_unknown_key_exits_78_with_file_line_and_key() {
    for (text, line, key) in [
        ("# comment\n\ndrain_timeuot = \"20s\"\n", 3, "drain_timeuot"),
        ("[public]\nlisten = []\nport = 80\n", 3, "port"),
        ("[log]\nlevel = \"info\"\n\n[web]\nlisten = []\n", 4, "web"),
    ] {
        let sources = Sources::new();
        let file = sources.file(text);
        let ended = Launch::bare().env("LOCKSTEPD_CONFIG", &file).end();
        ended.assert(78, &[&format!("{}:{line}:", file.display()), key]);
        assert_eq!(ended.log.len(), 1, "{}", ended.text());
    }
}

#[test]
fn a_bad_value_in_the_file_exits_78_with_its_line() {
    for (text, line) in [
        ("drain_timeout = \"soon\"\n", 1),
        ("\ndrain_timeout = 20\n", 2),
        ("hand_over = \"yes\"\n", 1),
        ("[public]\nlisten = [\"localhost:80\"]\n", 2),
        ("[public]\nlisten = \"0.0.0.0:80\"\n", 2),
        ("[admin]\n\nsocket_mode = \"0999\"\n", 3),
        ("[log]\nlevel = \"loud\"\n", 2),
        ("[log]\nformat = \"xml\"\n", 2),
        ("[log]\naccess = \"some\"\n", 2),
        ("[log]\ntarget = \"printer\"\n", 2),
        ("[log\n", 1),
    ] {
        let sources = Sources::new();
        let file = sources.file(text);
        let ended = Launch::bare().env("LOCKSTEPD_CONFIG", &file).args(["check"]).end();
        ended.assert(78, &[&format!("{}:{line}:", file.display())]);
        assert_eq!(ended.log.len(), 1, "{}", ended.text());
    }
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let ended = Launch::bare().args(["--config", "/nowhere/lockstepd.toml"]).end();
    ended.assert(78, &["cannot read /nowhere/lockstepd.toml"]);
}

#[test]
fn a_bad_variable_exits_78_and_is_named() {
    let help = Command::new(BINARY).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let names = help.split("[env: ").skip(1).filter_map(|rest| rest.split(']').next());
    // Any text may be the name of a file, a host or a protocol.
    let any_text = [
        "LOCKSTEPD_CONFIG",
        "LOCKSTEPD_LOG_ACCESS_FILE",
        "LOCKSTEPD_ADMIN_HOSTS",
        "LOCKSTEPD_TLS_CERTIFICATES",
        "LOCKSTEPD_TLS_KEYS",
        "LOCKSTEPD_TLS_CLIENT_AUTHORITIES",
        "LOCKSTEPD_TLS_ADMIN_AUTHORITIES",
        "LOCKSTEPD_TLS_ALPN",
    ];
    let names: Vec<_> = names.filter(|name| !any_text.contains(name)).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let ended = Launch::bare().env(name, "~nonsense~").args(["check"]).end();
        ended.assert(78, &[name]);
        assert_eq!(ended.log.len(), 1, "{}", ended.text());
    }
}

#[test]
fn a_server_without_an_address_exits_78() {
    let sources = Sources::new();
    let file = sources.file("[public]\nlisten = []\n");
    let ended = Launch::bare().env("LOCKSTEPD_CONFIG", file).end();
    ended.assert(78, &["\"public\" has no address"]);
}

#[test]
fn a_command_line_that_is_not_understood_exits_2() {
    for arguments in [
        &["--nonsense"][..],
        &["serve"],
        &["--public", "nowhere"],
        &["--admin"],
        &["--drain-timeout", "soon"],
        &["--log-level", "loud"],
        &["--public-socket-mode", "rw"],
    ] {
        let ended = Launch::bare().args(["check"]).args(arguments).end();
        ended.assert(2, &[arguments[0]]);
    }
}

#[test]
fn help_and_version_exit_0() {
    for argument in ["--help", "--version", "-h", "-V"] {
        Launch::bare().args([argument]).end().assert(0, &[]);
    }
}

#[test]
fn check_says_whether_a_start_would_find_its_configuration_usable() {
    Launch::bare().args(["check"]).end().assert(0, &["configuration is valid"]);
    let sources = Sources::new();
    let file = sources.file("nonsense = 1\n");
    let ended = Launch::bare().env("LOCKSTEPD_CONFIG", &file).args(["check"]).end();
    ended.assert(78, &[&format!("{}:1:", file.display()), "nonsense"]);
    Launch::bare()
        .env("LOCKSTEPD_LINGER", "long")
        .args(["check"])
        .end()
        .assert(78, &["LOCKSTEPD_LINGER"]);
}

#[test]
fn check_finds_what_could_never_be_bound() {
    let sources = Sources::new();
    let file = sources.file("");
    let in_the_way = format!("unix:{}", file.display());
    for (arguments, reason) in [
        (
            ["--public", "127.0.0.1:1,127.0.0.1:1"],
            "\"public\" and \"public\" cannot both listen on",
        ),
        (
            ["--public", "0.0.0.0:9091"],
            "\"public\" and \"admin\" cannot both listen on 127.0.0.1:9091",
        ),
        (["--public", &in_the_way], "it is no socket"),
        (["--log-target", "journal"], "cannot reach the journal"),
    ] {
        if arguments[1] == "journal" && Path::new("/run/systemd/journal/socket").exists() {
            continue;
        }
        Launch::bare().args(["check"]).args(arguments).end().assert(78, &[reason]);
    }
    // With another port each they are no trouble.
    let apart = "127.0.0.1:1,127.0.0.1:2, [::1]:1,0.0.0.0:0,0.0.0.0:0,[fe80::1%2]:3,[fe80::1%3]:3,\
                 [::ffff:127.0.0.1]:4,[::]:4";
    Launch::bare().args(["check", "--public", apart]).end().assert(0, &[]);
}

#[test]
fn a_variable_that_is_no_setting_is_named() {
    let launch = || Launch::daemon().env("LOCKSTEPD_DRAIN_TIMEUOT", "20s");
    let named = "LOCKSTEPD_DRAIN_TIMEUOT is no setting";
    launch().args(["check"]).end().assert(0, &[named, "configuration is valid"]);
    let mut daemon = launch().start();
    assert_eq!(daemon.get_public("/").status, 200);
    let ended = daemon.stop();
    ended.assert(0, &[named]);
    assert_eq!(ended.events()[0]["level"], "WARN", "{}", ended.text());
    let ended = Launch::bare()
        .env("LOCKSTEPD_CONFIG", "/nowhere")
        .env("LOCKSTEPD_ADMIN_HOSTS", "")
        .args(["check", "--config", "/dev/null"])
        .end();
    ended.assert(0, &["configuration is valid"]);
    assert!(!ended.text().contains("no setting"), "{}", ended.text());
}

#[test]
fn an_admin_server_that_other_machines_may_reach_is_warned_of() {
    for (address, is_open) in [
        ("0.0.0.0:1", true),
        ("[::]:1", true),
        ("192.0.2.1:1", true),
        ("127.0.0.7:1", false),
        ("[::1]:1", false),
        ("unix:/x", false),
    ] {
        let ended = Launch::bare().args(["check", "--admin", address]).end();
        let told = ended.text().contains("whoever reaches the admin server can stop the daemon");
        assert_eq!(told, is_open, "{address}: {}", ended.text());
    }
}

#[test]
fn check_names_the_file_that_it_has_read() {
    let sources = Sources::new();
    let file = sources.file("linger = \"2s\"\n");
    let named = format!("read {}", file.display());
    Launch::bare().env("LOCKSTEPD_CONFIG", &file).args(["check"]).end().assert(0, &[&named]);
}

#[test]
fn an_error_tells_how_the_value_is_written() {
    for (text, remedy) in [
        ("drain_timeout = 20\n", "write a time such as \"20s\""),
        ("linger = \"20\"\n", "write a time such as \"20s\""),
        ("lame_duck = \"20\"\n", "write a time such as \"20s\""),
        ("[public]\nlisten = \"0.0.0.0:80\"\n", "write a list"),
        ("[public]\nsocket_mode = 0660\n", "with the quotation marks"),
        ("[limits]\nmax_connections = \"many\"\n", "write a whole number"),
    ] {
        check(text).assert(78, &[remedy]);
    }
    for host in ["http://admin.example", "admin.example:8080", "*", "[::1]"] {
        let ended = check(&format!("[admin]\nhosts = [\"{host}\"]\n"));
        ended.assert(78, &["no host name", "without scheme, port or *"]);
    }
    for (text, unwanted) in
        [("[admin]\nusers = [\"bob\"]\n", "write a list"), ("linger = \"5s\" x\n", "write a time")]
    {
        let ended = check(text);
        assert_eq!(ended.code, 78);
        assert!(!ended.text().contains(unwanted), "{}", ended.text());
    }
    check("[admin]\nhosts = [\"admin.example\", \"192.0.2.1\", \"::1\"]\n").assert(0, &[]);
}

#[test]
fn too_few_descriptors_to_serve_anybody_exit_78() {
    let script = "ulimit -n 63; exec \"$0\" --public unix:/nowhere/x";
    let output = Command::new("sh").args(["-c", script, BINARY]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{error}");
    assert!(
        error.contains("no more than 63 descriptors") && error.contains("LimitNOFILE="),
        "{error}"
    );
}

#[test]
fn check_binds_nothing() {
    let sources = Sources::new();
    let address = sources.address("public");
    Launch::bare().args(["check", "--public", &address]).end().assert(0, &[]);
    assert!(!sources.directory.path().join("public").exists());
    let mut daemon = Launch::daemon().start();
    Launch::bare()
        .args(["check", "--public", &daemon.public(), "--admin", &daemon.admin()])
        .end()
        .assert(0, &[]);
}

#[test]
fn flags_may_come_before_and_after_the_command() {
    let sources = Sources::new();
    let [public, admin] = ["public", "admin"].map(|name| sources.address(name));
    let mut daemon = Launch::bare()
        .args(["--public", &public, "run", "--admin", &admin, "--log-format", "json"])
        .start();
    assert_eq!([daemon.public(), daemon.admin()], [public, admin]);
}

fn check(text: &str) -> Ended {
    let sources = Sources::new();
    let file = sources.file(text);
    Launch::bare().env("LOCKSTEPD_CONFIG", file).args(["check"]).end()
}

/// Where configuration files and Unix sockets lie.
pub(super) struct Sources {
    pub(super) directory: TempDir,
}

impl Sources {
    pub(super) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(super) fn file(&self, text: &str) -> PathBuf {
        let path = self.directory.path().join("lockstepd.toml");
        fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn address(&self, name: &str) -> String {
        format!("unix:{}", self.directory.path().join(name).display())
    }
}

#[test]
fn limits_with_which_nobody_could_be_served_are_refused() {
    for (flag, value) in [
        ("--max-connections", "0"),
        ("--max-headers", "0"),
        ("--max-streams", "0"),
        ("--max-head-size", "100"),
        ("--first-byte-timeout", "0s"),
        ("--head-timeout", "0s"),
        ("--body-timeout", "0s"),
        ("--idle-timeout", "0s"),
        ("--write-timeout", "0s"),
    ] {
        let ended = Launch::daemon().args(["check", flag, value]).end();
        let name = flag.trim_start_matches("--").replace('-', "_");
        ended.assert(78, &[&format!("{name} is {value}")]);
    }
}
