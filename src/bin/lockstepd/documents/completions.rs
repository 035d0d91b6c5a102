//! Completions of the command line, for three shells.

use clap_complete::{Shell, generate};

use super::assert_current;
use crate::arguments;

fn text(shell: Shell) -> String {
    let mut text = Vec::new();
    generate(shell, &mut arguments::command(), "lockstepd", &mut text);
    let text = String::from_utf8(text).expect("a script is text");
    // What some of them have at the ends of lines is of no use.
    let lines = text.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

#[test]
fn the_completions_know_every_command_and_flag() {
    for (shell, file) in [
        (Shell::Bash, "lockstepd.bash"),
        (Shell::Zsh, "_lockstepd"),
        (Shell::Fish, "lockstepd.fish"),
    ] {
        assert_current(&format!("packaging/completions/{file}"), &text(shell));
    }
}
