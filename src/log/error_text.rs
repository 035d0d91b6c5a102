//! The words for errors and panics, and where they go when there is no log.

use std::any::Any;
use std::error::Error;

use tracing::dispatcher::has_been_set;

/// An error with its sources, on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Writes a line to standard error if nothing has set up a log: a program is never silent altogether.
pub(crate) fn say_without_log(line: impl FnOnce() -> String) {
    if !has_been_set() {
        eprintln!("lockstepd: {}", line());
    }
}

/// The message of a panic.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
