//! The manual page lockstepd(8).

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::roff::{finished, flag, list, see_also, tagged};
use super::{DATE, assert_current};
use crate::arguments;

const EXIT_STATUS: [(&str, &str); 5] = [
    ("0", "A clean stop."),
    (
        "1",
        "A member of the daemon failed, or an address could not be bound in time. The first cause is in the log, in \
         STATUS and in /status. The unit restarts the service.",
    ),
    (
        "2",
        "The command line could not be understood. The unit leaves the service down, and closes its sockets.",
    ),
    (
        "3",
        "The drain time-out, or a second signal, cut requests off. The unit restarts the service, unless systemd asked \
         for the stop.",
    ),
    (
        "78",
        "Configuration or sockets are unusable. The unit leaves the service down, and closes its sockets. Correct what \
         is reported, then: systemctl start lockstepd.",
    ),
];

const SIGNALS: [(&str, &str); 3] = [
    (
        "SIGTERM, SIGINT",
        "Stop cleanly. Another one, half a second later or more, ends at once; during lame_duck it begins the drain.",
    ),
    (
        "SIGHUP",
        "Read the configuration anew. A bad one changes nothing, and the log and STATUS say so.",
    ),
    (
        "SIGUSR2",
        "Replace the program in place, by the file at its path now: same process, same arguments, every connection \
         kept. A program that cannot be executed, or that refuses its configuration, changes nothing.",
    ),
];

const FILES: [(&str, &str); 4] = [
    ("/etc/lockstepd/lockstepd.toml", "The configuration, see lockstepd.toml(5)."),
    ("/etc/lockstepd/lockstepd.toml.d/*.toml", "More of it, which counts after it."),
    ("/etc/lockstepd/NAME.toml", "The configuration of the instance lockstepd@NAME.service."),
    (
        "lockstepd.service, lockstepd.socket, lockstepd-admin.socket",
        "The units, see lockstepd.service(8).",
    ),
];

const ENVIRONMENT: [(&str, &str); 4] = [
    ("LOCKSTEPD_*", "Each setting has a variable, see lockstepd.toml(5)."),
    ("RUST_LOG", "What is logged, where no source sets log.level."),
    (
        "LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID",
        "Sockets that systemd passes, see sd_listen_fds(3).",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "How systemd is told of the daemon's state, see sd_notify(3).",
    ),
];

const EXAMPLES: [(&str, &str); 5] = [
    ("lockstepd --public 127.0.0.1:8080 --admin 127.0.0.1:8081", "Serves by hand, on two ports."),
    (
        "systemctl enable --now lockstepd.socket lockstepd-admin.socket",
        "Serves from now on, and with the first client after each boot.",
    ),
    ("systemctl restart lockstepd", "Starts another process; no request fails."),
    ("lockstepd check", "Tells every mistake in the configuration, and changes nothing."),
    ("journalctl -xeu lockstepd", "The log, with an explanation of each event."),
];

/// Lists the commands, each with the flags that are its own.
fn commands(page: &mut Roff, command: &clap::Command) {
    page.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        tagged(page, [bold(command.get_name())], &format!("{about}."));
        let own = command.get_arguments().filter(|arg| !arg.is_global_set());
        let own: Vec<_> =
            own.filter(|arg| !["help", "version"].contains(&arg.get_id().as_str())).collect();
        if own.is_empty() {
            continue;
        }
        page.control("RS", []);
        for argument in own {
            let takes_value = argument.get_action().takes_values();
            let value = argument.get_value_names().filter(|_| takes_value);
            let value = value.map(|names| names[0].as_str());
            let tag = match argument.get_long() {
                Some(long) => flag(long, value),
                None => vec![italic(value.unwrap_or_default())],
            };
            let help = argument.get_long_help().or(argument.get_help());
            let help = help.map(ToString::to_string).unwrap_or_default();
            let defaults: Vec<_> =
                argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            let default = match &defaults[..] {
                [value] if takes_value => format!(" Default: {value}."),
                _ => String::new(),
            };
            tagged(page, tag, &format!("{help}.{default}"));
        }
        page.control("RE", []);
    }
}

fn page() -> String {
    let mut command = arguments::command().mut_args(|arg| arg.long_help(None));
    command.build();
    let man = Man::new(command.clone())
        .title("LOCKSTEPD")
        .section("8")
        .date(DATE)
        .source(concat!("lockstepd ", env!("CARGO_PKG_VERSION")))
        .manual("System Manager's Manual");
    let mut text = Vec::new();
    man.render_title(&mut text).expect("memory takes everything");
    man.render_name_section(&mut text).expect("memory takes everything");
    let mut page = Roff::new();
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("lockstepd"), roman(" [OPTIONS] [COMMAND]")]);
    page.to_writer(&mut text).expect("memory takes everything");
    man.render_description_section(&mut text).expect("memory takes everything");
    let mut page = Roff::new();
    commands(&mut page, &command);
    page.to_writer(&mut text).expect("memory takes everything");
    man.render_options_section(&mut text).expect("memory takes everything");
    let mut page = Roff::new();
    list(&mut page, "SIGNALS", &SIGNALS);
    list(&mut page, "EXIT STATUS", &EXIT_STATUS);
    list(&mut page, "FILES", &FILES);
    list(&mut page, "ENVIRONMENT", &ENVIRONMENT);
    list(&mut page, "EXAMPLES", &EXAMPLES);
    page.control("SH", ["LOG"]).text([roman(
        "Each event has a MESSAGE_ID, and an entry in the journal's catalog that says what happened and what to do: \
         journalctl -x shows it. Fields are SERVER, STATUS, METHOD, PATH, PEER and others.",
    )]);
    see_also(
        &mut page,
        &[
            ("lockstepd.toml", "5"),
            ("lockstepd.service", "8"),
            ("systemctl", "1"),
            ("journalctl", "1"),
            ("systemd.socket", "5"),
        ],
    );
    page.to_writer(&mut text).expect("memory takes everything");
    let text = String::from_utf8(text).expect("a page is text");
    // The preamble is needed once.
    let (head, rest) = text.split_at(text.find(".TH").expect("there is a title"));
    finished(&format!("{head}{}", rest.replace(head, "")))
}

#[test]
fn the_manual_shows_every_command_flag_signal_and_exit_code() {
    assert_current("packaging/man/lockstepd.8", &page());
}
