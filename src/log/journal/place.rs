//! Places in the code that log, with names of fields that the journal accepts.
//!
//! The journal drops a field whose name is too long, not of capitals, digits and underscores, or begins with
//! an underscore or a digit. tracing-journald lets some of those pass, and a name of which it leaves nothing
//! would end the entry: the field's value could begin another. An event without a `message` would have no
//! `MESSAGE`, without which `journalctl` does not show it; and one with a `_message` a second, which it shows
//! instead.
//!
//! A place that is concerned is shown with metadata of our own, made once and kept for ever, as the place's
//! own is. All others are shown as they are.

use std::collections::HashMap;
use std::ptr;

use tracing::Metadata;
use tracing::field::{Field, FieldSet};
use tracing::metadata::Kind;

/// The longest name of a field in the journal.
const NAME_MAX: usize = 64;

pub(super) const MESSAGE: &str = "message";

/// A place in the code, as it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) metadata: &'static Metadata<'static>,
    /// Where the message is among the fields, if it is an event.
    pub(super) message: Option<usize>,
    /// The fields that are not shown: they have no name which the journal accepts, or are a second message.
    pub(super) hidden: &'static [usize],
}

/// The places that have logged.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By the address of the metadata, which never goes away.
    known: HashMap<usize, Place>,
}

// === impl Places ===

impl Places {
    pub(super) fn of(&mut self, metadata: &'static Metadata<'static>) -> Place {
        let address = ptr::from_ref(metadata).addr();
        *self.known.entry(address).or_insert_with(|| Place::of(metadata))
    }
}

// === impl Place ===

impl Place {
    fn of(metadata: &'static Metadata<'static>) -> Self {
        let fields = metadata.fields();
        // Whatever would be a MESSAGE in the journal, as `_message` would: it shows the last of them.
        let is_message =
            |field: &Field| metadata.is_event() && journal_name(field.name()) == "MESSAGE";
        let message =
            (0..).zip(fields).find(|(_, field)| metadata.is_event() && field.name() == MESSAGE);
        let message = message.map(|(at, _)| at);
        let messages = fields.iter().filter(is_message).count();
        let is_told = !metadata.is_event() || (message.is_some() && messages == 1);
        if is_told && fields.iter().all(|field| fits(field.name())) {
            return Self { metadata, message, hidden: &[] };
        }
        let names = fields.iter().map(|field| journal_name(field.name()));
        let mut names: Vec<&'static str> = names.map(|name| &*name.leak()).collect();
        let is_hidden = |(at, field): &(usize, Field)| {
            !is_valid(names[*at]) || (is_message(field) && message != Some(*at))
        };
        let hidden: Vec<_> = (0_usize..).zip(fields).filter(is_hidden).map(|(at, _)| at).collect();
        let message = metadata.is_event().then(|| message.unwrap_or(fields.len()));
        if let Some(at) = message {
            names.resize(names.len().max(at + 1), MESSAGE);
            names[at] = MESSAGE;
        }
        let metadata = Metadata::new(
            metadata.name(),
            metadata.target(),
            *metadata.level(),
            metadata.file(),
            metadata.line(),
            metadata.module_path(),
            FieldSet::new(names.leak(), metadata.callsite()),
            if metadata.is_event() { Kind::EVENT } else { Kind::SPAN },
        );
        Self { metadata: Box::leak(Box::new(metadata)), message, hidden: hidden.leak() }
    }
}

/// Tells whether tracing-journald makes a name of it that the journal accepts.
fn fits(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    (1..=NAME_MAX).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(is_plain)
}

/// A name in capitals, with an underscore for everything that the journal does not accept, but none in
/// front, which is for the journal's own.
pub(super) fn journal_name(name: &str) -> String {
    let accepted = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(accepted).collect();
    let name = name.trim_start_matches('_');
    name.get(..NAME_MAX).unwrap_or(name).to_owned()
}

/// Tells whether the journal accepts a name of capitals, digits and underscores.
pub(super) fn is_valid(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_fit_the_journal() {
        assert_eq!(journal_name("http.status"), "HTTP_STATUS");
        assert_eq!(journal_name("_pid"), "PID");
        assert_eq!(journal_name("é-x"), "X");
        assert_eq!(journal_name(&"x".repeat(99)), "X".repeat(64));
        assert!(!is_valid(&journal_name("é")) && !is_valid(&journal_name("1st")));
        assert!(fits("http.status") && !fits("http-status") && !fits("_pid") && !fits(""));
    }
}
