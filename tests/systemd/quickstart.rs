//! The quick start of the documentation, and the commands of README and pages, followed to the letter.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    examples::{keeps_its_promises, load},
    support::{Launch, Machine, Output, example, get},
};

const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");
const README: &str = include_str!("../../README.md");

/// How long the first build may take on a slow machine; later ones find it done.
const BUILD: Duration = Duration::from_secs(600);

/// What the documentation of the crate says under `# Quick start`.
struct QuickStart {
    manifest: String,
    main: String,
    commands: String,
}

impl QuickStart {
    fn read() -> Self {
        let source = include_str!("../../src/lib.rs");
        let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
        let text: Vec<_> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        let section = text.iter().skip_while(|line| **line != "# Quick start").skip(1);
        let section: Vec<_> = section.take_while(|line| !line.starts_with("# ")).copied().collect();
        let block = |fence: &str| -> String {
            let inside = section.iter().skip_while(|line| **line != fence).skip(1);
            let block = inside.take_while(|line| **line != "```").copied().collect::<Vec<_>>();
            assert!(!block.is_empty(), "the quick start has no block {fence}");
            block.join("\n") + "\n"
        };
        Self { manifest: block("```toml"), main: block("```no_run"), commands: block("```sh") }
    }

    /// Makes the crate and builds it, with the dependencies of this repository's Cargo.lock.
    fn build(&self) -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let write = |file: &str, text: &str| {
            fs::write(directory.path().join(file), text).expect("it can be written");
        };
        let package = "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n";
        // What a registry would deliver.
        let patch = format!("\n[patch.crates-io]\nlockstepd = {{ path = \"{CHECKOUT}\" }}\n");
        write("Cargo.toml", &[package, &self.manifest, &patch].concat());
        fs::create_dir(directory.path().join("src")).expect("it can be made");
        write("src/main.rs", &self.main);
        let lock = Path::new(CHECKOUT).join("Cargo.lock");
        fs::copy(lock, directory.path().join("Cargo.lock")).expect("the repository has one");
        let target = Path::new(CHECKOUT).join("target/quickstart");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--offline"])
            .current_dir(directory.path())
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_PROFILE_DEV_DEBUG", "false");
        let built = Output::of("cargo build", cargo, BUILD).unwrap_or_else(|hung| panic!("{hung}"));
        built.ok();
        (directory, target.join("debug/shop"))
    }
}

#[test]
fn a_crate_made_from_the_quick_start_serves_and_survives_twenty_restarts() {
    let quick_start = QuickStart::read();
    let (_directory, binary) = quick_start.build();
    serves_standalone(&binary);

    let Some(machine) = Machine::boot() else { return };
    let source = "export LOCKSTEPD=/usr/src/lockstepd";
    for command in quick_start.commands.lines() {
        // Everybody in the machine is root.
        match command.trim_start_matches("sudo ") {
            "cargo build --release" => {}
            "install target/release/shop /usr/local/bin/shop" => {
                machine.copy_in(&binary, "/usr/local/bin/shop");
            }
            command => drop(machine.sh(&format!("{source}\n{command}")).ok()),
        }
    }
    keeps_its_promises(&machine, "shop", &load("/"), 20);
    assert!(machine.get("http://localhost:8081/metrics").contains("lockstepd_build_info"));
}

/// The lines of the blocks of commands in a section of a page.
#[track_caller]
fn commands(page: &str, heading: &str) -> String {
    let section = page.lines().skip_while(|line| *line != heading).skip(1);
    let mut is_command = false;
    let mut commands = String::new();
    for line in section.take_while(|line| !line.starts_with("## ")) {
        match line {
            "```sh" => is_command = true,
            "```" => is_command = false,
            _ if is_command => commands.extend([line, "\n"]),
            _ => {}
        }
    }
    assert!(!commands.is_empty(), "there are no commands below {heading}");
    commands
}

/// Runs commands of a page in a checkout; what they print.
#[track_caller]
fn follow(machine: &Machine, commands: &str) -> String {
    // Everybody in the machine is root, and the program is built.
    let commands = commands.replace("sudo UNITDIR=", "UNITDIR=").replace("sudo ", "");
    let commands = commands.replace("cargo build --release\n", "");
    // Nobody types as fast as this: the start by the first client may still be under way.
    let commands =
        commands.replace("systemctl status", "systemctl start lockstepd\nsystemctl status");
    machine.sh(&format!("cd /usr/src/lockstepd\n{commands}")).ok()
}

#[test]
fn the_readmes_commands_install_the_daemon_and_restart_it() {
    let Some(machine) = Machine::boot() else { return };
    // The rest of that section needs apt.
    let install = commands(README, "## Install");
    let (install, package) =
        install.split_once("packaging/build-packages.sh").expect("it is there");
    assert!(package.contains("apt install"), "{package}");
    let said = follow(&machine, install);
    assert!(said.ends_with("Hello, Serve is running...\n"), "{said}");
    let before = machine.property("lockstepd", "MainPID");
    let said = follow(&machine, &commands(README, "## The first restart"));
    assert!(said.contains("Active: active (running)"), "{said}");
    assert_ne!(machine.property("lockstepd", "MainPID"), before);
    follow(&machine, "sudo packaging/install.sh uninstall\n");
    assert!(!machine.root().exists("/usr/local/bin/lockstepd"));
}

/// Something in the place of gunicorn, which the machine need not have.
fn put_gunicorn(machine: &Machine) {
    machine.copy_in(example("application"), "/usr/local/bin/application");
    let gunicorn = "#!/bin/sh\nexec /usr/local/bin/application \"$4\" /run/shop/executed\n";
    machine.write("/opt/shop/venv/bin/gunicorn", gunicorn);
    machine.sh("chmod 0755 /opt/shop/venv/bin/gunicorn").ok();
}

#[test]
fn the_readmes_commands_put_the_daemon_in_front_of_an_application() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    put_gunicorn(&machine);
    let said = follow(&machine, &commands(README, "## In front of an application"));
    assert!(said.contains("Hello -"), "{said}");
    assert_eq!(machine.get("http://localhost:8080/"), "Hello -\n");
}

#[test]
fn the_pages_commands_run_the_daemon_as_a_service() {
    let Some(machine) = Machine::boot() else { return };
    let systemd = include_str!("../../docs/systemd.md");
    let start = commands(systemd, "## Install and start");
    let uninstall = "sudo packaging/install.sh uninstall\n";
    let (start, at_boot) = start.split_once(uninstall).expect("it ends with that");
    follow(&machine, start);
    follow(&machine, at_boot);
    let configuration = include_str!("../../docs/configuration.md");
    follow(&machine, &commands(configuration, "## Check"));
    follow(&machine, &commands(configuration, "## Reload"));
    let restart = include_str!("../../docs/restart.md");
    follow(&machine, &commands(restart, "## Upgrade in place"));
    follow(&machine, &commands(systemd, "## When it does not start"));
    assert_eq!(machine.get("http://localhost:9090/"), "Hello, Serve is running...\n");
    follow(&machine, uninstall);
    assert!(!machine.root().exists("/usr/local/bin/lockstepd"));
}

#[test]
fn the_pages_commands_hold_and_release_an_application() {
    let Some(machine) = Machine::boot() else { return };
    machine.install();
    put_gunicorn(&machine);
    let applications = include_str!("../../docs/applications.md");
    follow(&machine, &commands(applications, "## Set up"));
    follow(&machine, &commands(applications, "## Hold by hand"));
    assert_eq!(machine.get("http://localhost:8080/"), "Hello -\n");
}

/// Runs it as `cargo run` does, in a network of its own: its ports are well known.
fn serves_standalone(binary: &Path) {
    let Some(machine) = Machine::boot() else { return };
    machine.in_network(|| {
        let mut shop = Launch::program(binary).spawn();
        shop.line("ready", |line| line.contains("ready"));
        assert_eq!(get("127.0.0.1:8080", "/").body, "Hello");
        assert_eq!(get("127.0.0.1:8081", "/ready").body, "ready\n");
        shop.signal(Signal::TERM);
        shop.end().assert(0, &["stopped"]);
    });
}
