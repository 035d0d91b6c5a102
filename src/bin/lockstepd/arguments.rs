//! The command line, of which the settings' flags are made by their descriptions.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::command::Command;
use crate::config::setting::Setting;
use crate::config::value::Given;
use crate::config::{DEFAULT_FILE, FILE_VARIABLE, Flags, Settings};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) config: Option<PathBuf>,
    pub(crate) flags: Flags,
}

/// A systemd-native HTTP daemon: two servers, one lifecycle, restarts that no client notices.
///
/// A setting is taken from its flag, else from its variable, else from the configuration file, else
/// it has its default. Sockets that systemd passes under the names "public" and "admin" take the
/// place of the addresses.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_help = AFTER)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER: &str = "\
Signals:
  SIGTERM, SIGINT  stop cleanly; another, half a second later or more, ends at once,
                   or during --lame-duck begins the drain
  SIGHUP           reload the configuration; a bad one changes nothing
  SIGUSR2          replace the program in place, keeping every connection

Exit codes:
  0   clean stop
  1   a member failed, or an address could not be bound yet
  2   the command line could not be understood
  3   the drain time-out, or a second signal, cut requests off
  78  configuration or sockets are unusable (the unit does not restart on it)";

const NAME: &str = "lockstepd";
const CONFIG: &str = "config";

/// Reads the command line; exits with 2 and an explanation if it cannot be understood.
pub(crate) fn parse() -> Arguments {
    parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// Reads a command line that begins with the program.
///
/// # Errors
/// When it cannot be understood.
pub(crate) fn parse_from<T: Into<OsString>>(
    words: impl IntoIterator<Item = T>,
) -> Result<Arguments, clap::Error> {
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    if words.len() <= 1 {
        // As units have it: such a start does without the command line.
        return Ok(Arguments { command: Command::default(), config: None, flags: Flags::new() });
    }
    // What is not there and texts that nobody reads are nearly all of the work, and of the memory that a start
    // takes; who reads the texts has time.
    let has_subcommand = words.iter().filter_map(|word| word.to_str()).any(Command::has_subcommand);
    let line = if has_subcommand { Line::command() } else { clap::Command::new(NAME) };
    let given = with_flags(line, |flag| is_given(flag, &words));
    let matches = match given.try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(_) => command().try_get_matches_from(&words)?,
    };
    let line = Line::from_arg_matches(&matches)?;
    let flag = |setting: &'static Setting| Some((setting, text_of(&matches, setting)?));
    let flags = Settings::table().filter_map(flag).collect();
    let config = matches.try_get_one::<PathBuf>(CONFIG).ok().flatten().cloned();
    Ok(Arguments { command: line.command.unwrap_or_default(), config, flags })
}

/// The whole command line, for the help, the manual page and completions, too.
pub(crate) fn command() -> clap::Command {
    let command = with_flags(Line::command(), |_| true).mut_arg(CONFIG, |config| {
        config.help(format!(
            "Configuration file, and beside it a directory FILE.d whose *.toml count after it \
             [env: {FILE_VARIABLE}] [default: {DEFAULT_FILE}, if it exists]"
        ))
    });
    Settings::table().fold(command, |command, setting| {
        let default = setting.default_in_words();
        let names = format!("[env: {}] [default: {default}]", setting.variable);
        command.mut_arg(setting.flag(), |arg| {
            arg.help(format!("{} {names}", setting.help))
                .long_help(format!("{} {names}", setting.manual()))
        })
    })
}

/// Adds the flags that are wanted, without their help.
fn with_flags(line: clap::Command, is_wanted: impl Fn(&str) -> bool) -> clap::Command {
    let config = is_wanted(CONFIG).then(|| {
        Arg::new(CONFIG)
            .long(CONFIG)
            .global(true)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .value_hint(clap::ValueHint::FilePath)
    });
    let flags = Settings::table().map(|setting| (setting, setting.flag()));
    let wanted = flags.filter(|(_, flag)| is_wanted(flag));
    line.args(config).args(wanted.map(|(setting, flag)| argument(setting, flag)))
}

/// Tells whether a word may be this flag. One that is none after all, as it is the value of another, does no harm.
fn is_given(flag: &str, words: &[OsString]) -> bool {
    words.iter().any(|word| {
        let name = word.as_encoded_bytes().strip_prefix(b"--");
        let rest = name.and_then(|name| name.strip_prefix(flag.as_bytes()));
        rest.is_some_and(|rest| matches!(rest, [] | [b'=', ..]))
    })
}

fn argument(setting: &'static Setting, flag: String) -> Arg {
    let check = |text: &str| {
        // "$USERS" of a script may be empty by mistake; of addresses none is meant (TLS alone).
        if setting.is_list && text.is_empty() && setting.value != "ADDRESS" {
            return Err("it is empty (leave the flag away)".to_owned());
        }
        setting.check(Given::Text(text)).map(|()| text.to_owned())
    };
    let hint = match setting.value {
        "FILE" => clap::ValueHint::FilePath,
        _ => clap::ValueHint::Unknown,
    };
    Arg::new(flag.clone())
        .long(flag)
        .global(true)
        .value_name(setting.value)
        .value_hint(hint)
        .action(if setting.is_list { ArgAction::Append } else { ArgAction::Set })
        .value_parser(check)
}

/// What a flag says, if it is there; a list may be given in several.
fn text_of(matches: &ArgMatches, setting: &Setting) -> Option<String> {
    // An error: the flag was left out, as it is not given.
    let texts = matches.try_get_many::<String>(&setting.flag()).ok().flatten()?;
    Some(texts.map(String::as_str).collect::<Vec<_>>().join(","))
}
