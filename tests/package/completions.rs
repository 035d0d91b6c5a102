//! The completions, in the shells that they are for.

use std::process::Command;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/completions");

/// What a script prints in a shell; none where the shell is not installed.
fn said(shell: &str, arguments: &[&str], script: &str) -> Option<Vec<String>> {
    let script = script.replace("DIRECTORY", DIRECTORY);
    match Command::new(shell).args(arguments).args(["-c", &script]).output() {
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && error.is_empty(), "{shell}: {error}");
            let text = String::from_utf8_lossy(&output.stdout);
            Some(text.split_whitespace().map(str::to_owned).collect())
        }
        Err(error) => {
            eprintln!("!!! SKIPPED: {shell} cannot be executed: {error}");
            let is_required = std::env::var_os("LOCKSTEPD_REQUIRE_SHELLS").is_some();
            assert!(!is_required, "{shell} is required (apt-get install {shell})");
            None
        }
    }
}

#[test]
fn bash_completes_commands_flags_and_the_flags_of_a_command() {
    let complete = |words: &str, last: &str| {
        let script = format!(
            "source DIRECTORY/lockstepd.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _lockstepd lockstepd {last} lockstepd; echo ${{COMPREPLY[@]}}"
        );
        said("bash", &["--norc"], &script)
    };
    if let Some(replies) = complete("lockstepd doc", "doc") {
        assert_eq!(replies, ["doctor"]);
        assert_eq!(complete("lockstepd --drain", "--drain").unwrap(), ["--drain-timeout"]);
        assert_eq!(complete("lockstepd hold --lon", "--lon").unwrap(), ["--longest"]);
    }
}

#[test]
fn fish_completes_commands_flags_and_the_flags_of_a_command() {
    let complete = |line: &str| {
        let script = format!("source DIRECTORY/lockstepd.fish; complete -C '{line}' | cut -f 1");
        said("fish", &["--no-config"], &script)
    };
    if let Some(replies) = complete("lockstepd doc") {
        assert_eq!(replies, ["doctor"]);
        assert_eq!(complete("lockstepd --drain").unwrap(), ["--drain-timeout"]);
        assert_eq!(complete("lockstepd hold --lon").unwrap(), ["--longest"]);
    }
}

/// Zsh completes in an editor alone, so what it loads is looked at.
#[test]
fn zsh_finds_the_function_for_the_program_and_understands_it() {
    let script = "fpath=(DIRECTORY $fpath); autoload -Uz compinit; compinit -u -D; print ${_comps[lockstepd]}; \
                  autoload +X -Uz _lockstepd; print ${+functions[_lockstepd]}; zsh -n DIRECTORY/_lockstepd";
    if let Some(found) = said("zsh", &["-f"], script) {
        assert_eq!(found, ["_lockstepd", "1"]);
    }
}
