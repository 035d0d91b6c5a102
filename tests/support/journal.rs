//! The journal of a machine.

use std::{
    process::Stdio,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use super::{
    machine::Machine,
    wait::{Deadline, Lines, PATIENCE},
};

/// The text of a journal entry; empty if it has none, or one that is not text.
pub(crate) fn message(entry: &Value) -> &str {
    entry["MESSAGE"].as_str().unwrap_or_default()
}

impl Machine {
    /// All journal entries that `journalctl` selects by `arguments`, the oldest first.
    #[track_caller]
    pub(crate) fn journal(&self, arguments: &[&str]) -> Vec<Value> {
        self.run("journalctl", &["--sync"]).ok();
        let lines = self.run("journalctl", &[&["--output=json"], arguments].concat()).ok();
        lines.lines().map(entry).collect()
    }

    /// An argument of `journalctl` that leaves out all that was logged before now.
    ///
    /// Not a cursor: systemd 252 loses the first entry that follows one if it filters by anything else.
    #[track_caller]
    pub(crate) fn journal_mark(&self) -> String {
        self.run("journalctl", &["--sync"]).ok();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970");
        format!("--since=@{}.{:06}", now.as_secs(), now.subsec_micros())
    }

    /// Waits for the first journal entry that `is_it` takes for it, past ones included.
    ///
    /// `arguments` select what is looked at, as in [`Machine::journal`].
    ///
    /// # Panics
    /// After a minute, with `what` was waited for and what came instead.
    #[track_caller]
    pub(crate) fn wait_for_journal(
        &self,
        what: &str,
        arguments: &[&str],
        is_it: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Deadline::after(PATIENCE);
        let follow = ["--output=json", "--follow", "--no-tail"];
        let mut journal = self
            .command("journalctl", &[&follow, arguments].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter was there at the boot");
        let mut lines = Lines::new(journal.stdout.take().expect("its output is a pipe"));
        let mut seen = Vec::new();
        let found = loop {
            match lines.next(deadline).map(|line| line.as_deref().map(entry)) {
                Ok(Some(entry)) if is_it(&entry) => break Ok(entry),
                Ok(Some(entry)) => seen.push(message(&entry).to_owned()),
                Ok(None) => break Err("journalctl ended".to_owned()),
                Err(late) => break Err(late.to_string()),
            }
        };
        // It may have ended by itself, and killing what has ended is an error of no interest.
        let _ = journal.kill();
        let _ = journal.wait();
        found.unwrap_or_else(|why| {
            panic!(
                "{why} while waiting in the journal for {what}; instead came\n{}",
                seen.join("\n")
            )
        })
    }
}

fn entry(line: &str) -> Value {
    serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("journalctl printed no JSON: {error} in {line}"))
}
