//! packaging/make-units.sh: units for an application, or an explanation.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/make-units.sh");

/// Runs the script; answers its exit code and what it said on standard error.
fn make(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(SCRIPT);
    let output = command.args(arguments).env("UNITDIR", directory).output();
    let output = output.expect("the script can be executed");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn files(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("it is there").map(|entry| entry.unwrap());
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn each_server_has_a_socket_unit_and_all_belong_to_one_service() {
    let directory = tempfile::tempdir().unwrap();
    let sockets =
        ["public=8080", "admin=/run/shop-admin.sock", "six=[::1]:81", "link=[fe80::1]:82%eth0"];
    let arguments = [&["shop", "/usr/bin/shop"][..], &sockets].concat();
    assert_eq!(make(directory.path(), &arguments), (Some(0), String::new()));
    let expected =
        ["shop.service", "shop.socket", "shop-admin.socket", "shop-six.socket", "shop-link.socket"];
    assert_eq!(files(directory.path()), expected.map(str::to_owned).into());
    let read = |file: &str| fs::read_to_string(directory.path().join(file)).unwrap();
    assert!(read("shop.service").contains("\nExecStart=/usr/bin/shop\n"));
    assert!(
        read("shop.service")
            .contains("\nSockets=shop.socket shop-admin.socket shop-six.socket shop-link.socket\n")
    );
    for (file, name, address) in [
        ("shop.socket", "public", "8080"),
        ("shop-admin.socket", "admin", "/run/shop-admin.sock"),
        ("shop-six.socket", "six", "[::1]:81"),
        ("shop-link.socket", "link", "[fe80::1]:82%%eth0"),
    ] {
        let unit = read(file);
        for line in [
            format!("FileDescriptorName={name}"),
            format!("ListenStream={address}"),
            "Service=shop.service".to_owned(),
        ] {
            assert!(unit.lines().any(|shown| shown == line), "{line} is not in\n{unit}");
        }
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let (code, error) = make(Path::new("/nowhere/units"), &["shop", "/usr/bin/shop", "public=1"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("/nowhere/units (UNITDIR): there is no such directory"), "{error}");
}

#[test]
fn what_a_unit_cannot_say_is_refused_with_the_remedy_and_nothing_is_written() {
    for (arguments, remedy) in [
        (&[][..], "at least one server"),
        (&["shop", "/usr/bin/shop"], "at least one server"),
        (&["my shop", "/usr/bin/shop", "public=1"], "letters, digits"),
        (&["shop", "bin/shop", "public=1"], "an absolute path"),
        (&["shop", "/usr/bin/my shop", "public=1"], "an absolute path"),
        (&["shop", "/home/me/shop", "public=1"], "could not see it there"),
        (&["shop", "/usr/bin/shop", "8080"], "SERVER=ADDRESS"),
        (&["shop", "/usr/bin/shop", "a b=8080"], "a server's name"),
        (&["shop", "/usr/bin/shop", "public=unix:/run/x"], "without unix:"),
        (&["shop", "/usr/bin/shop", "public=1|e id"], "ListenStream="),
        (&["shop", "/usr/bin/shop", "public=1\nExecStartPre=/x"], "ListenStream="),
        (&["shop", "/usr/bin/shop", "public=1", "public=2"], "named twice"),
        (&["shop", "/usr/bin/shop", "public=localhost:8080"], "an IP address with a port"),
        (&["shop", "/usr/bin/shop", "public=run/shop.sock"], "an absolute path"),
        (&["shop", "/usr/bin/shop", "public=192.0.2.1"], "an IP address with a port"),
        (&["shop", "/usr/bin/shop", "public=192.0.2.1:"], "an IP address with a port"),
        (&["shop", "/usr/bin/shop", "public=0"], "write a port"),
        (&["shop", "/usr/bin/shop", "public=[fe80::1%eth0]:80"], "[fe80::1]:8080%eth0"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (code, error) = make(directory.path(), arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
        assert!(error.contains(remedy), "{arguments:?}: {error}");
        assert!(files(directory.path()).is_empty(), "{arguments:?}");
    }
}

const COMMAND: [&str; 4] =
    ["/opt/shop/bin/gunicorn", "--workers=2", "--bind=unix:/run/shop/app.sock", "a%b:app"];

#[test]
fn an_application_gets_its_unit_and_the_daemons_drop_ins_and_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = [&["--proxy", "shop", "[fe80::1]:8080%eth0"][..], &COMMAND].concat();
    assert_eq!(make(directory.path(), &arguments), (Some(0), String::new()));
    let read = |file: &str| fs::read_to_string(directory.path().join(file)).unwrap();
    for (file, line) in [
        (
            "shop.service",
            "ExecStart=/opt/shop/bin/gunicorn --workers=2 --bind=unix:/run/shop/app.sock a%%b:app",
        ),
        ("shop.service", "StopWhenUnneeded=yes"),
        ("shop.service", "User=shop"),
        ("lockstepd@shop.service.d/application.conf", "Wants=shop.service"),
        ("lockstepd@shop.service.d/application.conf", "User=shop"),
        ("lockstepd@shop.socket.d/address.conf", "ListenStream=[fe80::1]:8080%%eth0"),
        ("lockstepd@shop.socket.d/address.conf", "NoDelay=yes"),
        ("shop.toml", "proxy = \"unix:/run/shop/app.sock\""),
    ] {
        let text = read(file);
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        assert!(!text.contains("@NAME@"), "{text}");
    }
    let units = files(directory.path());
    assert_eq!(units.len(), 4, "{units:?}");
}

#[test]
fn a_configuration_that_is_there_is_kept_and_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.toml");
    fs::write(&path, "mine").unwrap();
    let arguments = [&["--proxy", "shop", "8080"][..], &COMMAND].concat();
    let (code, error) = make(directory.path(), &arguments);
    assert_eq!(code, Some(0));
    assert!(error.contains("shop.toml is kept; it needs proxy = "), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn what_an_applications_unit_cannot_say_is_refused_and_nothing_is_written() {
    for (arguments, remedy) in [
        (&["--proxy", "shop", "8080"][..], "the application's command"),
        (&["--proxy", "my shop", "8080", "/x"], "letters, digits"),
        (&["--proxy", "root", "8080", "/x"], "it names the user as well"),
        (&["--proxy", "9shop", "8080", "/x"], "it names the user as well"),
        (&["--proxy", "shop", "unix:/run/x", "/x"], "without unix:"),
        (&["--proxy", "shop", "8080", "bin/x"], "an absolute path"),
        (&["--proxy", "shop", "8080", "/home/me/x"], "could not see it there"),
        (&["--proxy", "shop", "8080", "/x", "two words"], "by hand"),
        (&["--proxy", "shop", "8080", "/x", "$HOME"], "by hand"),
        (&["--proxy", "shop", "8080", "/x", "a|e id"], "by hand"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (code, error) = make(directory.path(), arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
        assert!(error.contains(remedy), "{arguments:?}: {error}");
        assert!(files(directory.path()).is_empty(), "{arguments:?}");
    }
}
