//! The mistakes of a configuration, all of which are told at once.

use lockstepd::Error;

/// Mistakes, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<String>);

// === impl Mistakes ===

impl Mistakes {
    pub(super) fn add(&mut self, mistake: impl Into<String>) {
        self.0.push(mistake.into());
    }

    /// Fails if there is any; each is on a line of its own.
    ///
    /// # Errors
    /// All mistakes.
    pub(super) fn none(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Configuration(self.0.join("\n"))) }
    }
}
