//! `lockstepd config`, files that are dropped in, and many mistakes at once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rustix::process::Signal;

use crate::{
    configuration::Sources,
    support::{BINARY, Launch, Manager},
};

/// What `lockstepd config` prints.
fn config(file: &Path, environment: &[(&str, &str)], flags: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("config").arg("--config").arg(file).args(flags).env_remove("RUST_LOG");
    command.envs(environment.iter().copied()).output().expect("the daemon can be executed")
}

#[track_caller]
fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).expect("it is text");
    text.lines().map(str::to_owned).collect()
}

/// Drops a file in beside the main one.
fn drop_in(main: &Path, name: &str, text: &str) -> PathBuf {
    let directory = PathBuf::from(format!("{}.d", main.display()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join(name);
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn config_tells_what_is_in_force_and_which_source_it_comes_from() {
    let sources = Sources::new();
    let file = sources.file("linger = \"2s\"\ndrain_timeout = \"9s\"\n[log]\naccess = \"all\"\n");
    let environment = [("LOCKSTEPD_DRAIN_TIMEOUT", "8s"), ("LOCKSTEPD_ADMIN_USERS", "1,2")];
    let flags = ["--public", "127.0.0.1:1,unix:/x", "--access-log", "off"];
    let told = lines(&config(&file, &environment, &flags));
    let named = file.display();
    for line in [
        &format!("# read {named}"),
        &format!("linger = \"2s\" # {named}:1"),
        "drain_timeout = \"8s\" # LOCKSTEPD_DRAIN_TIMEOUT",
        "access = \"off\" # --access-log",
        "listen = [\"127.0.0.1:1\", \"unix:/x\"] # --public",
        "users = [1, 2] # LOCKSTEPD_ADMIN_USERS",
        "#idle_timeout = \"10m 20s\" # default",
        "#max_connections # default: what the limit of descriptors allows",
    ] {
        assert!(told.iter().any(|told| told == line), "{line} is not in {told:#?}");
    }
    let told = lines(&config(&file, &[("RUST_LOG", "debug")], &[]));
    assert!(told.contains(&"level = \"debug\" # RUST_LOG".to_owned()), "{told:#?}");
}

#[test]
fn config_tells_that_all_requests_are_logged_where_they_have_a_file() {
    let sources = Sources::new();
    let file = sources.file("[log]\naccess_file = \"/dev/stdout\"\n");
    let told = lines(&config(&file, &[], &[]));
    assert!(told.contains(&"#access = \"all\" # default with access_file".to_owned()), "{told:#?}");
    let told = lines(&config(&file, &[], &["--log-access-file", ""]));
    assert!(told.contains(&"#access = \"errors\" # default".to_owned()), "{told:#?}");
}

#[test]
fn what_config_prints_is_a_configuration_with_the_same_values() {
    let sources = Sources::new();
    let file =
        sources.file("[public]\nproxy = \"unix:/x\"\n[proxy]\ntrusted_proxies = [\n\"unix\",\n]\n");
    let printed =
        config(&file, &[("LOCKSTEPD_LOG_LEVEL", "info,hyper=warn")], &["--max-headers", "7"]);
    let values = |lines: Vec<String>| {
        let is_value = |line: &String| !line.starts_with('#') && !line.is_empty();
        let value = |line: String| {
            line.split_once(" # ").map_or(line.clone(), |(value, _)| value.to_owned())
        };
        lines.into_iter().filter(is_value).map(value).collect::<Vec<_>>()
    };
    let again = sources.directory.path().join("again.toml");
    fs::write(&again, &printed.stdout).unwrap();
    assert_eq!(values(lines(&config(&again, &[], &[]))), values(lines(&printed)));
}

#[test]
fn files_that_are_dropped_in_count_in_the_order_of_their_names_after_the_file() {
    let sources = Sources::new();
    let file = sources.file("linger = \"1s\"\ndrain_timeout = \"1s\"\nlame_duck = \"1s\"\n");
    let late = drop_in(&file, "20-late.toml", "linger = \"3s\"\n");
    let early = drop_in(&file, "10-early.toml", "linger = \"2s\"\ndrain_timeout = \"2s\"\n");
    for no_file in [".hidden.toml", "30-backup.toml~", "README"] {
        drop_in(&file, no_file, "no configuration");
    }
    let told = lines(&config(&file, &[], &[]));
    let [main, early, late] = [file, early, late].map(|file| file.display().to_string());
    for line in [
        format!("linger = \"3s\" # {late}:1"),
        format!("drain_timeout = \"2s\" # {early}:2"),
        format!("lame_duck = \"1s\" # {main}:3"),
    ] {
        assert!(told.contains(&line), "{line} is not in {told:#?}");
    }
    let read: Vec<_> = told.iter().filter_map(|line| line.strip_prefix("# read ")).collect();
    assert_eq!(read, [&main, &early, &late]);
    let check = Command::new(BINARY).args(["check", "--config", &main]).output().unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    let expected = format!("read {main}\nread {early}\nread {late}\n");
    assert!(said.starts_with(&expected), "{said}");
}

#[test]
fn a_reload_reads_what_was_dropped_in() {
    let sources = Sources::new();
    let file = sources.file("");
    let mut daemon = Launch::daemon().args(["--config".as_ref(), file.as_os_str()]).start();
    drop_in(&file, "linger.toml", "linger = \"7s\"\n");
    daemon.signal(Signal::HUP);
    daemon.event("reloaded");
    assert!(daemon.get_admin("/status").body.contains("\"linger_seconds\":7.0"));
}

#[test]
fn a_dropped_in_file_with_a_mistake_is_named() {
    let sources = Sources::new();
    let file = sources.file("");
    let bad = drop_in(&file, "bad.toml", "\nlinger = 5\n");
    let ended = Launch::bare().args(["check", "--config", file.to_str().unwrap()]).end();
    ended.assert(78, &[&format!("{}:2:10: linger: expected a text", bad.display())]);
}

#[test]
fn every_mistake_is_told_on_a_line_of_its_own_from_all_sources() {
    let sources = Sources::new();
    let file =
        sources.file("levl = \"info\"\nlinger = 5\n[limits]\nmax_headers = 0\nhead_timeout = 5s\n");
    let also = drop_in(&file, "also.toml", "[web]\n");
    let manager = Manager::new();
    let launch = Launch::bare().env("LOCKSTEPD_CONFIG", &file).env("LOCKSTEPD_IDLE_EXIT", "soon");
    let ended = launch.env("LOCKSTEPD_TLS_ADMIN", "unix:/x").notify(&manager).end();
    let (file, also) = (file.display(), also.display());
    let expected = [
        format!("lockstepd: {file}:1:1: unknown setting levl (did you mean log.level?)"),
        format!("lockstepd: {file}:2:10: linger: expected a text, found a number (write a time"),
        format!("lockstepd: {file}:5:16: head_timeout: "),
        format!("lockstepd: {also}:1:2: unknown section web"),
        "lockstepd: LOCKSTEPD_IDLE_EXIT: ".to_owned(),
        "lockstepd: max_headers is 0".to_owned(),
        "lockstepd: there are settings of TLS, but no certificates".to_owned(),
        "lockstepd: tls.admin without tls.admin_authorities".to_owned(),
    ];
    ended.assert(78, &[]);
    assert_eq!(ended.log.len(), expected.len(), "{}", ended.text());
    for (told, expected) in ended.log.iter().zip(&expected) {
        assert!(told.starts_with(expected), "{told} is not {expected}");
    }
    // What the service manager shows is one line.
    let told = manager.rest();
    let status =
        told.iter().flatten().find(|line| line.starts_with("STATUS=")).expect("there is one");
    assert!(status.contains("levl") && status.contains("max_headers"), "{told:?}");
}

#[test]
fn a_variable_that_is_misspelt_is_told_with_the_one_that_was_meant() {
    let output = config(Path::new("/dev/null"), &[("LOCKSTEPD_LINGR", "1s")], &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    let expected =
        "LOCKSTEPD_LINGR is no setting, and has no effect (did you mean LOCKSTEPD_LINGER?)";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_flag_may_be_an_empty_list_of_addresses_as_a_variable_may() {
    for (environment, flags) in
        [(&[][..], &["--public", ""][..]), (&[("LOCKSTEPD_PUBLIC", "")], &[])]
    {
        let told = lines(&config(Path::new("/dev/null"), environment, flags));
        assert!(told.iter().any(|line| line.starts_with("listen = [] # ")), "{told:#?}");
    }
    for flag in ["--admin-users", "--proxy-trusted-proxies", "--tls-keys"] {
        Launch::bare().args(["check", flag, ""]).end().assert(2, &[flag, "it is empty"]);
    }
}

#[test]
fn what_is_dropped_in_and_is_no_file_is_refused_and_not_waited_for() {
    let sources = Sources::new();
    let file = sources.file("");
    let pipe = drop_in(&file, "pipe.toml", "");
    fs::remove_file(&pipe).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let ended = Launch::bare().args(["check", "--config", file.to_str().unwrap()]).end();
    ended.assert(78, &[&format!("cannot read {}: it is no file", pipe.display())]);
}
